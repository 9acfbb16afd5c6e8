"""The numpy backend: arrays in host memory. Imported through the registry only."""

from typing import Any

import array_api_compat.numpy as namespace
import numpy as np

from sparknet.backends import Backend
from sparknet.errors import DeviceError


def _asarray(obj: Any, dtype: Any = None, device: str | None = None, copy: bool | None = None) -> np.ndarray:
    if device not in (None, "cpu"):
        msg = f"the numpy backend has the device 'cpu' only, not {device!r}"
        raise DeviceError(msg)
    return np.asarray(obj, dtype=dtype, copy=copy)


BACKEND = Backend(
    name="numpy",
    namespace=namespace,
    array_type=np.ndarray,
    asarray=_asarray,
    to_host=np.asarray,
    device_of=lambda _array: "cpu",
)
