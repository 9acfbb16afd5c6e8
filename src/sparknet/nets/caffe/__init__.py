"""CaffeNet: nets that Caffe trains, from any solver prototxt; and layers that feed Caffe's own loops. The home of ``caffe``.

Nothing imports Caffe before a net, a factory or a layer is made. Where to look:

- Reading a solver's text makes a Definition: ``prototxt``. It calls ``files`` (finds the named files), ``parsing`` and ``unknown``
  (mistakes, fields of forks), ``first_format`` and ``old_format`` (nets of 2013 and 2014), ``layers`` and ``inputs`` (the layers of
  a phase), ``data_params`` and ``transform`` (data layers), ``trust`` (layers that do more than compute), ``tested`` (test nets),
  ``schedule`` (the solver), ``carried`` and ``initial`` (files that travel), ``rows`` and ``axes`` (the place of the examples).
- Messages about a prototxt: ``notes`` logs; ``unused``, ``unread`` and ``engines`` find what has no effect; ``changes`` and ``lines``
  find what happens to values, and the line that says so.
- A net that runs is made of a Definition: ``net`` puts together ``holding`` (weights and state, with ``model_file``, ``snapshots`` and
  ``state``), ``batches`` (with ``feed``, ``padding``, ``passes`` and ``rehearsal``) and ``evaluation`` (with ``sharing``, ``reports`` and
  ``metrics``, an evaluation's numbers). ``making`` and ``names`` make nets. ``runtime`` imports Caffe.
- The layer for a prototxt of your own: ``python_layer`` is the ``RDDDataLayer``, ``layer_param`` its parameters, ``sources`` feeds it.
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
