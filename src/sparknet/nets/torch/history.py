"""An optimizer's state as named arrays, and back: ``optimizer/<parameter>/<entry>``.

Tensors keep their dtypes. A number of Python (LBFGS and others count in it) becomes an array without axes, whose name ends with its
type: ``step:int``. So does the name of a tensor of bfloat16, which travels as float32.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sparknet.errors import NetError, SchemaError
from sparknet.ndarray import NDArray
from sparknet.nets.torch.runtime import load
from sparknet.nets.torch.tensors import carried_dtype, copied, fresh, overwrite

__all__ = ["history_of", "set_history"]

_PREFIX = "optimizer/"
_KINDS = {bool: np.uint8, int: np.int64, float: np.float64}  # bool first: it is an int too
_TYPES = {kind.__name__: kind for kind in _KINDS}
_BFLOAT16 = "bfloat16"


def history_of(
    optimizer: Any, names: Mapping[int, str], taken: Callable[[Any], NDArray] = copied
) -> dict[str, NDArray]:
    """Return the optimizer's state; ``names`` are those of the parameters, by ``id``, and ``taken`` makes an array of a tensor."""
    history: dict[str, NDArray] = {}
    for parameter, entries in optimizer.state.items():
        name = names.get(id(parameter))
        if name is None:
            msg = f"{_called(optimizer)} keeps state of {type(parameter).__name__} {parameter!r:.60}, expected of parameters alone"
            raise NetError(msg)
        for key, value in entries.items():
            if value is not None:
                suffix, array = _entry(optimizer, name, key, value, taken)
                history[f"{_PREFIX}{name}/{key}{suffix}"] = array
    return history


def _entry(optimizer: Any, name: str, key: Any, value: Any, taken: Callable[[Any], NDArray]) -> tuple[str, NDArray]:
    if isinstance(value, load().Tensor):
        if value.layout != load().strided:
            msg = (
                f"{_called(optimizer)} keeps {key!r} of {name!r} as a sparse tensor, expected a dense one, which can be averaged; "
                "make the layer with sparse=False, or use an optimizer without momentum, Adagrad or SparseAdam"
            )
            raise NetError(msg)
        try:
            carried_dtype(value)
        except TypeError as error:
            msg = f"{_called(optimizer)} keeps {key!r} of {name!r} in {error}"
            raise NetError(msg) from None
        return f":{_BFLOAT16}" if value.dtype == load().bfloat16 else "", taken(value)
    kind = next((kind for kind in _KINDS if type(value) is kind), None)
    if kind is None:
        msg = (
            f"{_called(optimizer)} keeps {key!r} of {name!r} as {type(value).__name__}, expected a tensor or a number, which "
            "can be averaged; use another optimizer"
        )
        raise NetError(msg)
    return f":{kind.__name__}", NDArray(np.asarray(value, _KINDS[kind]))


def set_history(optimizer: Any, parameters: Mapping[str, Any], state: Mapping[str, NDArray]) -> None:
    """Replace the optimizer's state. Tensors of the same shape and dtype are written where they are; all others are made."""
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    found: dict[str, dict[str, NDArray]] = {}
    for full, array in state.items():
        name, slash, key = full.removeprefix(_PREFIX).rpartition("/")
        if not (full.startswith(_PREFIX) and slash and name in parameters and id(parameters[name]) in groups):
            msg = f"set_state(): got {full!r}, expected optimizer/<parameter>/<entry> of this net; is the state from another net?"
            raise SchemaError(msg, got=full, expected=list(parameters))
        found.setdefault(name, {})[key] = array
    for name, parameter in parameters.items():
        if name not in found:
            optimizer.state.pop(parameter, None)
            continue
        before = optimizer.state.get(parameter, {})
        group, entries = groups[id(parameter)], dict[str, Any]()
        for entry, array in found[name].items():
            key, _, kind = entry.partition(":")
            entries[key] = _value(kind, array, before.get(key), _place(key, parameter, group))
        optimizer.state[parameter] = entries


def _value(kind: str, array: NDArray, before: Any, device: Any) -> Any:
    if kind in _TYPES:
        return _TYPES[kind](array.to_host()[()])
    torch, is_half = load(), kind == _BFLOAT16
    if isinstance(before, torch.Tensor) and tuple(before.shape) == array.shape:
        kept = carried_dtype(before), before.dtype == torch.bfloat16
        if kept == (array.dtype, is_half):
            overwrite(before, array)
            return before
    made = fresh(array).to(device)
    return made.to(torch.bfloat16) if is_half else made


def _place(key: str, parameter: Any, group: Mapping[str, Any]) -> Any:
    """Return the device of an entry. torch keeps the count of steps in host memory, unless a kernel reads it."""
    is_read_there = group.get("capturable") or group.get("fused")
    return parameter.device if key != "step" or is_read_there else load().device("cpu")


def _called(optimizer: Any) -> str:
    return f"the optimizer {type(optimizer).__name__}"
