"""What every test session shares: hypothesis profiles, the documentation's code blocks, and the rules of the markers."""

import functools
import gc
import importlib.util
import os
import re
import shutil
import signal

import hypothesis
import pytest
from sybil import Sybil
from sybil.parsers.markdown import SkipParser
from sybil.parsers.myst import PythonCodeBlockParser

# No deadline: what a property costs is a benchmark's claim, and CI machines are busy.
# A developer's run takes a tenth of the examples, so that it is made often. Every law is tried all the same, with other examples each time.
# CI takes all of them, the same ones each time. --hypothesis-profile=full takes all of them anywhere.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=10)
hypothesis.settings.register_profile("full", deadline=None, max_examples=100)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "quick")

# No tests, though pytest looks for doctests in every module: what only looks like a package (tests/stand_in.py puts it in the place of
# one), and a program of Spark's tests, which needs pyspark to be imported.
collect_ignore = ["tests/stand_ins", "tests/spark/daemon"]
# torch is optional as an extra is, and in no session of its own: without it its backend cannot be imported.
if not importlib.util.find_spec("torch"):
    collect_ignore.append("src/sparknet/backends/torch.py")

# Marker -> the package or program it stands for, and the command that brings it.
NEEDS = {
    "spark": ("pyspark", "nox -s spark"),
    "caffe": ("caffe", "nox -s caffe"),
    "gpu": ("cupy", "nox -s tests_gpu"),
    "torch": ("torch", "nox -s torch"),
    "node": ("npm", "nox -s javascript"),
}
PROGRAMS = {"npm"}
# What cupy warns of depends on the machine (headers that it misses, a cache it cannot write) and on its version, and is no fault of a
# test. That it reads the memory of another device is one: no operation here may.
ON_A_GPU = pytest.mark.filterwarnings("default", "error:The device where the array resides")
# Modules and packages whose doctests run in the session of a marker only.
ROOMS = {
    "src/sparknet/spark": "spark",
    "src/sparknet/clusters/spark": "spark",
    "src/sparknet/nets/caffe": "caffe",
    "src/sparknet/nets/torch": "torch",
    "src/sparknet/backends/cupy": "gpu",
}
# A page with this comment runs, as a whole, in the sessions named: its blocks share their names from top to bottom.
PAGE_NEEDS = re.compile(r"<!-- needs: ([a-z, ]+) -->")

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["docs/*.md", "docs/**/*.md", "README.md"],
).pytest()


def pytest_configure(config):  # noqa: ARG001 -- pytest calls it so
    """Take Ctrl-C again where a shell started the tests in the background with SIGINT ignored: programs they start inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session):  # noqa: ARG001 -- pytest calls it so
    """Leave what is there now out of every collection of garbage: modules and tests, which stay until the end."""
    gc.collect()
    gc.freeze()


def pytest_ignore_collect(collection_path, config):
    """Leave alone, without importing them, the modules of rooms that this session was not asked for."""
    chosen = config.option.markexpr
    if collection_path.suffix not in {".py", ".md"} or not chosen:
        return None
    negated = set(re.findall(r"not (\w+)", chosen))
    asked = set(re.findall(r"\w+", chosen)) - negated
    markers = _markers_of_file(collection_path, config)
    if markers and (markers & negated or not markers & asked):
        return True
    # Of one marker alone, as in `-m gpu`, nearly all modules have no test, and importing them all takes a while.
    return True if chosen in NEEDS and chosen not in markers and not _is_named(chosen, collection_path) else None


def _is_named(marker, path):
    """Say whether a test module names a marker anywhere, as of one test or one parameter."""
    return path.suffix == ".py" and re.search(rf"\bmark\.{marker}\b", path.read_text(encoding="utf-8"))


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config, items):
    """Mark the doctests of rooms, and the code blocks of pages that need Spark, Caffe or a GPU."""
    markers_of = functools.cache(functools.partial(_markers_of_file, config=config))
    for item in items:
        if " at 0x" in item.nodeid:
            msg = f"{item.nodeid}: the address of an object is another one in each process that shares the tests; give it a name"
            raise pytest.UsageError(msg)
        for marker in markers_of(item.path):
            item.add_marker(marker)
        if item.get_closest_marker("gpu"):
            item.add_marker(ON_A_GPU)


def _markers_of_file(path, config):
    if path.suffix == ".md":
        said = PAGE_NEEDS.search(path.read_text(encoding="utf-8"))
        return set(re.findall(r"[a-z]+", said[1])) if said else set()
    return _markers_of_module(path, config)


def _markers_of_module(path, config):
    """Return the markers of a whole module: its room's, or what a test module says of itself."""
    name = path.relative_to(config.rootpath).as_posix()
    if name.startswith("tests/"):
        said = re.search(r"^pytestmark = .*", path.read_text(encoding="utf-8"), re.MULTILINE)
        return {marker for marker in NEEDS if said and re.search(rf"\bmark\.{marker}\b", said[0])}
    return {marker for room, marker in ROOMS.items() if name == f"{room}.py" or name.startswith(f"{room}/")}


def pytest_runtest_setup(item):
    """Fail, not skip, a test of something that was asked for and is not there."""
    is_torchs = item.get_closest_marker("torch") is not None  # on a GPU it needs no other library
    for marker, (package, command) in NEEDS.items():
        if marker == "gpu" and is_torchs:
            continue
        if item.get_closest_marker(marker) and not _is_installed(package):
            pytest.fail(f"marked {marker}, but {package} is not installed; run: {command}", pytrace=False)


@functools.cache
def _is_installed(package):
    if package in PROGRAMS:
        return shutil.which(package) is not None
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None  # a mere folder of that name has no origin
