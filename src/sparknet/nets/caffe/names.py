"""Names of layers: weights are kept by layer name, so a layer with weights needs one that no other layer has.

Layers without weights may share a name, or have none. Only a net that was made shows which layers have weights.
"""

from collections import defaultdict
from typing import Any

from sparknet.errors import NetError

__all__ = ["check_names", "names_as_written"]


def check_names(net: Any) -> None:
    """Raise a NetError if a layer with weights in the ``caffe.Net`` has no name, or the name of another layer."""
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


def names_as_written(definition: Any, net: Any) -> dict[str, str]:
    """Return copy -> blob, for the copies that Caffe adds where several layers read a blob.

    A copy is an output if the blob has a loss weight.
    """
    made = {top for layer in definition.layer for top in layer.top}
    splits = [index for index, layer in enumerate(net.layers) if layer.type == "Split"]
    names = net._blob_names
    copies = {names[top]: names[net._bottom_ids(index)[0]] for index in splits for top in net._top_ids(index)}
    return {name: of for name, of in copies.items() if name not in made}
