"""The fields of a data layer's own parameters: each is followed, has no effect here, or is refused.

Batches come from sparknet, not from the layer. So fields about what a data layer reads, and in which order, have no effect. Fields
about what it does to an image have: see :mod:`.transform`.
"""

import logging
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.caffe.inputs import DATA_LAYERS
from sparknet.nets.caffe.notes import note

__all__ = ["check_data_param"]

# Caffe looks for these in transform_param alone; of a `layers { }` they were moved there.
_MOVED = ("scale", "mean_file", "crop_size", "mirror")
_DONE = {
    "Data": ("batch_size", "force_encoded_color"),
    "ImageData": ("batch_size", "new_height", "new_width", "is_color"),
    "HDF5Data": ("batch_size",),
    "MemoryData": ("batch_size", "channels", "height", "width"),
    "WindowData": ("batch_size", "scale"),
}
# Fields about what is read, and how.
_READING = {
    "Data": ("source", "backend", "prefetch", "rand_skip"),
    "ImageData": ("source", "root_folder", "shuffle", "rand_skip"),
    "HDF5Data": ("source", "shuffle"),
    "MemoryData": (),
    "WindowData": ("source", "root_folder", "cache_images"),
}
# Fields about the windows of a minibatch, and how they are cut out of their images.
_WINDOWS = ("fg_threshold", "bg_threshold", "fg_fraction", "context_pad", "crop_mode")


def check_data_param(layer: Any) -> None:
    """Note which parameters of a data layer have no effect; a NetError for one that can be neither followed nor left out."""
    given = [field.name for field, _ in getattr(layer, DATA_LAYERS[layer.type]).ListFields()]
    place, param = f"layer {layer.name!r} ({layer.type})", DATA_LAYERS[layer.type]
    rest = [name for name in given if name not in _DONE[layer.type]]
    reading = [name for name in rest if name in _READING[layer.type]]
    moved = [name for name in rest if name in _MOVED]
    windows = [name for name in rest if layer.type == "WindowData" and name in _WINDOWS]
    unknown = [name for name in rest if name not in (*reading, *moved, *windows)]
    if unknown:
        msg = f"{param} has {', '.join(unknown)}, which sparknet does not know; take it out, and prepare the rows so yourself"
        raise NetError(msg)
    if reading:
        note(f"{place}: its rows are those that are packed or passed; without effect: {', '.join(reading)}")
    if windows:
        note(
            f"{place}: its windows are those that are packed or passed, already cut out; without effect: {', '.join(windows)}",
            logging.WARNING,
        )
    if moved:
        note(
            f"{place}: {', '.join(moved)} in {param} without effect, as in Caffe: it belongs into transform_param",
            logging.WARNING,
        )
    if layer.type == "WindowData" and layer.transform_param.HasField("scale"):
        note(
            f"{place}: scale in transform_param without effect, as in Caffe: this type takes that of window_data_param",
            logging.WARNING,
        )
