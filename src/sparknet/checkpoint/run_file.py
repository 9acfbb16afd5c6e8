"""run.json, beside the rounds: what was run, for people. Nothing reads it to go on."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sparknet.files.regular import read_regular
from sparknet.files.replacing import replacing

__all__ = ["RUN_FILE", "add_run", "with_run"]

RUN_FILE = "run.json"

_MOST = 100  # runs that are kept: the first one, and the last ones
_LONGEST = 1 << 24  # bytes that are read of it
_LOG = logging.getLogger(__name__)


def add_run(directory: Path, facts: Mapping[str, Any]) -> None:
    """Add the facts of a run to the file, which is made if it is missing; values that JSON does not have become their text."""
    path = directory / RUN_FILE
    content = with_run(lambda: read_regular(path, _LONGEST, "a list of runs"), facts, str(path))
    with replacing(path, follow_links=False) as file:
        file.write(content)


def with_run(read: Callable[[], bytes], facts: Mapping[str, Any], where: str) -> bytes:
    """Return the contents of the file with the facts of one more run; ``read`` returns what it is now, or raises a FileNotFoundError."""
    runs = [*_runs(read, where), dict(facts)]
    kept = runs if len(runs) <= _MOST else [runs[0], *runs[-_MOST + 1 :]]
    return f"{json.dumps({'runs': kept}, indent=1, default=str)}\n".encode()


def _runs(read: Callable[[], bytes], where: str) -> list[Any]:
    try:
        return list(json.loads(read())["runs"])
    except FileNotFoundError:
        return []
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        _LOG.warning("%s is not what sparknet wrote there (%s), and is written anew", where, error)
        return []
