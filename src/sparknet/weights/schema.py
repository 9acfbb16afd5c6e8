"""Checks that collections of weights fit each other. For :mod:`sparknet.weights` and the nets.

Every check is made before the first write. Its error names the layer, the array, what was got, what was expected and the
fix. Here, a collection is any mapping of layer names to arrays.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sparknet.errors import DeviceError, SchemaError
from sparknet.ndarray import NDArray

__all__ = [
    "check_averageable",
    "check_same_devices",
    "check_same_schema",
    "check_update",
    "checked_weights",
]

Layers = Mapping[str, Sequence[NDArray]]


def _arrays(layers: Layers) -> Iterator[tuple[str, int, NDArray]]:
    """Iterate over (layer name, index in the layer, array)."""
    return ((name, index, array) for name, arrays in layers.items() for index, array in enumerate(arrays))


def check_same_schema(a: Layers, b: Layers, what: str) -> None:
    """Raise a SchemaError that names the first difference between the layers, shapes and dtypes of ``a`` and ``b``."""
    if list(a) != list(b):
        msg = f"{what}: got the layers {list(b)}, expected {list(a)}; do both come from the same net?"
        raise SchemaError(msg, got=list(b), expected=list(a))
    for (layer, mine), theirs in zip(a.items(), b.values(), strict=True):
        if len(mine) != len(theirs):
            msg = f"{what}: layer {layer!r} has {len(theirs)} arrays, expected {len(mine)}"
            raise SchemaError(msg, layer=layer, got=len(theirs), expected=len(mine))
        for index, (x, y) in enumerate(zip(mine, theirs, strict=True)):
            if x.shape != y.shape or x.dtype != y.dtype:
                got, expected = (y.shape, str(y.dtype)), (x.shape, str(x.dtype))
                msg = (
                    f"{what}: layer {layer!r}, array {index} is {got[1]} of shape {got[0]}, "
                    f"expected {expected[1]} of shape {expected[0]}; do both come from the same net?"
                )
                raise SchemaError(msg, layer=layer, index=index, got=got, expected=expected)


def check_same_devices(a: Layers, b: Layers, what: str) -> None:
    """Raise a DeviceError that names the first array of ``b`` on another device than its counterpart in ``a``."""
    for (layer, index, x), (_, _, y) in zip(_arrays(a), _arrays(b), strict=True):
        if x._backend is not y._backend:
            msg = (
                f"{what}: layer {layer!r}, array {index} is on {y.device!r}, expected {x.device!r}; "
                f"move the collection first: .to_device({x.device!r})"
            )
            raise DeviceError(msg, layer=layer, index=index, got=y.device, expected=x.device)


def check_update(layers: Layers, operands: Iterable[Any], symbol: str, op: Callable[[Any, Any], Any]) -> None:
    """Raise the error that ``op(array, operand)`` would raise for any array of ``layers``, before anything is written.

    The in-place ``op`` is tried on an empty view of each array, so that the backend's own rules of promotion decide. For numpy and
    cupy, one array of each dtype is enough.
    """
    tried = set()
    for (layer, index, array), operand in zip(_arrays(layers), operands, strict=True):
        flags = getattr(array.unwrap(), "flags", None)
        # numpy's flags say whether memory can be written; cupy's do not, because it always can; other libraries have no flags
        writeable = None if flags is None else getattr(flags, "writeable", True)
        kind = (array.dtype, writeable)
        if kind in tried:
            continue
        if writeable is not None:
            tried.add(kind)
        where = f"{symbol}: layer {layer!r}, array {index} is"
        if writeable is False:
            msg = (
                f"{where} read-only, as of a message that was loaded; nothing was changed; make a copy first: w.copy()"
            )
            raise ValueError(msg)
        try:
            op(_empty_view(array), _empty_view(operand) if isinstance(operand, NDArray) else operand)
        except (TypeError, ValueError, OverflowError) as error:
            got = "the same" if isinstance(operand, NDArray) else repr(operand)
            msg = (
                f"{where} {array.dtype}, the operand is {got}; expected an operation whose result can be written to it "
                f"({error.__cause__ or error}); nothing was changed; convert or copy first, as in w.astype('float32')"
            )
            raise (TypeError if isinstance(error, TypeError) else ValueError)(msg) from error


def _empty_view(array: NDArray) -> NDArray:
    return array[None, ...][:0, ...]


def check_averageable(layers: Layers, what: str = "mean") -> None:
    """Raise a SchemaError that names ``what`` is computed, and the first array that holds no real numbers."""
    for layer, index, array in _arrays(layers):
        if array.dtype.kind not in "fiu":
            msg = (
                f"{what}: layer {layer!r}, array {index} is of dtype {array.dtype}, expected real numbers; "
                "convert first, as in w.astype('float32')"
            )
            raise SchemaError(msg, layer=layer, index=index, got=str(array.dtype), expected="real numbers")


def checked_weights(weights: Sequence[float] | None, count: int) -> list[float]:
    """Return the weights of ``count`` collections in a mean as floats; a ValueError if they cannot be used."""
    scales = [1.0] * count if weights is None else [float(w) for w in weights]
    good = len(scales) == count and all(w >= 0 for w in scales) and 0 < sum(scales) < math.inf
    if not good:
        msg = f"mean: got weights {scales}; expected {count} finite non-negative numbers, not all zero"
        raise ValueError(msg)
    return scales
