"""Importing Caffe: no other module of the project does.

Caffe is imported at the first use, after its log and its BLAS were configured, because OpenBLAS reads its number of threads when it
is loaded. Each process has one BLAS thread: more of them wait for each other on a busy machine, and one gives the same bits
everywhere.
"""

import functools
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparknet.errors import MissingDependency, NetError

__all__ = ["MissingFileError", "load", "messages", "text_format", "translated"]

_DEFAULTS = {"GLOG_minloglevel": "2", "OPENBLAS_NUM_THREADS": "1"}
_BUILT_ON = "built_on.txt"  # of our wheel: a release of Debian, then the packages that the wheel runs with
_NO_WHEEL = "no Caffe (package 'caffe') is installed; build it with: nox -s pycaffe, and install the wheel whose path that prints"


class MissingFileError(NetError, FileNotFoundError):
    """A prototxt or weights file is not there."""


@functools.cache
def load() -> Any:
    """Return the ``caffe`` module, imported quietly and with one BLAS thread.

    ``GLOG_minloglevel`` and ``OPENBLAS_NUM_THREADS`` of the environment are respected. The environment does not change.

    Raises
    ------
    MissingDependency
        Caffe, a Python package it needs, or one of its shared libraries is not installed.
    """
    added = [name for name in _DEFAULTS if name not in os.environ]
    os.environ.update({name: _DEFAULTS[name] for name in added})
    try:
        import caffe
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        msg = _NO_WHEEL if missing == "caffe" else f"Caffe needs the Python package {missing!r}: {error}"
        raise MissingDependency(msg) from error
    except ImportError as error:
        msg = f"Caffe is installed, but does not load: {error}; {_how_to_load_it()}"
        raise MissingDependency(msg) from error
    finally:
        for name in added:
            os.environ.pop(name, None)
    if not hasattr(caffe, "get_solver"):  # a folder named caffe on sys.path is imported as an empty package
        raise MissingDependency(_NO_WHEEL)
    return caffe


def _how_to_load_it() -> str:
    """Return the fix for missing libraries; a wheel of sparknet names the system it was built on, another Caffe does not."""
    origin = getattr(importlib.util.find_spec("caffe"), "origin", None)
    note = Path(origin or "caffe").with_name(_BUILT_ON)
    release, *packages = note.read_text(encoding="utf-8").splitlines() if note.is_file() else [""]
    if not packages:
        return "install the shared libraries that it was built with, or build it for this machine: nox -s pycaffe"
    return f"on {release}, for which it was built: apt-get install {' '.join(packages)}; elsewhere build it anew: nox -s pycaffe"


def messages() -> Any:
    """Return the module of Caffe's protobuf messages."""
    return load().proto.caffe_pb2


def text_format() -> Any:
    """Return protobuf's module for the text format, which comes with Caffe."""
    load()
    from google.protobuf import text_format as module

    return module


_NAN = "NaN or -inf in the input"  # of max pooling, as the wheel words it


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn an error of Caffe inside the block into a NetError that begins with ``what``.

    Max pooling refuses NaN, because it would write outside its memory. Such an error has ``nonfinite``: the net has diverged.
    """
    try:
        yield
    except RuntimeError as error:
        msg = f"{what}: Caffe refuses it: {error}"
        raise NetError(msg, **({"nonfinite": True} if _NAN in str(error) else {})) from error
