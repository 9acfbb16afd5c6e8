"""Names of layers: weights are kept by layer name, so a layer with weights needs one that no other layer has.

Others may share a name, or have none: nothing is kept of them. Which layers have weights only the made net knows.
"""

from collections import defaultdict
from typing import Any

from sparknet.errors import NetError

__all__ = ["check_names"]


def check_names(net: Any) -> None:
    """Raise a NetError if a layer of the ``caffe.Net`` has weights, and no name or the name of another layer."""
    called = defaultdict(list)
    for index, (name, layer) in enumerate(zip(net._layer_names, net.layers, strict=True)):
        tops = ", ".join(repr(net._blob_names[i]) for i in net._top_ids(index))
        called[name].append((f"{layer.type} (top {tops or 'none'})", len(layer.blobs)))
    for name, layers in called.items():
        weighty = [layer for layer, blobs in layers if blobs]
        if weighty and not name:
            msg = (
                f"a layer without a name has weights, which are kept by the layer's name: {weighty[0]}; give it a name"
            )
            raise NetError(msg, layer=name)
        if weighty and len(layers) > 1:
            msg = (
                f"{len(layers)} layers are called {name!r}: {', '.join(layer for layer, _ in layers)}; weights are kept by "
                f"the layer's name, so {' and '.join(weighty)} needs one of its own"
            )
            raise NetError(msg, layer=name)
