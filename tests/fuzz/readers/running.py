"""Runs of one reader: input *i* of seed *s* is always the same. Each run is in a child process, so that also a crash is caught.

A C library may end its process, and a loop in it cannot be interrupted. So a child says which input it is at, the parent names that
one where the child dies, and another child goes on behind it.
"""

import contextlib
import faulthandler
import gc
import hashlib
import logging
import mmap
import multiprocessing
import os
import random
import resource
import shutil
import signal
import struct
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from fuzz.readers.inputs import Files, made, put
from fuzz.readers.laws import Peak, Said, Watch, attempt, listing
from fuzz.readers.table import READERS, Reader

from sparknet.files import regular

CHUNK = 500  # inputs, after which a child tells what came of them
CHILD = 10_000  # inputs of one child: what it leaks ends with it
ROOM = 512 << 20  # bytes of addresses beyond those of the start: to ask for more is a finding
HANG = 20  # seconds of the processor, after which an input ends its process
BLOCKED = 120  # seconds without an input that ends: it waits for something
INFLATED = 1 << 20  # bytes that small files may inflate to here; 1 GiB elsewhere
ALIKE = 2  # findings of one kind that are kept; the others are counted
_FILES = "files"
STRANGER = 'raise SystemExit("imported by a reader")\n'


@dataclass
class Tally:
    """What came of some inputs."""

    inputs: int = 0
    accepted: int = 0
    slowest: tuple[float, int] = (0.0, -1)  # seconds of the processor, number of the input
    memory: tuple[int, int] = (0, -1)  # bytes, number of the input
    kinds: Counter[str] = field(default_factory=Counter)  # type of a refusal -> inputs
    places: set[tuple[str, int]] = field(default_factory=set)  # of the source, where refusals come from
    found: list[tuple[int, str]] = field(default_factory=list)  # number of the input, and what it breaks
    alike: Counter[str] = field(default_factory=Counter)  # kind of a finding -> inputs

    def add(self, other: "Tally") -> None:
        """Add what came of other inputs."""
        self.inputs += other.inputs
        self.accepted += other.accepted
        self.slowest, self.memory = max(self.slowest, other.slowest), max(self.memory, other.memory)
        self.kinds += other.kinds
        self.places |= other.places
        for number, what in other.found:
            self.break_(number, what)

    def break_(self, number: int, what: str) -> None:
        """Count a finding; keep it, if there are few of its kind."""
        last = what.strip().splitlines()[-1] if what.startswith("Traceback") else what.strip().splitlines()[0]
        kind = "".join(" " if letter.isdigit() else letter for letter in last)[:60]
        self.alike[kind] += 1
        if self.alike[kind] <= ALIKE:
            self.found.append((number, what))


def input_of(name: str, seed: str, number: int) -> Files:
    """Return the input of this number: the files that a reader is given."""
    return made(READERS[name], random.Random(f"{seed}:{name}:{number}"))


def fuzz(name: str, seed: str, first: int, count: int) -> Tally:
    """Read ``count`` inputs, from number ``first`` on, in child processes; return what came of them."""
    total, at, passed = Tally(), first, set[int]()
    while at < first + count:
        end = min(at + CHILD, first + count)
        with _child(name, seed, range(at, end), passed) as (process, results, progress):
            while at < end:
                tally = _received(process, results, progress)
                if tally is None:
                    number, death = struct.unpack("q", progress[:8])[0], _death(process)
                    if number < 0:
                        msg = f"the reader {name}: {death}, at one of its seeds"
                        raise RuntimeError(msg)
                    passed.add(number)
                    total.inputs += 1
                    total.break_(number, death)
                    break
                total.add(tally)
                at += CHUNK
    return total


@contextlib.contextmanager
def _child(name, seed, numbers, passed):
    context = multiprocessing.get_context("fork")
    folder, progress = tempfile.mkdtemp(prefix="fuzz-"), mmap.mmap(-1, 8)
    progress[:8] = struct.pack("q", -1)
    results, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_work, args=(name, seed, numbers, frozenset(passed), Path(folder), progress, sender)
    )
    process.start()
    sender.close()
    process.said = Path(folder) / "said.txt"
    try:
        yield process, results, progress
    finally:
        process.kill()
        process.join()
        shutil.rmtree(folder, ignore_errors=True)


