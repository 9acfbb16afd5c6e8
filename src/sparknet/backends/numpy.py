"""The numpy backend: arrays in host memory. Imported through the registry only."""

from typing import Any

import array_api_compat.numpy as namespace
import numpy as np

from sparknet.backends.backend import Backend


def _asarray(obj: Any, dtype: Any = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
    try:
        array = np.asarray(obj, dtype=dtype, copy=copy)
    except ValueError as error:
        if copy is False:
            raise
        msg = f"an array cannot be made of {type(obj).__name__} {str(obj)[:60]}: {error}"
        raise ValueError(msg) from error
    if array.dtype.kind in "OUSmM" or array.dtype.type is np.void:
        msg = f"got dtype {array.dtype} (of {type(obj).__name__} {str(obj)[:60]}), expected numbers or bools"
        raise TypeError(msg)
    return array


BACKEND = Backend(
    name="numpy",
    device="cpu",
    namespace=namespace,
    array_type=np.ndarray,
    asarray=_asarray,
    to_host=np.asarray,
)
