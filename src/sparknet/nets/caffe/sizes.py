"""Numbers that Caffe would misread: fields of a prototxt have 64 bits, or 32 without a sign, but Caffe counts in C++'s int.

Caffe itself refuses a blob with too many values. It does not notice a number that was cut to an int, or an overflow in a layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from sparknet.errors import NetError

__all__ = ["check_inputs", "check_lengths", "check_sizes", "check_tiles"]

MOST = (1 << 31) - 1  # of C++'s int
_HALF = 1 << 30  # below it, twice a pad plus a length stays below 2**32: an overflow is negative, and is refused
_PYRAMID = 31  # levels; one more would have 2**31 bins in a row
_GATES = 4  # of an LSTM: each output needs four numbers


def check_lengths(lengths: Sequence[int], where: str, layer: str) -> None:
    """Refuse a shape with a length, or a number of values, that C++'s int cannot hold.

    Lengths of 0 and -1 are left to Caffe, because some layers fill them in.
    """
    for length in lengths:
        if not -1 <= length <= MOST:
            raise _refused(where, length, f"expected at most {MOST}, Caffe's largest int", layer)
    values = prod(length for length in lengths if length > 0)
    if values > MOST:
        raise _refused(where, tuple(lengths), f"{values} values, expected at most {MOST}, Caffe's largest int", layer)


def check_sizes(layers: Sequence[Any]) -> None:
    """Refuse numbers of ``layers`` that Caffe would misread; the NetError names layer, field and number."""
    for layer in layers:
        for where, field, value in _numbers(layer, ""):
            if field.name == "dim":
                check_lengths(value, where, layer.name)
                continue
            for number in value:
                if not -MOST - 1 <= number <= MOST:
                    raise _refused(where, number, f"expected at most {MOST}, Caffe's largest int", layer.name)
        _check_computed(layer)


def _numbers(message: Any, path: str) -> Iterator[tuple[str, Any, Sequence[int]]]:
    """Yield name, descriptor and values of every set field of whole numbers, also in inner messages."""
    for field, value in message.ListFields():
        where, values = f"{path}{field.name}", value if field.is_repeated else [value]
        if field.message_type is not None:
            for each in values:
                yield from _numbers(each, f"{where}.")
        elif field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
            yield where, field, values


def _check_computed(layer: Any) -> None:
    """Refuse numbers with which a layer's computation overflows, and gives a wrong size instead of an error."""
    for name in ("convolution_param", "pooling_param"):
        param = getattr(layer, name)
        kernels, dilations = _all(param, "kernel_size", "kernel_h", "kernel_w"), _all(param, "dilation")
        extent = max(dilations, default=1) * (max(kernels, default=1) - 1) + 1
        if extent > MOST:
            raise _refused(name, extent, f"values between kernel and dilation, expected at most {MOST}", layer.name)
        for pad in _all(param, "pad", "pad_h", "pad_w"):
            if pad >= _HALF:
                raise _refused(f"{name}.pad", pad, f"expected less than {_HALF}", layer.name)
    outputs = layer.recurrent_param.num_output
    if outputs > MOST // _GATES:
        raise _refused("recurrent_param.num_output", outputs, f"expected at most {MOST // _GATES}", layer.name)
    levels = layer.spp_param.pyramid_height
    if levels > _PYRAMID:
        raise _refused("spp_param.pyramid_height", levels, f"expected at most {_PYRAMID}", layer.name)


def _all(param: Any, *names: str) -> list[int]:
    """Return all numbers of these fields, which are repeated or single."""
    known = (getattr(param, name, ()) for name in names)
    return [number for value in known for number in ([value] if isinstance(value, int) else value)]


def check_tiles(net: Any, layers: Sequence[Any]) -> None:
    """Refuse Tile layers of a ``caffe.Net`` whose product of sizes overflowed: their tops are smaller than what they write."""
    for layer in layers:
        if layer.type == "Tile":
            bottom, top = (net.blobs[name] for name in (layer.bottom[0], layer.top[0]))
            tiles = layer.tile_param.tiles
            if top.count != tiles * bottom.count:
                what = f"a blob of shape {tuple(bottom.shape)} cannot be had so often: at most {MOST} values, and not in its own place"
                raise _refused("tile_param.tiles", tiles, what, layer.name)


def check_inputs(net: Any, shapes: Mapping[str, Sequence[int]], layers: Sequence[Any]) -> None:
    """Refuse layers that changed the declared shape of an input in place, because their top is the input itself."""
    for name, shape in shapes.items():
        found = tuple(net.blobs[name].shape)
        layer = next((each for each in layers if name in each.bottom and name in each.top), None)
        if layer is not None and found != tuple(shape):
            msg = (
                f"layer {layer.name!r} ({layer.type}) has {name!r} as a bottom and as a top, and makes {found} of its shape "
                f"{tuple(shape)}; give it a top of another name"
            )
            raise NetError(msg, layer=layer.name, got=found, expected=tuple(shape))


def _refused(where: str, got: Any, what: str, layer: str) -> NetError:
    msg = f"layer {layer!r}: {where} is {got}: {what}"
    return NetError(msg, layer=layer, got=got)
