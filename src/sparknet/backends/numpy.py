"""The numpy backend: arrays in host memory. Imported through the registry only."""

import reprlib
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy as compat
import numpy as np

from sparknet.backends.backend import Backend

# array-api-compat wraps these for numpy 1, which takes several times as long; numpy 2's are the standard's
_OWN = ("empty", "empty_like", "eye", "full", "full_like", "ones", "ones_like", "zeros", "zeros_like")
_namespace = SimpleNamespace(**(vars(compat) | {name: getattr(np, name) for name in _OWN}))

_NUMBERS = (np.number, np.bool_)


def _asarray(obj: Any, dtype: Any = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
    if dtype is None and copy is None and isinstance(obj, _NUMBERS):
        return np.asarray(obj)  # a scalar, as reductions return it
    try:
        array = np.asarray(obj, dtype=dtype, copy=copy)
    except (TypeError, ValueError) as error:
        wanted = "an array" if dtype is None else f"an array of dtype {dtype}"
        reason = "copy=False, but that takes a copy" if copy is False and isinstance(error, ValueError) else error
        msg = f"{_shown(obj)} cannot become {wanted}: {reason}"
        raise (TypeError if isinstance(error, TypeError) else ValueError)(msg) from error
    if array.dtype.kind in "OUSmM" or array.dtype.type is np.void:
        msg = f"{_shown(obj)} has dtype {array.dtype}, expected numbers or bools"
        raise TypeError(msg)
    return array


def _shown(obj: Any) -> str:
    return f"{obj.dtype} {obj.shape}" if isinstance(obj, np.ndarray) else f"{type(obj).__name__} {reprlib.repr(obj)}"


BACKEND = Backend(
    name="numpy",
    device="cpu",
    namespace=_namespace,
    array_type=np.ndarray,
    asarray=_asarray,
    to_host=np.asarray,
    converts=True,
    element_is_scalar=True,
)
