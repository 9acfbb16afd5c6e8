"""A factory by its name, as in ``--net torch:package.module:function`` and ``--net torch:FILE.py:function``.

The code of a file is not put where other programs import modules from. So Spark's pickler sends it to the executors with the factory, which
need no such file. A module of a package is imported there, and has to be installed there.
"""

import importlib
import sys
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.base import NetFactory
from sparknet.nets.torch.metrics import accuracy
from sparknet.nets.torch.net import TorchNet
from sparknet.nets.torch.runtime import load

__all__ = ["named_factory"]


def named_factory(name: str, *, learning_rate: float, momentum: float) -> NetFactory:
    """Return the factory that a name stands for.

    Parameters
    ----------
    name
        ``package.module:function`` or ``FILE.py:function``. The function is called without arguments. It returns a
        ``TorchNet.factory(...)``, or a module; a module is trained by SGD on the cross entropy of its scores.
    learning_rate, momentum
        Of that SGD.

    Raises
    ------
    NetError
        There is no such file, module or function, or it returns something else; the message says which.
    """
    load()  # a missing torch is told as such, not as an error of the user's module
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        msg = f"--net torch:{name}: expected torch:package.module:function or torch:FILE.py:function"
        raise NetError(msg)
    function = getattr(_imported(name, place), attribute, None)
    if not callable(function):
        msg = f"--net torch:{name}: {place} has no function {attribute!r}"
        raise NetError(msg)
    made = _called(name, function)
    if isinstance(made, load().nn.Module):
        optimizer = partial(load().optim.SGD, lr=learning_rate, momentum=momentum)
        loss = load().nn.functional.cross_entropy
        return TorchNet.factory(function, optimizer=optimizer, loss=loss, metrics={"accuracy": accuracy})
    if not callable(made) or isinstance(made, type):
        msg = f"--net torch:{name}: {attribute}() returned {type(made).__name__}, expected a torch.nn.Module or a TorchNet.factory(...)"
        raise NetError(msg)
    return made  # type: ignore[no-any-return]


def _imported(name: str, place: str) -> ModuleType:
    try:
        if place.endswith(".py"):
            return _read(Path(place))
        return importlib.import_module(place)
    except Exception as error:
        msg = f"--net torch:{name}: {place} cannot be imported: {type(error).__name__}: {error}{_fix(place, error)}"
        raise NetError(msg) from error


def _fix(place: str, error: Exception) -> str:
    """Return what helps, to be put behind the error of an import. A file beside the one that is read is not found, as on the executors."""
    if not place.endswith(".py"):
        return "; a file is written as torch:FILE.py:function"
    missing = str(error.name).partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not any(missing and Path(place).with_name(name).exists() for name in (f"{missing}.py", missing)):
        return ""
    return f"; one file is sent to the workers: put the code of {missing} into it, or install {missing} here and on the executors"


def _read(path: Path) -> ModuleType:
    """Return a file as a module. It is among the imported modules only while it runs, because dataclasses look for it there."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module, before = module_from_spec(spec), sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[path.stem]
        if before is not None:
            sys.modules[path.stem] = before
    return module


def _called(name: str, function: Any) -> Any:
    try:
        return function()
    except Exception as error:
        msg = f"--net torch:{name}: the function raised {type(error).__name__}: {error}"
        raise NetError(msg) from error
