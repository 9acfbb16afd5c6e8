"""CaffeNet: nets that Caffe trains, from any solver prototxt; and layers that feed Caffe's own loops. The home of ``caffe``.

Nothing imports Caffe before a net, a factory or a layer is made. Where to look:

- From a solver's text to a Definition: ``prototxt``. It calls ``files`` (finds what is named), ``parsing`` and ``unknown`` (mistakes,
  fields of forks), ``first_format`` and ``old_format`` (nets of 2013 and 2014), ``layers`` and ``inputs`` (the layers of a phase),
  ``data_params`` and ``transform`` (data layers), ``trust`` (layers that do more than compute), ``tested`` (test nets), ``schedule``
  (the solver), ``carried`` and ``initial`` (files that travel), ``rows`` and ``axes`` (where a batch has its examples).
- What is said to the user of it: ``notes`` logs, ``unused``, ``unread`` and ``engines`` tell what has no effect, ``changes`` and
  ``lines`` what happens to values and on which line.
- From a Definition to a net that runs: ``net`` puts together ``holding`` (weights and state, with ``model_file``, ``snapshots`` and
  ``state``), ``batches`` (with ``feed``, ``padding``, ``passes`` and ``rehearsal``) and ``evaluation`` (with ``sharing``, ``reports`` and
  ``metrics``, an evaluation's numbers); ``making`` and ``names`` make nets. ``runtime`` imports Caffe.
- A layer in a prototxt of one's own: ``python_layer`` is the ``RDDDataLayer``, ``layer_param`` its parameters, ``sources`` what feeds it.
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
