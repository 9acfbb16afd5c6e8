"""The inputs of a net: ``Input`` layers with the shapes of the prototxt or of the fields. A batch fills them.

Data layers, RDDDataLayers and the old ``input:`` of a net become ``Input`` layers here. The changes of a data layer to its images
are in :mod:`.transform`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sparknet.data.fields import Field
from sparknet.errors import NetError
from sparknet.nets.caffe.axes import batch_first, input_shape
from sparknet.nets.caffe.layer_param import LayerParam, is_rdd_layer
from sparknet.nets.caffe.runtime import messages
from sparknet.nets.caffe.sizes import check_lengths

__all__ = ["DATA_LAYERS", "Shapes", "as_fed", "bare", "inputs_of", "old_inputs"]

# Type of a data layer that reads files or arrays -> the field of its parameters.
DATA_LAYERS = {
    "Data": "data_param",
    "ImageData": "image_data_param",
    "HDF5Data": "hdf5_data_param",
    "MemoryData": "memory_data_param",
    "WindowData": "window_data_param",
}
_OLD_AXES = 4  # input_dim: number, channels, height, width


def inputs_of(net: Any) -> dict[str, tuple[int, ...]]:
    """Return the inputs of a phase net, name -> declared shape: the batch axis is the first, unless a field says another."""
    return {
        top: tuple(shape.dim)
        for layer in net.layer
        if layer.type == "Input"
        for top, shape in zip(layer.top, layer.input_param.shape, strict=True)
    }


def bare(shape: Iterable[int]) -> tuple[int, ...]:
    """Return ``shape`` without trailing ones: a label of shape (1, 1, 1) is one number."""
    out = tuple(shape)
    while out and out[-1] == 1:
        out = out[:-1]
    return out


class Shapes:
    """Finds the shape of an input: that of the prototxt, else that of the field of its name."""

    def __init__(self, fields: Sequence[Field], batch_size: int | None) -> None:
        if batch_size is not None and batch_size < 1:
            msg = f"batch_size {batch_size}, expected at least 1"
            raise NetError(msg)
        self.fields = {field.name: field for field in fields}
        self.batch_size = batch_size

    def declared(self, top: str, dims: Sequence[int], axis: int = 0) -> tuple[int, ...]:
        """Return the shape of an input declared as ``dims``; a field of its name must agree, and may give the batch axis."""
        if not dims or min(dims) < 1:
            msg = f"input {top!r} is declared with shape {tuple(dims)}; expected lengths of 1 and more, the batch first"
            raise NetError(msg)
        field = self.fields.get(top)
        axis = axis or (field.batch_axis if field else 0)
        example = tuple(dims[:axis]) + tuple(dims[axis + 1 :])
        if axis >= len(dims) or (field and (bare(field.shape) != bare(example) or field.batch_axis not in (0, axis))):
            hint = _axis_hint(field, dims) if field else ""
            msg = f"input {top!r} is declared with examples of shape {example}; the field given is {field}{hint}"
            raise NetError(msg, input=top, got=field.shape if field else axis, expected=example)
        return input_shape(self.batch_size or dims[axis], example, axis)

    def of_field(self, top: str, layer: Any, own_batch_size: int) -> tuple[int, ...]:
        """Return the shape of an input whose layer declares none."""
        if top not in self.fields:
            have = ", ".join(map(repr, self.fields)) or "none"
            msg = (
                f"layer {layer.name!r} ({layer.type}) does not say what shape {top!r} has; pass "
                f"fields=[Field({top!r}, shape_of_one_example), ...] (fields given: {have})"
            )
            raise NetError(msg, input=top)
        field = self.fields[top]
        if field.batch_axis and own_batch_size not in (0, field.shape[0]):
            msg = (
                f"layer {layer.name!r} ({layer.type}) has batch_size {own_batch_size}, which counts along the first axis, not the "
                f"batch's; expected {field.shape[0]} as in the field given, {field}"
            )
            raise NetError(msg, input=top)
        size = self.batch_size or (0 if field.batch_axis else own_batch_size)
        if not size:
            msg = f"layer {layer.name!r} ({layer.type}) does not say its batch size; pass batch_size="
            raise NetError(msg)
        return input_shape(size, field.shape, field.batch_axis)


def _axis_hint(field: Field, dims: Sequence[int]) -> str:
    """Return a hint at the batch axis with which the field would fit an input declared as ``dims``; "" if none does."""
    fits = [axis for axis in range(len(dims)) if bare(batch_first(dims, axis)[1:]) == bare(field.shape)]
    fits = [axis for axis in fits if axis != field.batch_axis]
    return f"; if its batch is on axis {fits[0]} of {tuple(dims)}, say Field(..., batch_axis={fits[0]})" if fits else ""


def old_inputs(net: Any, layers: Iterable[Any]) -> list[Any]:
    """Take ``input: "data" input_dim: 64 ...`` out of ``net`` and return it as an ``Input`` layer.

    An input without a shape that one of the ``layers`` makes is ignored, as in Caffe. Any other without a shape has that of its
    field.
    """
    names, dims = list(net.input), list(net.input_dim)
    shapes = [list(shape.dim) for shape in net.input_shape]
    if not shapes and not dims:
        made = {top for layer in layers for top in layer.top if top not in layer.bottom}
        names = [name for name in names if name not in made]
    else:
        shapes = shapes or [dims[i : i + _OLD_AXES] for i in range(0, len(dims), _OLD_AXES)]
        if len(shapes) != len(names) or any(not shape for shape in shapes) or len(dims) % _OLD_AXES:
            msg = (
                f"{len(names)} input, {len(net.input_shape)} input_shape, {len(dims)} input_dim; expected an input_shape, "
                f"or {_OLD_AXES} input_dim, for each input, or none of them"
            )
            raise NetError(msg)
    for field in ("input", "input_dim", "input_shape"):
        net.ClearField(field)
    return [_input_layer("input", names, shapes)] if names else []


def as_fed(layer: Any, shapes: Shapes) -> Any:
    """Return the ``Input`` layer in place of a data layer, or the layer itself if it is none."""
    if layer.type == "Input":
        return _input_layer(layer.name, layer.top, _input_shapes(layer, shapes))
    if layer.type in DATA_LAYERS:
        return _input_layer(layer.name, layer.top, _data_shapes(layer, shapes))
    if is_rdd_layer(layer):
        return _input_layer(layer.name, layer.top, _rdd_shapes(layer, shapes))
    return layer


def _input_layer(name: str, tops: Sequence[str], shapes: Iterable[Sequence[int]]) -> Any:
    layer = messages().LayerParameter(name=name, type="Input", top=tops)
    for shape in shapes:
        check_lengths(shape, "the shape of an input", name)
        layer.input_param.shape.add(dim=shape)
    return layer


def _input_shapes(layer: Any, shapes: Shapes) -> list[tuple[int, ...]]:
    declared = [list(shape.dim) for shape in layer.input_param.shape]
    if not declared:
        return [shapes.of_field(top, layer, 0) for top in layer.top]
    if len(declared) not in (1, len(layer.top)):
        msg = f"layer {layer.name!r} has {len(layer.top)} tops, {len(declared)} shapes; expected one, or one each"
        raise NetError(msg)
    each = declared * len(layer.top) if len(declared) == 1 else declared
    return list(map(shapes.declared, layer.top, each))


def _data_shapes(layer: Any, shapes: Shapes) -> list[tuple[int, ...]]:
    param = getattr(layer, DATA_LAYERS[layer.type])
    if layer.type == "MemoryData" and param.channels:  # it declares the shapes of images and labels itself
        image = [param.batch_size, param.channels, param.height, param.width]
        return [shapes.declared(top, dims) for top, dims in zip(layer.top, (image, image[:1]), strict=False)]
    return [shapes.of_field(top, layer, param.batch_size) for top in layer.top]


def _rdd_shapes(layer: Any, shapes: Shapes) -> list[tuple[int, ...]]:
    param = LayerParam.from_json(layer.python_param.param_str)
    if list(layer.top) != list(param.tops):
        msg = (
            f"layer {layer.name!r} has the tops {', '.join(layer.top)}, its param_str the columns {', '.join(param.tops)}; "
            "a CaffeNet takes columns by the names of its inputs, so both must be the same"
        )
        raise NetError(msg)
    axes = [param.batch_axis.get(top, 0) for top in param.tops]
    return [
        shapes.declared(top, input_shape(param.batch_size, example, axis), axis)
        for (top, example), axis in zip(param.tops.items(), axes, strict=True)
    ]
