"""Numbers between tensors of torch and NDArrays, each with one copy and no other.

Booleans travel as uint8, because rules refuse what is no number. Like all integers, a rule takes them of one worker.
"""

from typing import Any

import numpy as np

from sparknet.ndarray import NDArray
from sparknet.nets.torch.runtime import load

__all__ = ["as_tensor", "carried_dtype", "copied", "fresh", "lent", "overwrite"]


def carried_dtype(tensor: Any) -> "np.dtype[Any]":
    """Return numpy's dtype of a tensor as it travels; a TypeError for a dtype that no rule averages (bfloat16, complex, ...)."""
    torch = load()
    if tensor.dtype == torch.bool:
        return np.dtype(np.uint8)
    found = str(tensor.dtype).removeprefix("torch.")
    try:
        dtype = np.dtype(found)
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "fiu":
        msg = f"{found}, expected float16, float32, float64, an integer or bool"
        raise TypeError(msg)
    return dtype


def copied(tensor: Any) -> NDArray:
    """Return the numbers of a tensor in new host memory, row-major."""
    own = _numeric(tensor)
    if own.is_cpu:
        return NDArray(np.array(own.numpy(), order="C", copy=True))
    return lent(tensor)


def lent(tensor: Any) -> NDArray:
    """Return the numbers of a tensor, row-major, in its own memory if they lie so in host memory."""
    return NDArray(
        np.asarray(_numeric(tensor).cpu().numpy(), order="C")
    )  # np.ascontiguousarray would add an axis to a scalar


def _numeric(tensor: Any) -> Any:
    torch, own = load(), tensor.detach()
    return own.view(torch.uint8) if own.dtype == torch.bool else own


def overwrite(tensor: Any, array: NDArray) -> None:
    """Write an array of the tensor's shape and carried dtype into the tensor's own memory."""
    torch, own = load(), tensor.detach()
    is_bool = own.dtype == torch.bool
    if own.is_cpu:
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
