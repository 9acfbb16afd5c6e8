"""CaffeNet: nets that Caffe trains, from any solver prototxt; and layers that feed Caffe's own loops. The home of ``caffe``.

Where to look: ``runtime`` imports Caffe. ``prototxt`` reads a solver and its nets, with ``parsing`` and ``unknown`` for
mistakes and fields of forks, ``first_format`` and ``old_format`` for nets of 2013 and 2014, ``layers`` and ``inputs`` for the
layers of a phase, ``data_params`` and ``transform`` for data layers, ``tested`` for test nets, ``schedule`` and ``unused`` for the
solver; ``notes`` says what has no effect. ``making`` makes nets, ``names`` and ``sharing`` see to whose weights are whose,
``feed`` and ``padding`` fill inputs. ``files`` finds what a prototxt names, ``carried`` and ``initial`` let it travel; ``holding`` has
weights and the solver's state, with ``model_file``, ``snapshots`` and ``state`` for files and arrays; ``reports`` and ``metrics`` say what an
evaluation's numbers are means of, ``net`` puts them together. ``python_layer`` is the ``RDDDataLayer`` that a prototxt names,
``layer_param`` its parameters, ``sources`` what feeds it. Nothing imports Caffe before a net, a factory or a layer is made.
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
