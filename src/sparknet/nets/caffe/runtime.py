"""The way into Caffe: the one module of the project that imports it.

Caffe is imported at the first use, with its log and its BLAS set first: OpenBLAS reads its number
of threads when it is loaded. One thread for each process, because two spin against each other on a
busy machine, and because one thread gives the same bits everywhere.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sparknet.errors import MissingDependency, NetError

__all__ = ["MissingFileError", "load", "messages", "text_format", "translated"]

_DEFAULTS = {"GLOG_minloglevel": "2", "OPENBLAS_NUM_THREADS": "1"}
_NO_WHEEL = "no Caffe (package 'caffe') is installed; build it with: nox -s pycaffe, and install the wheel whose path that prints"
_LIBRARIES = (
    "libboost-python1.74.0 libboost-thread1.74.0 libboost-filesystem1.74.0 libprotobuf32 libgoogle-glog0v6 "
    "libhdf5-103-1 libhdf5-hl-100 libopenblas0-pthread"
)


class MissingFileError(NetError, FileNotFoundError):
    """A prototxt or weights file is not there."""


@functools.cache
def load() -> Any:
    """Return the ``caffe`` module, imported quietly and with one BLAS thread.

    ``GLOG_minloglevel`` and ``OPENBLAS_NUM_THREADS`` are respected where the environment has them;
    the environment is left as it was.

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
        msg = f"Caffe is installed, but does not load: {error}; on Debian 12: apt-get install {_LIBRARIES}"
        raise MissingDependency(msg) from error
    finally:
        for name in added:
            os.environ.pop(name, None)
    if not hasattr(caffe, "get_solver"):  # a folder called caffe on sys.path imports as an empty package
        raise MissingDependency(_NO_WHEEL)
    return caffe


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
    """Turn what Caffe refuses inside the block into a NetError that begins with ``what``.

    Max pooling refuses NaN, on which it would write outside its memory: such an error has ``nonfinite``, the net has diverged.
    """
    try:
        yield
    except RuntimeError as error:
        msg = f"{what}: Caffe refuses it: {error}"
        raise NetError(msg, **({"nonfinite": True} if _NAN in str(error) else {})) from error
