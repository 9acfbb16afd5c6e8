"""What goes into a module and its loss, and what comes out: columns of a minibatch by name, outputs by name.

An error of torch or of the user's functions becomes a NetError that says which shapes the minibatch had.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from sparknet.errors import DataError, NetError, SparknetError
from sparknet.ndarray import NDArray
from sparknet.nets.base import Batch
from sparknet.nets.torch.compiling import way_out
from sparknet.nets.torch.runtime import load
from sparknet.nets.torch.tensors import as_tensor

__all__ = ["columns_of", "measured", "named_outputs", "parts_of", "placed", "scalar", "translated"]


def columns_of(batch: Batch, names: Sequence[str], device: Any, dtype: Any, option: str) -> list[Any]:
    """Return the columns of these names as tensors; a DataError that names the ``option`` to set if some are missing."""
    missing = [name for name in names if name not in batch]
    if missing:
        there = ", ".join(map(repr, batch)) or "nothing"
        msg = f"the net needs the {option} {', '.join(map(repr, names))}, the batch has {there}; rename the columns, or give {option}=(...)"
        raise DataError(msg, missing=missing)
    return [as_tensor(batch[name], device, dtype) for name in names]


def parts_of(columns: Sequence[Any], parts: int) -> list[list[Any]]:
    """Return the columns cut along the rows into so many parts, which differ by one row at most; a DataError if there are fewer rows."""
    rows = min(len(column) for column in columns)
    if rows < parts:
        msg = f"a minibatch of {rows} rows cannot be taken in {parts} parts, expected at least {parts} rows (accumulate={parts})"
        raise DataError(msg, got=rows, expected=parts)
    return [list(part) for part in zip(*(column.tensor_split(parts) for column in columns), strict=True)]


def placed(what: str, function: Any, device: Any) -> Callable[..., Any]:
    """Return a loss or metric for nets on ``device``: of a module, such as CrossEntropyLoss(weight=...), a copy there.

    A module with parameters is a NetError, because nothing would train them.
    """
    if not isinstance(function, load().nn.Module):
        return function  # type: ignore[no-any-return]
    if any(True for _ in function.parameters()):
        msg = f"TorchNet: {what} is a {type(function).__name__} with parameters, which no step would change; expected them in module()"
        raise NetError(msg)
    return deepcopy(function).to(device)  # type: ignore[no-any-return]


def scalar(loss: Any, what: str = "loss") -> Any:
    """Return what the loss function returned, a tensor without axes; a NetError if it is anything else."""
    if not isinstance(loss, load().Tensor) or loss.numel() != 1:
        got = f"a tensor of shape {tuple(loss.shape)}" if hasattr(loss, "shape") else type(loss).__name__
        msg = f"{what}(output, ...) returned {got}, expected one number in a tensor: take the mean over the minibatch"
        raise NetError(msg)
    return loss.reshape(())


def named_outputs(output: Any) -> dict[str, Any]:
    """Return a module's outputs by name: ``output``; ``output/0``, ... of a tuple; or the keys of a dict."""
    if isinstance(output, load().Tensor):
        return {"output": output}
    if isinstance(output, Mapping):
        found = {str(name): value for name, value in output.items()}
    elif isinstance(output, tuple | list):
        found = {f"output/{i}": value for i, value in enumerate(output)}
    else:
        found = {}
    return {name: value for name, value in found.items() if isinstance(value, load().Tensor)}


def measured(
    metrics: Mapping[str, Callable[..., Any]], output: Any, targets: Sequence[Any]
) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of each metric."""
    for name, metric in metrics.items():
        value = metric(output, *targets)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            value = load().tensor(float(value))
        yield name, scalar(value, name)


@contextmanager
def translated(what: str, batch: Batch) -> Iterator[None]:
    """Turn an error of the block into a NetError that begins with ``what`` and names the minibatch's columns, if there is one."""
    try:
        yield
    except SparknetError as error:
        raise error.placed(what) from error
    except Exception as error:
        columns = ", ".join(f"{name} {_kind(array)}" for name, array in batch.items())
        place = f" (the minibatch has {columns})" if columns else ""
        msg = f"{what}: {type(error).__name__}: {error}{place}{way_out(error)}"
        raise NetError(msg) from error


def _kind(array: NDArray) -> str:
    return f"{array.dtype} {tuple(array.shape)}"
