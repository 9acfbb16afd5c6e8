"""Whether a message fits the arrays that are to receive it, or the schema that a codec was made for."""

from collections.abc import Sequence
from typing import Any

from sparknet.errors import SchemaError
from sparknet.serialization.message.header import Header
from sparknet.serialization.payload.dtypes import NAMES

# kinds (got, expected) -> how the one becomes the other
_CONVERSIONS = {
    (
        "mapping",
        "weights",
    ): "; WeightCollection({name: [array] for name, array in d.items()}) makes weights of a flat dict",
    ("weights", "mapping"): "; {name: array for name, (array,) in w.items()} is a mapping, of one array a layer",
}


def check_fits(got: Header, expected: Header, caller: str) -> None:
    """Raise a SchemaError that names the first difference in kind, names, shapes and dtypes.

    Parameters
    ----------
    got, expected
        The headers of the message, and of what it has to fit.
    caller
        The public function that was called, for the error.
    """
    if got.kind != expected.kind:
        fix = _CONVERSIONS.get((got.kind, expected.kind), "")
        msg = f"{caller}: got a message of kind {got.kind!r}, expected one of kind {expected.kind!r}{fix}"
        raise SchemaError(msg, got=got.kind, expected=expected.kind)
    if got.names != expected.names:
        msg = f"{caller}: {_difference_of_names(got.names, expected.names)}"
        raise SchemaError(msg, got=got.names, expected=expected.names)
    if got.counts != expected.counts:
        at = _first_difference(got.counts, expected.counts)
        msg = f"{caller}: layer {expected.names[at]!r} has {got.counts[at]} arrays, expected {expected.counts[at]}"
        raise SchemaError(msg, got=got.counts, expected=expected.counts)
    if got.codes == expected.codes and got.shapes == expected.shapes:
        return
    for name, have, want in zip(expected.tensor_names(), _tensors(got), _tensors(expected), strict=True):
        if have != want:
            where = f"tensor {name!r}" if name else "the array"
            msg = f"{caller}: {where} is {have[1]} of shape {have[0]}, expected {want[1]} of shape {want[0]}"
            raise SchemaError(msg, tensor=name, got=have, expected=want)


def _difference_of_names(got: list[str], expected: list[str]) -> str:
    at = _first_difference(got, expected)
    if sorted(got) == sorted(expected):
        return (
            f"got the names expected, in another order, and their order counts: number {at + 1} is {got[at]!r}, "
            f"expected {expected[at]!r}; write {{name: d[name] for name in names}} on one side"
        )
    have, want = (repr(names[at]) if at < len(names) else "missing" for names in (got, expected))
    return f"got {len(got)} names, expected {len(expected)}; number {at + 1} is {have}, expected {want}"


def _first_difference(got: Sequence[Any], expected: Sequence[Any]) -> int:
    """Return the index of the first entries that differ, or of the first that one of them lacks."""
    pairs = enumerate(zip(got, expected, strict=False))
    return next((n for n, (have, want) in pairs if have != want), min(len(got), len(expected)))


def _tensors(header: Header) -> list[tuple[tuple[int, ...], str]]:
    """Return (shape, dtype name) of each tensor, as WeightCollection.schema() has them."""
    return [(shape, NAMES[code]) for shape, code in zip(header.shapes, header.codes, strict=True)]
