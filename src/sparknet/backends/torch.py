"""The torch backend: tensors on ``"torch:cpu"`` and ``"torch:cuda:N"``. The sole importer of torch here.

Tensors are wrapped as they are. Autograd records operations of an NDArray as it does those of its tensor.
"""

from functools import cache
from typing import Any

import numpy as np

from sparknet.backends.adapt import adapt
from sparknet.backends.placement import cuda_index
from sparknet.dtypes import TABLE
from sparknet.errors import MissingDependency

try:
    import array_api_compat.torch as namespace
    import torch
    from torch.autograd.graph import increment_version
except ImportError as error:
    msg = f"the torch backend needs torch: pip install 'sparknet[torch]' ({error})"
    raise MissingDependency(msg, name="torch") from error


_name_of = cache(str)  # of a device: every tensor asks for it, and making the text takes microseconds


def _device(name: str) -> Any:
    found = torch.empty(0, device=name).device  # a missing device is an error now, not at the first use
    if str(found) != name:  # such as "cuda:00"
        msg = f"write {str(found)!r}"
        raise ValueError(msg)
    return found


# The types of other packages than numpy, which torch does not exchange with it -> their bits, which it does.
_FOREIGN = {getattr(torch, row.name): row for row in TABLE if not row.is_numpys and hasattr(torch, row.name)}
_BITS = {own: {1: torch.uint8, 2: torch.int16}[row.itemsize] for own, row in _FOREIGN.items()}


@cache
def _bits_of(dtype: np.dtype[Any]) -> Any:
    """Return torch's dtype if its elements are exchanged as bits; None if torch exchanges the dtype with numpy."""
    own = getattr(torch, dtype.name, None)
    return own if own in _BITS else None


def _from_host(array: np.ndarray[Any, Any], device: Any) -> Any:
    own = _bits_of(array.dtype)
    # copied by numpy, because torch warns about read-only memory
    tensor = torch.from_numpy((array if own is None else array.view(f"u{array.itemsize}")).copy())
    tensor = tensor if own is None else tensor.view(own)
    return tensor if device.type == "cpu" else tensor.to(device)


def _refusal(tensor: Any) -> str:
    """Return why numpy cannot hold the elements of a tensor, with the fix; an empty text if it can."""
    if tensor.dtype in _KNOWN and tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_nested:
        return ""  # first, because nets have thousands of tensors
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
    here = tensor.detach() if tensor.requires_grad else tensor
    try:
        return _as_numpy(here)  # tried first, because each question to a tensor takes as long as this
    except (TypeError, RuntimeError, ImportError):
        problem = _refusal(tensor)
        if problem:
            msg = f"the tensor {problem}"
            raise TypeError(msg) from None
    here = here if here.is_cpu else here.cpu()
    return _as_numpy(here.resolve_conj().resolve_neg() if here.is_conj() or here.is_neg() else here)


def _as_numpy(tensor: Any) -> np.ndarray[Any, Any]:
    """Return a tensor's own memory. torch refuses if the memory does not hold the elements, or if autograd records the tensor."""
    bits = _BITS.get(tensor.dtype)
    if bits is None:
        return tensor.numpy()  # type: ignore[no-any-return]
    host: np.ndarray[Any, Any] = tensor.view(bits).numpy().view(_FOREIGN[tensor.dtype].dtype())
    return host


def _write_refusal(tensor: Any) -> str:
    """Return why torch refuses to write to a tensor: autograd records it and it is a parameter, or a view of one."""
    if not tensor.requires_grad:
        return ""
    whole = tensor if tensor._base is None else tensor._base
    if whole.is_leaf and torch.is_grad_enabled():
        return "requires a gradient, so torch refuses to write to it; pass its .detach(), which shares its memory"
    return ""


def _place(tensor: Any) -> tuple[int, tuple[int, ...] | None]:
    if tensor.is_contiguous():
        return tensor.data_ptr(), None
    return tensor.data_ptr(), tuple(step * tensor.itemsize for step in tensor.stride())


def _host_view(tensor: Any) -> np.ndarray[Any, Any] | None:
    if not tensor.is_contiguous():  # elements of an expanded tensor share memory, and torch does not write to them
        return None
    try:
        host = _as_numpy(tensor)
        increment_version(tensor)  # so a backward pass that needs the old elements fails, as after torch's own writes
    except (TypeError, RuntimeError):
        return None
    return host


def _placed(device: str) -> str:
    """Return the device that ``"cuda"`` is in this task; other names as they are."""
    if device != "cuda" or not torch.cuda.is_available():
        return device
    return f"cuda:{cuda_index(torch.cuda.device_count(), torch.cuda.current_device)}"


def _release() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def load_tensors(file: Any) -> Any:
    """Return what is in a file of ``torch.save``, in host memory. Nothing that the file names is imported."""
    return torch.load(file, map_location="cpu", weights_only=True)


def save_tensors(tensors: dict[str, Any], file: Any) -> None:
    """Write a dict of tensors as ``torch.save`` does."""
    torch.save(tensors, file)


BACKEND = adapt(
    "torch",
    namespace,
    torch.Tensor,
    _to_host,
    device=_device,
    device_of=lambda tensor: _name_of(tensor.device),
    from_host=_from_host,
    refusal=_refusal,
    host_view=_host_view,
    write_refusal=_write_refusal,
    place=_place,
    placed=_placed,
    release=_release,
)
_KNOWN = frozenset(BACKEND.dtypes or ())
