"""The changes to the values of each input before a layer learns from them, in words, with the line that says so.

The changes are those of data layers (``transform_param``), and of the Power layers that an input goes through first.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sparknet.data.preprocess import Preprocessor
from sparknet.data.ranges import number

__all__ = ["changes_of", "power_tops"]

Where = Callable[[Any, Sequence[str]], str]

# Step -> the fields of a data layer that ask for it.
_FIELDS = {
    "Crop": ("crop_size", "crop_h", "cropsize"),
    "Mirror": ("mirror",),
    "Resize": ("new_height",),
    "Scale": ("scale",),
    "SubtractMean": ("mean_file", "mean_value", "meanfile"),
}


def changes_of(layers: Sequence[Any], transform: Preprocessor | None, where: Where) -> dict[str, tuple[str, ...]]:
    """Return input -> the changes to its values, in order; unchanged inputs are left out.

    Parameters
    ----------
    layers
        LayerParameters of one phase.
    transform
        The steps of its data layers.
    where
        Returns, for a layer and names of its fields, the place in the prototxt, as in ``" (net.prototxt:12)"``.
    """
    changes: dict[str, list[str]] = {}
    layer_of = {layer.top[0]: layer for layer in layers if layer.top and not layer.bottom}
    for step in getattr(transform, "steps", ()):
        place = where(layer_of[step.field], _FIELDS.get(type(step).__name__, ()))
        changes.setdefault(step.field, []).append(step.describe() + place)
    for name in (top for layer in layers if not layer.bottom for top in layer.top):
        for layer in _powers(layers, name):
            place = where(layer, ("scale", "shift", "power"))
            changes.setdefault(name, []).append(" ".join(_power(layer.power_param)) + place)
    return {name: tuple(said) for name, said in changes.items()}


def power_tops(net: Any) -> dict[str, str]:
    """Return input -> the blob behind its Power layers, for the inputs of the phase net ``net`` that have any."""
    inputs = [top for layer in net.layer if not layer.bottom for top in layer.top]
    tops = {name: [layer.top[0] for layer in _powers(net.layer, name)] for name in inputs}
    return {name: found[-1] for name, found in tops.items() if found}


def _powers(layers: Sequence[Any], name: str) -> Iterator[Any]:
    """Yield the Power layers that the blob ``name`` goes through, up to the first blob that another layer reads too."""
    rest = list(layers)
    while True:
        readers = [i for i, layer in enumerate(rest) if name in layer.bottom]
        in_place = readers and name in rest[readers[0]].top
        if (
            not readers
            or not rest[readers[0]].top
            or rest[readers[0]].type != "Power"
            or (len(readers) > 1 and not in_place)
        ):
            return
        yield rest[readers[0]]
        name, rest = rest[readers[0]].top[0], rest[readers[0] + 1 :]


def _power(param: Any) -> Iterator[str]:
    """Yield the changes of a Power layer: (shift + scale * x) ^ power."""
    if param.scale != 1:
        yield f"x {number(param.scale)}"
    if param.shift:
        yield f"{'-' if param.shift < 0 else '+'} {number(abs(param.shift))}"
    if param.power != 1:
        yield f"^ {number(param.power)}"
