"""Puts the stand-in for CuPy (``tests/stand_ins``) in the place of CuPy, for as long as a test wants it there."""

import contextlib
import sys
from pathlib import Path
from unittest import mock

import sparknet.backends
from sparknet.backends import gpus, registry

FOLDER = Path(__file__).with_name("stand_ins")
# What is made of cupy when it is imported; all of it is imported anew over the stand-in.
_OVER_CUPY = ("cupy", "cupyx", "array_api_compat.cupy", "sparknet.backends.cupy")
_WITHIN = tuple(f"{top}." for top in _OVER_CUPY)
_TABLES = ("REGISTRY", "BY_DEVICE", "_LOADED", "_BY_TYPE")


@contextlib.contextmanager
def cupy(devices=1, version="14.2.0"):
    """Return the module ``cupy`` of the stand-in, on a machine with so many devices; afterwards all is as it was."""
    kept = {name: module for name, module in sys.modules.items() if _is_over_cupy(name)}
    tables = {name: dict(getattr(registry, name)) for name in _TABLES}
    _forget()
    sys.path.insert(0, str(FOLDER))
    try:
        import cupy as module

        module.__version__ = version
        module._machine.machine.devices = devices
        with mock.patch.object(gpus, "count", module._machine.machine.visible):  # which else asks the driver itself
            yield module
    finally:
        sys.path.remove(str(FOLDER))
        _forget()
        sys.modules.update(kept)
        for name, module in kept.items():
            parent, _, attribute = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], attribute, module)
        for name, table in tables.items():
            getattr(registry, name).clear()
            getattr(registry, name).update(table)


@contextlib.contextmanager
def device(name):
    """Return the device that a test asks for: one of the stand-in for ``"cuda:1 of the stand-in"``, others are as they are called.

    Of the machine of the stand-in it is the last device: the only one, or one that is not the current one.
    """
    own, _, substitute = name.partition(" of ")
    with cupy(devices=int(own[-1]) + 1) if substitute else contextlib.nullcontext():
        yield own


def _forget():
    for name in [name for name in sys.modules if _is_over_cupy(name)]:
        del sys.modules[name]
    vars(sparknet.backends).pop("cupy", None)
    for table in ("BY_DEVICE", "_LOADED", "_BY_TYPE"):
        getattr(registry, table).clear()


def _is_over_cupy(name):
    return name in _OVER_CUPY or name.startswith(_WITHIN)