def _received(process, results, progress):
    """Return what a child tells next; None if it died, or was ended because nothing went on."""
    while True:
        before = progress[:8]
        try:
            if results.poll(BLOCKED):
                return results.recv()
        except EOFError:
            return None
        if progress[:8] == before:
            process.kill()
            return None


def _death(process):
    process.join()
    code = process.exitcode
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
    if code == -signal.SIGPROF:
        how = f"no end after {HANG} seconds of the processor"
    said = process.said.read_text(errors="replace")[-3000:] if process.said.exists() else ""
    return f"the process died: {how}\n{said}"


# ---- in the child
def _work(name, seed, numbers, passed, folder, progress, sender):
    """Read the inputs, and send a tally of each chunk."""
    reader = READERS[name]
    said = _quiet(folder)
    for place in ("beside", _FILES):
        (folder / place).mkdir()
    (folder / "beside" / "stranger.py").write_text(STRANGER)
    os.chdir(folder / "beside")
    os.sys.path.insert(0, "")  # what a stranger's module would be imported from
    with mock.patch.object(regular, "FREE", INFLATED):
        nothing = {reader.file or "nothing": b"?"}  # Pillow looks for all its plugins once it knows no format
        for files in (*reader.inputs()[:20], nothing):  # so that what is imported and kept at first use is there
            put(folder / _FILES, files)
            with contextlib.suppress(Exception, SystemExit):
                reader.call(folder / _FILES)
        gc.freeze()
        _bound()
        tempfile.tempdir = str(folder / _FILES)  # what is written for Caffe, and taken away
        watch, peak = Watch(folder / _FILES if reader.writes else None), Peak()
        for start in range(numbers[0], numbers[-1] + 1, CHUNK):
            tally = Tally()
            for number in range(start, min(start + CHUNK, numbers[-1] + 1)):
                progress[:8] = struct.pack("q", number)
                if number not in passed:
                    _one(reader, name, seed, number, folder, tally, watch, peak, said)
            sender.send(tally)
            gc.collect()


def _one(reader, name, seed, number, folder, tally, watch, peak, said):
    signal.setitimer(signal.ITIMER_PROF, HANG)
    files = input_of(name, seed, number)
    put(folder / _FILES, files)
    size = sum(len(data) for data in files.values() if isinstance(data, bytes))
    before = listing(folder)
    outcome = attempt(
        lambda: reader.call(folder / _FILES), watch, peak, said, memory=reader.memory + reader.factor * size
    )
    signal.setitimer(signal.ITIMER_PROF, 0)
    broken = outcome.broken
    if listing(folder) != before:
        broken += f"\nfiles have changed: {set(listing(folder)) ^ set(before)}"
    tally.inputs += 1
    tally.accepted += outcome.error is None and not broken
    tally.slowest = max(tally.slowest, (outcome.seconds, number))
    tally.memory = max(tally.memory, (outcome.memory, number))
    if outcome.error is not None:
        tally.kinds[type(outcome.error).__name__] += 1
        tally.places.add(_place(outcome.error))
    if broken:
        tally.break_(number, broken)


def _place(error):
    """Return the place in the source of sparknet that an error comes from."""
    while isinstance(error.__cause__, type(error)):
        error = error.__cause__
    trace, place = error.__traceback__, ("", 0)
    while trace:
        if "/sparknet/" in trace.tb_frame.f_code.co_filename:
            place = (trace.tb_frame.f_code.co_filename.rpartition("/sparknet/")[2], trace.tb_lineno)
        trace = trace.tb_next
    return place


def _quiet(folder):
    """Let what C libraries print, and where the process dies, go to a file; return the handler of the log."""
    file = (folder / "said.txt").open("w")
    for stream in (1, 2):
        os.dup2(file.fileno(), stream)
    faulthandler.enable(file)
    said = Said()
    root = logging.getLogger()
    root.handlers[:] = [said]
    root.setLevel(logging.INFO)
    return said


def _bound():
    """Bound the memory that the process may ask for from here on."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))


def write(name: str, seed: str, number: int, what: str, folder: Path) -> Path:
    """Write the files of an input and what it breaks to a folder of its own; return its path."""
    files = input_of(name, seed, number)
    mark = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]
    path = folder / f"{name}-{mark}"
    put(path, files)
    path.with_name(f"{path.name}.txt").write_text(
        f"input {number} of {name}, seed {seed}\n\n{what}\n", encoding="utf-8", errors="replace"
    )
    return path


__all__ = ["Reader", "Tally", "fuzz", "input_of", "write"]
