"""The numpy backend: arrays in host memory. Imported through the registry only."""

import reprlib
from typing import Any

import numpy as np

from sparknet.backends.backend import Backend

# What is taken from numpy 2 itself: constants, and functions that array-api-compat wraps for numpy 1, which takes several times
# as long.
_OWN = """
    e inf nan newaxis pi dtype
    empty empty_like eye full full_like ones ones_like zeros zeros_like
""".split()


class _Namespace:
    """numpy's array-API namespace: that of array-api-compat, imported when a function of it is first used.

    array-api-compat imports all of numpy, f2py and the like too, which takes longer than all of sparknet. Programs that only read
    and write weights do without.
    """

    def __init__(self) -> None:
        vars(self).update({name: getattr(np, name) for name in _OWN})

    def __getattr__(self, name: str) -> Any:
        """Take over the functions of array-api-compat."""
        import array_api_compat.numpy as compat

        vars(self).update({key: value for key, value in vars(compat).items() if key not in _OWN})
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(name) from None


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
    namespace=_Namespace(),
    array_type=np.ndarray,
    asarray=_asarray,
    to_host=np.asarray,
    converts=True,
    element_is_scalar=True,
)
