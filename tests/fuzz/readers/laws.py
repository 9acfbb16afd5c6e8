"""What must hold of every reader, whatever its input: the laws that a run compares each call with.

A reader gives a value, or refuses with an exception of sparknet's that can be printed, logged and pickled. Its memory and its time
are bounded. It writes nowhere, starts nothing, and imports nothing but what sparknet itself needs.
"""

import logging
import os
import pickle
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from sparknet import SparknetError

SECONDS = 2.0  # of the processor, for one input
TEXT = 5000  # characters of a refusal
# The first part of the modules that a reader may import: Python's, and what sparknet is installed with.
_OURS = {"sparknet", "fuzz", "numpy", "msgpack", "array_api_compat", "ml_dtypes", "backports", "lz4", "PIL", "h5py"}
_KNOWN = {*sys.stdlib_module_names, *_OURS, "google", "safetensors", "caffe", "zstandard", "compression"}
_OF_NUMPY = "Reading `.npy` or `.npz` file required additional header parsing"  # of Python 2, which is right
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    f"os.{name}"
    for name in ("rename", "remove", "mkdir", "rmdir", "link", "symlink", "chmod", "chown", "truncate", "utime")
}
_STARTS = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "socket.",
    "ctypes.dlopen",
    "os.chdir",
)
_LOADS = ("pickle.find_class", "os.putenv", "os.unsetenv", "urllib.", "webbrowser.")


class Outcome(NamedTuple):
    """What came of one call: what it breaks, or nothing; the refusal, or nothing; the cost."""

    broken: str
    error: SparknetError | None
    seconds: float
    memory: int


class Watch:
    """What this process does to the world outside while a reader reads.

    An audit hook lasts as long as its process, so a process has one Watch. What C libraries open by themselves it cannot see: that
    they write nothing, the listing of the folder tells.
    """

    def __init__(self, allowed: Path | None) -> None:
        self.seen: list[str] = []
        self._allowed = None if allowed is None else str(allowed)  # the one place that may be written to
        self._is_active = False
        sys.addaudithook(self._hook)

    def __enter__(self) -> None:
        self.seen.clear()
        self._is_active = True

    def __exit__(self, *_: object) -> None:
        self._is_active = False

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._is_active:
            return
        if event == "import":
            if args[0].partition(".")[0] not in _KNOWN:
                self.seen.append(f"imports {args[0]}")
        elif event.startswith((*_STARTS, *_LOADS)) or (
            ((event == "open" and args[2] & _WRITING) or event in _CHANGES) and not self._is_allowed(args)
        ):
            self.seen.append(f"{event}{args!r:.200}")

    def _is_allowed(self, args: tuple[Any, ...]) -> bool:
        return self._allowed is not None and _whole(args).startswith(self._allowed)


def _whole(args: tuple[Any, ...]) -> str:
    """Return the path that a call changes; where it begins at an open folder, whose number comes last, with that."""
    path, folder = os.fsdecode(args[0]) if not isinstance(args[0], int) else "", args[-1]
    if path.startswith("/") or not isinstance(folder, int) or folder < 0:
        return path
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)  # noqa: PTH115, PTH118 - this is no use of Path


class Peak:
    """The most memory that the process has had since it was asked to begin, as Linux counts it."""

    def __init__(self) -> None:
        self._clear = os.open("/proc/self/clear_refs", os.O_WRONLY)
        self._status = os.open("/proc/self/status", os.O_RDONLY)
        self._begin = 0

    def begin(self) -> None:
        """Forget what was before."""
        os.write(self._clear, b"5")
        self._begin = self._now()

    def grown(self) -> int:
        """Return how many bytes more there were at most."""
        return max(0, self._now() - self._begin)

    def _now(self) -> int:
        status = os.pread(self._status, 4096, 0)
        return int(status[status.index(b"VmHWM:") + 6 :].split(None, 1)[0]) << 10


class Said(logging.Handler):
    """Makes the text of each line of the log, as a handler that prints does; what fails is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            record.getMessage().encode()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self.failed.append(repr(error))


def listing(folder: Path) -> list[tuple[Any, ...]]:
    """Return name and kind of all that is in a folder and below; of files also the size and the time of the last change."""
    found = []
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(path, name))  # noqa: PTH118 - a name may be no UTF-8
            found.append((path, name, status.st_mode, *((status.st_size, status.st_mtime_ns) if name in files else ())))
    return sorted(found)


def attempt(call: Any, watch: Watch, peak: Peak, said: Said, *, memory: int) -> Outcome:
    """Return what comes of a call that may take so many bytes of memory."""
    error = fault = None
    said.failed.clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "invalid (escape|octal|decimal|hex)")  # numpy parses headers as Python
        warnings.filterwarnings("ignore", category=SyntaxWarning)
        peak.begin()
        begin = time.process_time()
        with watch:
            try:
                call()
            except SparknetError as refusal:
                error = refusal
            except KeyboardInterrupt:
                raise
            except BaseException as other:  # noqa: BLE001 - also SystemExit: whatever it is, it is a finding
                fault = other
        seconds, grown = time.process_time() - begin, peak.grown()
    texts = [
        str(one.message) for one in warned if "/PIL/" not in one.filename and not str(one.message).startswith(_OF_NUMPY)
    ]
    problems = [
        "".join(traceback.format_exception(fault)) if fault is not None else "",
        _of_refusal(error) if error is not None else "",
        f"warned: {'; '.join(texts)}" if texts else "",
        f"the log: {said.failed}" if said.failed else "",
        f"touched what is no input: {'; '.join(watch.seen)}" if watch.seen else "",
        f"took {seconds:.2f} s of the processor" if seconds > SECONDS else "",
        f"took {grown} bytes of memory, expected at most {memory}" if grown > memory else "",
    ]
    return Outcome("\n".join(filter(None, problems)), error, seconds, grown)


def _of_refusal(error: SparknetError) -> str:
    """Return what is wrong with a refusal, or nothing."""
    text, problems = str(error), []
    if len(text) > TEXT:
        problems.append(f"a refusal of {len(text)} characters: {text[:200]!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        problems.append(f"a refusal that cannot be printed: {text[:200]!r}")
    try:
        again = pickle.loads(pickle.dumps(error))
        if (type(again), str(again)) != (type(error), text):
            problems.append(f"a refusal that is another once it is pickled: {again!r:.200}")
    except Exception as failed:  # noqa: BLE001 - whatever it is, it is a finding
        problems.append(f"a refusal that cannot be pickled: {failed!r:.200}")
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, MemoryError) or "nable to allocate" in str(below):
            problems.append(f"asked for more memory than there is:\n{''.join(traceback.format_exception(error))}")
            break
        below = below.__cause__ or below.__context__
    return "\n".join(problems)
