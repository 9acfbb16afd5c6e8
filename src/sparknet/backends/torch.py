"""The torch backend: tensors on ``"torch:cpu"`` and ``"torch:cuda:N"``. The sole importer of torch here.

Tensors are wrapped as they are; an NDArray records nothing for autograd that torch itself would not.
"""

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from sparknet.backends.adapt import adapt
from sparknet.errors import MissingDependency

try:
    import array_api_compat.torch as namespace
    import torch
except ImportError as error:
    msg = f"the torch backend needs torch: pip install 'sparknet[torch]' ({error})"
    raise MissingDependency(msg, name="torch") from error


_name_of = cache(str)  # of a device; it is asked for at every tensor, and making the text takes microseconds


def _device(name: str) -> Any:
    found = torch.empty(0, device=name).device  # an error now, not at the first use, where there is none
    if str(found) != name:  # "cuda" is whichever is current
        msg = f"write {str(found)!r}"
        raise ValueError(msg)
    return found


# Types that torch does not exchange with numpy -> their bits, which it does; in numpy they are those of ml_dtypes.
_BITS = {torch.bfloat16: torch.int16, torch.float8_e4m3fn: torch.uint8, torch.float8_e5m2: torch.uint8}


@cache
def _bits_of(dtype: np.dtype[Any]) -> Any:
    """Return torch's dtype of what travels as bits; None for what torch exchanges with numpy."""
    own = getattr(torch, dtype.name, None)
    return own if own in _BITS else None


def _from_host(array: np.ndarray[Any, Any], device: Any) -> Any:
    own = _bits_of(array.dtype)
    # a copy of numpy's, because torch warns of read-only memory
    tensor = torch.from_numpy((array if own is None else array.view(f"u{array.itemsize}")).copy())
    tensor = tensor if own is None else tensor.view(own)
    return tensor if device.type == "cpu" else tensor.to(device)


def _refusal(tensor: Any) -> str:
    """Say why a tensor has no elements that numpy could hold, and what to do; nothing where it has."""
    if tensor.dtype in _KNOWN and tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_nested:
        return ""  # first, because it is asked of each of thousands
    reasons = (
        (tensor.is_nested, "is a nested tensor: take its parts, tensor.unbind()"),
        (
            tensor.is_quantized,
            f"is quantized ({tensor.dtype}): take tensor.dequantize(), or tensor.int_repr() and its scale",
        ),
        (tensor.is_meta, "is on the device 'meta' and has no elements: load them first"),
        (
            tensor.layout is not torch.strided,
            f"is sparse ({tensor.layout}): take tensor.to_dense(), or its indices and values",
        ),
        (tensor.dtype in _BITS, f"has dtype {tensor.dtype}, which numpy has from a package: pip install ml_dtypes"),
        (tensor.dtype.is_complex, f"has dtype {tensor.dtype}, which numpy has not: take tensor.to(torch.complex64)"),
    )
    other = f"has dtype {tensor.dtype}, which numpy has not: take tensor.float(), or its bits, tensor.view(torch.uint8)"
    return next((reason for is_so, reason in reasons if is_so), other)


def _to_host(tensor: Any) -> np.ndarray[Any, Any]:
    problem = _refusal(tensor)
    if problem:
        msg = f"the tensor {problem}"
        raise TypeError(msg)
    here = tensor.detach().cpu()
    host: np.ndarray[Any, Any]
    if here.dtype in _BITS:
        dtype = getattr(import_module("ml_dtypes"), str(here.dtype).partition(".")[2])
        host = here.view(_BITS[here.dtype]).numpy().view(dtype)
    else:
        host = here.resolve_conj().resolve_neg().numpy()
    return host


BACKEND = adapt(
    "torch",
    namespace,
    torch.Tensor,
    _to_host,
    device=_device,
    device_of=lambda tensor: _name_of(tensor.device),
    from_host=_from_host,
    refusal=_refusal,
)
_KNOWN = frozenset(BACKEND.dtypes or ())
