"""What Linux says of processes: who lives, who has started whom, what they hold."""

import contextlib
import os
import time
from pathlib import Path

MARK = "SPARKNET_CHAOS"  # in the environment of a program and of all that it starts, however far away


def environment(mark, folder, **more):
    """Return the environment of a program: it finds this folder, has a mark, and puts its files into another folder."""
    path = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    places = dict.fromkeys(("TMPDIR", "SPARK_LOCAL_DIRS", "SPARK_WORKER_DIR"), str(folder))
    return {**os.environ, **places, MARK: mark, "PYTHONPATH": os.pathsep.join(path), **more}


def is_alive(pid):
    """Say whether a process runs or is stopped; one that has ended and was not waited for does not."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def is_stopped(pid):
    return _stat(pid)[:1] == ["T"]


def parent(pid):
    return int(_stat(pid)[1])


def _stat(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def marked(mark):
    """Return the processes that live and have this mark."""
    entry, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if entry in (folder / "environ").read_bytes().split(b"\0") and is_alive(folder.name):
                    found.append(int(folder.name))
    return found


def words(pid):
    """Return what a process was started with, cut to what a message has room for."""
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "ended"
    return f"{pid} ({said[:60]} ... {said[-60:]})"


def sockets(pid):
    """Return the inodes of the sockets that a process holds."""
    found = set()
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(path.readlink()))
    return {name[8:-1] for name in found if name.startswith("socket:[")}


def ports(pid):
    """Return the TCP ports that a process listens at."""
    held, found = sockets(pid), set()
    for table in "tcp", "tcp6":
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in held:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def resident(pid):
    """Return the memory of a process, in KiB; 0 once it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def wait_until(is_so, seconds):
    """Return what is so, once it is; nothing if it is not within so many seconds."""
    until = time.monotonic() + seconds
    while not (found := is_so()) and time.monotonic() < until:
        time.sleep(0.005)
    return found
