"""The events of a run: a file of JSON lines, for programs. A replay reads it."""

import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np

from sparknet.files.regular import open_regular
from sparknet.files.replacing import whole_file
from sparknet.serialization.memory.streams import write_all
from sparknet.training.goodput import Goodput
from sparknet.training.pace import Decided
from sparknet.training.rounds import Round

__all__ = ["EventLog", "events_of_run"]


class EventLog:
    """Writes one JSON object per line; each is in the file at once.

    Every event has ``event`` (its kind) and ``time`` (seconds since 1970). NaN and infinities are written as null, because JSON
    cannot express them.

    Parameters
    ----------
    path
        The file. One of an earlier run is replaced.
    goes_on
        Keep the whole lines of the earlier run, which this one goes on from.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "events.jsonl"
    >>> with EventLog(path) as log:
    ...     log.write("note", text="hello")
    >>> json.loads(path.read_text())["text"]
    'hello'
    """

    def __init__(self, path: Path, *, goes_on: bool = False) -> None:
        before = _whole_lines(path) if goes_on else b""
        self._rounds = _rounds_in(before) if before else None
        if before:  # at no moment is it gone, nor where the disk is full
            with whole_file(path) as file:
                file.write(before)
        else:
            path.unlink(missing_ok=True)  # the file of an earlier run
        self._path, self._size = path, len(before)
        # No buffer: a full disk shows at the event that does not fit.
        self._file = open(path, "ab" if before else "xb", buffering=0, opener=_not_of_a_link)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def write(self, event: str, **facts: Any) -> None:
        """Write one event; if the disk does not take all of it, none of it stays, and an OSError is raised."""
        event_and_facts = {"event": event, "time": time.time(), **facts}
        line = memoryview(f"{json.dumps(_plain(event_and_facts), allow_nan=False)}\n".encode())
        try:
            write_all(self._file, [line])
        except OSError as error:
            self._file.truncate(self._file.seek(self._size))  # the next event takes this one's place
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._size += len(line)

    def goes_on_after(self, index: int, decided: Decided | None) -> None:
        """Write what clocks decided about the round before this run, if the run that it goes on from was killed before it wrote that.

        A checkpoint may have a round that the events have not, or of which they have an earlier try, with other decisions. A replay would
        end there. All other figures of the round are lost.
        """
        if self._rounds is not None and decided is not None and self._rounds.get(index) != decided.facts():
            self.write("round", index=index, loss=None, decided=decided.facts())

    def start(self, **settings: Any) -> None:
        """Write the settings and versions of the run."""
        version = sys.modules["sparknet"].__version__
        self.write("start", settings=settings, sparknet=version, python=platform.python_version())

    def round(self, result: Round) -> None:
        """Write all figures of a round; times in seconds, sizes in bytes."""
        facts = {name: getattr(result, name) for name in _ROUND_FACTS}
        facts |= {"metrics": dict(result.metrics), "seconds": asdict(result.seconds), "decided": result.decided.facts()}
        facts["goodput"] = result.goodput.facts()
        self.write("round", **facts)

    def end(self, done: int, rounds: int, metrics: Mapping[str, float], goodput: Goodput) -> None:
        """Write how far the run came: rounds done, of how many, the test metrics of the last one, and the goodput."""
        self.write("end", rounds=done, finished=done == rounds, metrics=dict(metrics), goodput=goodput.facts())


_ROUND_FACTS = ("index", "loss", "steps", "examples", "bytes_down", "bytes_up", "workers", "strangers", "ignored")


def _not_of_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)  # the mode that Python's own open has


def _whole_lines(path: Path) -> bytes:
    """Return what a run has written there, without the line in which it was killed; nothing if it has written nothing."""
    try:
        with open_regular(path) as file:
            content = file.read()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _rounds_in(lines: bytes) -> dict[int, Any]:
    """Return index -> what clocks decided, of the rounds of these events."""
    found = dict[int, Any]()
    for line in lines.splitlines():
        with suppress(ValueError, RecursionError, LookupError, TypeError):
            event = json.loads(line)
            if event["event"] == "round":
                found[int(event["index"])] = event["decided"]
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def events_of_run(
    path: Path, arguments: Mapping[str, Any], finished: int, rounds: int, decided: Decided | None
) -> Iterator[Callable[[Round], None]]:
    """Write the start of a run, and its end when the block ends; what the block gets writes a round.

    Parameters
    ----------
    path
        The file. If rounds are finished, from a checkpoint, its events go on.
    arguments
        Of the run.
    finished, rounds, decided
        How many rounds are finished, how many there are in all, and what clocks decided about the last finished one.
    """
    last: tuple[int, Mapping[str, float]] | None = None
    goodput = Goodput()
    with EventLog(path, goes_on=finished > 0) as log:
        log.goes_on_after(finished - 1, decided)
        log.start(**arguments)

        def tell(found: Round) -> None:
            nonlocal last, goodput
            log.round(found)
            last, goodput = (found.index + 1, found.metrics), goodput + found.goodput

        try:
            yield tell
        finally:
            if last is not None:
                done, metrics = last
                log.end(done, rounds, metrics, goodput)
