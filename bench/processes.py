"""Processes as ``/proc`` shows them: their memory and their children."""

import re
from contextlib import suppress
from pathlib import Path


def resident(name, process="self"):
    """Bytes of a process that are in memory: VmRSS now, VmHWM at the most."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())[1]) * 1024


def children(pid):
    """The processes that a process has forked."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has ended
            found += map(int, task.read_text().split())
    return found
