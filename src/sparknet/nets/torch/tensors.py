"""Numbers between tensors of torch and NDArrays, each with one copy and no other.

Booleans travel as uint8, because rules refuse what is no number. Like all integers, a rule takes them of one worker. bfloat16, which
numpy does not have, travels as float32, which holds each of its numbers.
"""

from typing import Any

import numpy as np

from sparknet.ndarray import NDArray
from sparknet.nets.torch.runtime import load

__all__ = ["as_tensor", "carried_dtype", "copied", "fresh", "lent", "overwrite"]


def carried_dtype(tensor: Any) -> "np.dtype[Any]":
    """Return numpy's dtype of a tensor as it travels; a TypeError for a dtype that no rule averages (complex, float8, ...)."""
    torch = load()
    if tensor.dtype in (torch.bool, torch.bfloat16):
        return np.dtype(np.uint8 if tensor.dtype == torch.bool else np.float32)
    found = str(tensor.dtype).removeprefix("torch.")
    try:
        dtype = np.dtype(found)
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "fiu" or dtype.isbuiltin != 1:  # ml_dtypes adds float8 to numpy's names
        msg = f"{found}, expected float16, bfloat16, float32, float64, an integer or bool"
        raise TypeError(msg)
    return dtype


def copied(tensor: Any) -> NDArray:
    """Return the numbers of a tensor in new host memory, row-major."""
    if not tensor.is_cpu or tensor.dtype == load().bfloat16:
        return lent(tensor)
    return NDArray(np.array(_numeric(tensor).numpy(), order="C", copy=True))


def lent(tensor: Any) -> NDArray:
    """Return the numbers of a tensor, row-major, in its own memory if they lie so in host memory."""
    return NDArray(
        np.asarray(_numeric(tensor).cpu().numpy(), order="C")
    )  # np.ascontiguousarray would add an axis to a scalar


def _numeric(tensor: Any) -> Any:
    """Return a tensor in the dtype in which it travels: the same memory, but for bfloat16."""
    torch, own = load(), tensor.detach()
    if own.dtype == torch.bfloat16:
        return own.float()
    return own.view(torch.uint8) if own.dtype == torch.bool else own


def overwrite(tensor: Any, array: NDArray) -> None:
    """Write an array of the tensor's shape and carried dtype into the tensor's own memory; for bfloat16 it is rounded, half to even."""
    torch, own = load(), tensor.detach()
    is_bool = own.dtype == torch.bool
    if own.is_cpu and own.dtype != torch.bfloat16:
        host = array.to_host()
        np.copyto(own.numpy(), host != 0 if is_bool else host)
    else:
        with torch.no_grad():
            given = fresh(array)
            own.copy_(given != 0 if is_bool else given)


def fresh(array: NDArray) -> Any:
    """Return a tensor in host memory of its own; torch warns of memory that is read-only, so it never gets the array's."""
    return load().from_numpy(np.array(array.to_host(), order="C", copy=True))


def as_tensor(array: NDArray, device: Any, dtype: Any) -> Any:
    """Return a column of a minibatch as a tensor on ``device``, floating numbers in ``dtype``.

    It is a copy in any case: a module may change its input in place, and the minibatch is used again.
    """
    tensor = fresh(array)
    is_other = tensor.is_floating_point() and tensor.dtype != dtype
    return tensor.to(device=device, dtype=dtype if is_other else tensor.dtype)
