"""Whether a message fits the arrays that are to receive it, or the schema that a codec was made for."""

from typing import Any

from sparknet.errors import SchemaError
from sparknet.serialization.dtypes import NAMES
from sparknet.serialization.header import Header


def check_fits(got: Header, expected: Header, who: str) -> None:
    """Raise a SchemaError that names the first difference in kind, names, shapes and dtypes.

    Parameters
    ----------
    got, expected
        Of what came, and of what it must be like.
    who
        The function that was called, for the error.
    """
    for what in "kind", "names", "counts":
        have, want = getattr(got, what), getattr(expected, what)
        if have != want:
            msg = f"{who}: got {_described(what, have)}, expected {_described(what, want)}"
            raise SchemaError(msg, got=have, expected=want)
    if got.codes == expected.codes and got.shapes == expected.shapes:
        return
    for name, have, want in zip(expected.tensor_names(), _tensors(got), _tensors(expected), strict=True):
        if have != want:
            where = f"tensor {name!r}" if name else "the array"
            msg = f"{who}: {where} is {have[1]} of shape {have[0]}, expected {want[1]} of shape {want[0]}"
            raise SchemaError(msg, tensor=name, got=have, expected=want)


def _described(what: str, value: Any) -> str:
    return {
        "kind": f"a message of kind {value!r}",
        "names": f"the names {value}",
        "counts": f"{value} arrays in the layers",
    }[what]


def _tensors(header: Header) -> list[tuple[tuple[int, ...], str]]:
    """Return (shape, dtype name) of each tensor, as WeightCollection.schema() has them."""
    return [(shape, NAMES[code]) for shape, code in zip(header.shapes, header.codes, strict=True)]
