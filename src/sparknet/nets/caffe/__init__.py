"""CaffeNet: nets that Caffe trains, from any solver prototxt; and layers that feed Caffe's own loops. The home of ``caffe``.

``runtime`` imports Caffe, ``prototxt``, ``layers``, ``inputs``, ``transform`` and ``schedule`` read and check
definitions (``first_format`` and ``old_format`` those of 2013 and 2014), ``making`` makes nets of them, ``names`` checks
what their weights are called, ``feed`` and ``padding`` fill inputs, ``state`` reads and sets a solver's
state, ``net`` puts them together. ``python_layer`` is the ``RDDDataLayer`` that a prototxt names, ``layer_param`` its
parameters, ``sources`` what feeds it. Nothing imports Caffe before a net, a factory or a layer is made.
"""

from typing import Any

from sparknet.nets.caffe.layer_param import LayerParam, data_layer
from sparknet.nets.caffe.net import CaffeFactory, CaffeNet, Prepared
from sparknet.nets.caffe.sources import feeding

__all__ = ["CaffeFactory", "CaffeNet", "LayerParam", "Prepared", "data_layer", "feeding"]


def __getattr__(name: str) -> Any:
    """Import Caffe for the one class that derives from it."""
    if name == "RDDDataLayer":
        from sparknet.nets.caffe.python_layer import RDDDataLayer

        return RDDDataLayer
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
