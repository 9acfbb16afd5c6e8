"""A line about each round for a person, and a file of JSON lines for programs."""

import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from sparknet import __version__
from sparknet.files.regular import open_regular
from sparknet.serialization.memory.streams import write_all
from sparknet.training import Round

__all__ = ["EventLog", "round_line"]


def round_line(result: Round, rounds: int) -> str:
    """Return one line about a finished round of a run with ``rounds`` rounds.

    The times, in seconds, are those of the slowest worker's steps, and of all that brings weights to the workers, back and together.
    """
    seconds = result.seconds
    parts = [f"round {result.index + 1:>{len(str(rounds))}}/{rounds}", f"loss {result.loss:7.4f}"]
    parts += _metrics(result.metrics)
    working = seconds.total - seconds.evaluate
    if working > 0:
        parts.append(f"{result.examples / working:,.0f} images/s")
    slowest = max(seconds.train, default=0.0)
    parts.append(f"train {slowest:.2f} s, exchange {seconds.broadcast + seconds.collect + seconds.average:.3f} s")
    if absent := sorted(result.decided.absent):
        parts.append(f"without worker {', '.join(map(str, absent))}: late")
    return "  ".join(parts)


def _metrics(metrics: Mapping[str, float]) -> list[str]:
    """Return a part for each metric, and a single part for the classes of one metric, ``each/0``, ``each/1``, ..."""
    families: dict[str, list[tuple[str, float]]] = {}
    for name, value in metrics.items():
        family, slash, number = name.rpartition("/")
        families.setdefault(family if slash and number.isdigit() else name, []).append((name, value))
    return [_family(family, each) for family, each in families.items()]


def _family(family: str, each: Sequence[tuple[str, float]]) -> str:
    if len(each) == 1:
        return _metric(*each[0])
    known = [value for _, value in each if not math.isnan(value)]
    span = f"{min(known):.4f}..{max(known):.4f}" if known else "nan"
    return f"test {family} {span} ({len(each)} classes)"


def _metric(name: str, value: float) -> str:
    return f"test accuracy {value:6.2%}" if name == "accuracy" else f"test {name} {value:.4f}"


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
        path.unlink(missing_ok=True)  # the file of an earlier run; a new link is not followed
        self._path, self._size = path, len(before)
        self._file = path.open("xb", buffering=0)  # no buffer: a full disk shows at the event that does not fit
        write_all(self._file, [memoryview(before)])

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

    def start(self, **settings: Any) -> None:
        """Write the settings and versions of the run."""
        self.write("start", settings=settings, sparknet=__version__, python=platform.python_version())

    def round(self, result: Round) -> None:
        """Write all figures of a round; times in seconds, sizes in bytes."""
        facts = {name: getattr(result, name) for name in _ROUND_FACTS}
        facts |= {"metrics": dict(result.metrics), "seconds": asdict(result.seconds), "decided": result.decided.facts()}
        facts["goodput"] = result.goodput.facts()
        self.write("round", **facts)


_ROUND_FACTS = ("index", "loss", "steps", "examples", "bytes_down", "bytes_up", "workers", "strangers", "ignored")


def _whole_lines(path: Path) -> bytes:
    """Return what a run has written there, without the line in which it was killed; nothing if it has written nothing."""
    try:
        with open_regular(path) as file:
            content = file.read()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
