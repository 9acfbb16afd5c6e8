#!/usr/bin/env python3
"""Build the pycaffe wheel and print its path.

Takes the pinned source distribution of Caffe, applies patches/*.patch in their order and compiles a CPU-only wheel for
the Python that runs this file: CPython 3.11 on Debian 12, 3.13 on Debian 13, 3.14 on forky. The wheel is kept: the next call with the
same inputs prints its path at once. The path is the only thing on stdout; progress and errors go to stderr.

Debian packages are installed where they are missing, by root or by a sudo that asks no password: those to run the wheel
at every call, those to build it only when it is built.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import debian
import recipe
from problems import ProblemError, UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).resolve().parent
BYTES_PER_JOB = 1.1 * 2**30
OLDEST_PYTHON = (3, 11)
EPILOG = """\
environment:
  PYCAFFE_CACHE     where the source distribution, the wheels and the logs are kept (default: ~/.cache/pycaffe)
  PYCAFFE_JOBS      compiler jobs at a time (default: one a CPU, as far as there are 1.1 GiB of memory for each)
  PYCAFFE_CXXFLAGS  more compiler flags, e.g. -march=x86-64-v3 (default: none, and the wheel runs on any x86-64)
  PYCAFFE_APT       0: the same as --no-apt
  CXX               the C++ compiler (default: c++)

exit status:
  0  the wheel is there
  1  the build failed; the last line says where its log is
  2  this machine cannot build it; the last line says what it lacks
"""


class Settings(NamedTuple):
    """What the caller chose."""

    cache: Path
    jobs: int
    flags: str
    apt: bool


def note(text: str) -> None:
    """Tell the person who waits."""
    print(f"[pycaffe] {text}", file=sys.stderr, flush=True)


def read_settings(argv: Sequence[str] | None) -> Settings:
    """Read the command line and the environment."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-apt", action="store_true", help="neither look for Debian packages nor install them")
    apt = not parser.parse_args(argv).no_apt and os.environ.get("PYCAFFE_APT") != "0"
    jobs = os.environ.get("PYCAFFE_JOBS") or str(default_jobs())
    if not jobs.isdecimal() or int(jobs) == 0:
        raise UnfitError(got=f"PYCAFFE_JOBS={jobs}", expected="a number of at least 1", fix="correct or unset it")
    cache = Path(os.environ.get("PYCAFFE_CACHE") or "~/.cache/pycaffe").expanduser().absolute()
    return Settings(cache, int(jobs), os.environ.get("PYCAFFE_CXXFLAGS", ""), apt)


def default_jobs() -> int:
    """Return one job a CPU, as far as the memory goes."""
    with Path("/proc/meminfo").open(encoding="ascii") as lines:
        memory = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):  # a container may be given less; "max" says that it is not
        memory.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return max(1, min(len(os.sched_getaffinity(0)), int(min(memory) / BYTES_PER_JOB)))


def check_python() -> None:
    """Raise unless the wheel can be built for the Python that runs this."""
    got = f"{sys.implementation.name} {recipe.python_version()}"
    system = debian.known()
    if system and got != f"cpython {system.python}":
        expected = f"cpython {system.python}, the one that {debian.release()} builds Boost.Python for"
        raise UnfitError(got=got, expected=expected, fix=f"call this file with python{system.python}")
    if sys.implementation.name != "cpython" or sys.version_info < OLDEST_PYTHON:
        raise UnfitError(got=got, expected="cpython 3.11 or newer", fix="call this file with one")


def check_tools() -> None:
    """Raise unless the programs are there that a build calls."""
    command = recipe.compiler().split()[0]
    for program in (command, "protoc", "patch"):
        if not shutil.which(program):
            fix = f"run as root: {debian.install_command(debian.BUILD)}"
            raise UnfitError(got=f"no {program}", expected=f"{program} on PATH", fix=fix)
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        fix = f"make a virtual environment: python{recipe.python_version()} -m venv"
        raise UnfitError(got=f"{sys.executable} without pip", expected="a Python with pip", fix=fix)


@contextlib.contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Let one process at a time build in `cache`; the kernel unlocks when a process dies."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "lock").open("w")
    except OSError as error:
        raise UnfitError(got=str(error), expected="a folder to write to", fix="set PYCAFFE_CACHE") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("waiting for another build to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(settings: Settings, folder: Path) -> None:
    """Build the wheel into `folder`, which appears only when the wheel is complete."""
    log = folder.with_suffix(".log")
    log.write_bytes(b"")
    note(f"building with {settings.jobs} jobs, about 3 minutes of CPU time; log: {log}")
    with tempfile.TemporaryDirectory(prefix="pycaffe-") as name:
        work = Path(name)
        source = recipe.unpack(recipe.fetch(settings.cache, work, log), work)
        recipe.apply_patches(source, HERE)
        recipe.add_files(source, HERE, folder.name)
        made = recipe.compile_wheel(source, work, settings.flags, settings.jobs, log)
        partial = folder.with_suffix(".partial")
        for old in (partial, folder):  # of a build that was killed; of a folder without its wheel
            shutil.rmtree(old, ignore_errors=True)
        partial.mkdir()
        shutil.copy(made, partial)
        partial.rename(folder)
    note("done")


def find(folder: Path) -> Path | None:
    """Return the wheel in `folder`, or None."""
    return next(folder.glob("caffe-*.whl"), None)


def wheel(settings: Settings) -> Path | None:
    """Return the wheel's path; build it unless it is in the cache."""
    check_python()
    folder = settings.cache / recipe.cache_key(HERE, settings.flags)
    if settings.apt:
        debian.ensure(debian.libraries() if find(folder) else debian.libraries() + debian.BUILD)
    if not find(folder):
        check_tools()
        with locked(settings.cache):
            if not find(folder):  # another process may have built it meanwhile
                build(settings, folder)
    return find(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    try:
        print(wheel(read_settings(argv)))
    except ProblemError as problem:
        note(f"error: {problem}")
        return problem.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
