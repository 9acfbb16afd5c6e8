"""Layers that do more than compute, and the user's trust in them: a prototxt may come from anywhere.

A layer needs no trust if a CaffeNet replaces it (data layers, an RDDDataLayer), leaves it out (HDF5Output) or reads its file itself
(InfogainLoss). A type that is not in the table, such as one of another Caffe, may do anything.
"""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.caffe.runtime import load

__all__ = ["COMPUTES", "check_trust", "checked_trust"]

# These types open no files, read no environment, start no threads and import no modules (from the sources of the Caffe wheel).
COMPUTES = frozenset(
    """
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop
    Deconvolution Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HingeLoss Im2col
    InnerProduct Input LRN LSTM LSTMUnit Log MVN MultinomialLogisticLoss PReLU Parameter Pooling Power RNN
    ReLU Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice Softmax SoftmaxWithLoss
    Split Swish TanH Threshold Tile
    """.split()
) | {"InfogainLoss"}  # opens a file, but that is read and checked before: see carried
# These read so many bottoms without a check of their number (from the sources of other Caffes).
_BOTTOMS = {"DetectionEvaluate": 2, "PriorBox": 2, "Proposal": 3}
# These read outside their memory.
_OUTSIDE = {
    "BilinearInterpolate": "beside a bottom that is one pixel high or wide; a Deconvolution with a bilinear filler computes the same"
}
_SHOWN = 4  # layers in a message


def checked_trust(trust: Sequence[str]) -> tuple[str, ...]:
    """Return the types of layers that the user trusts; a NetError if the argument is of another kind."""
    if isinstance(trust, str) or not isinstance(trust, Iterable) or not all(isinstance(name, str) for name in trust):
        msg = f"trust is {trust!r}, expected types of layers, as in trust=('Python',)"
        raise NetError(msg)
    types = load().layer_type_list()
    for name in trust:
        if name not in types:
            near = get_close_matches(name, types, 1, 0.5)
            msg = f"trust has {name!r}, a type of layer that this Caffe has not" + (f"; {near[0]!r}?" if near else "")
            raise NetError(msg, got=name)
    return tuple(trust)


def check_trust(layers: Sequence[Any], trust: Sequence[str], place: Callable[[int], str] = lambda _: "") -> None:
    """Refuse the layers that do more than compute and whose types are not trusted.

    Parameters
    ----------
    layers
        LayerParameters as Caffe will make them, with inputs in place of data layers.
    trust
        Trusted types of layers.
    place
        Returns, for the number of a layer, its place in the prototxt, as in ``" (net.prototxt:12)"``.

    Raises
    ------
    NetError
        There are such layers; the message names all of them, what they would do, and the option that allows it. No option
        allows a layer that is known to read outside its memory.
    """
    for i, layer in enumerate(layers):
        _check_memory(layer, place(i))
    refused = [(i, layer) for i, layer in enumerate(layers) if layer.type not in (*COMPUTES, *trust)]
    if not refused:
        return
    said = [f"layer {layer.name!r} of type {layer.type}{place(i)} {_does(layer)}" for i, layer in refused[:_SHOWN]]
    said += [f"and {len(refused) - _SHOWN} more"] * (len(refused) > _SHOWN)
    types = tuple(dict.fromkeys([*trust, *(layer.type for _, layer in refused)]))
    msg = (
        f"{'; '.join(said)}. A prototxt may do so only where you trust it: pass trust={types!r}, in the command "
        f"--trust {','.join(types)}"
    )
    raise NetError(msg, layer=refused[0][1].name, got=refused[0][1].type)


def _check_memory(layer: Any, place: str) -> None:
    """Refuse a layer of another Caffe that would read outside its memory."""
    called = f"layer {layer.name!r} of type {layer.type}{place}"
    needed = _BOTTOMS.get(layer.type, 0)
    if len(layer.bottom) < needed:
        msg = f"{called} has {len(layer.bottom)} bottoms, expected {needed}: it reads so many, and those that are missing outside of its memory"
        raise NetError(msg, layer=layer.name, got=len(layer.bottom), expected=needed)
    if layer.type in _OUTSIDE:
        msg = f"{called} is refused: it reads memory {_OUTSIDE[layer.type]}"
        raise NetError(msg, layer=layer.name, got=layer.type)


def _does(layer: Any) -> str:
    """Return, in words, what an untrusted layer would do."""
    if layer.type == "Python":
        return f"imports the module {layer.python_param.module!r} and runs its code"
    return "may open files or run code"
