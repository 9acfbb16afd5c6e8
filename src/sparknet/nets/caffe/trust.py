"""Which layers do more than compute, and whether the user trusts a net with them: a prototxt may come from anywhere.

What a CaffeNet replaces (data layers, an RDDDataLayer), leaves out (HDF5Output) or reads itself (the file of an InfogainLoss) never
does it, so it needs no trust. A type that is not in the table may do anything, as the layers of another Caffe.
"""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.caffe.runtime import load

__all__ = ["COMPUTES", "check_trust", "checked_trust"]

# From the sources of the Caffe wheel: these types neither open files, nor read the environment, start threads or import modules.
COMPUTES = frozenset(
    """
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop
    Deconvolution Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HingeLoss Im2col
    InnerProduct Input LRN LSTM LSTMUnit Log MVN MultinomialLogisticLoss PReLU Parameter Pooling Power RNN
    ReLU Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice Softmax SoftmaxWithLoss
    Split Swish TanH Threshold Tile
    """.split()
) | {"InfogainLoss"}  # opens the file of its matrix, which is read and checked before: see carried
# From the sources of other Caffes: these read so many bottoms, and do not ask how many they have.
_BOTTOMS = {"DetectionEvaluate": 2, "PriorBox": 2, "Proposal": 3}
# And these read outside of their memory.
_OUTSIDE = {
    "BilinearInterpolate": "beside a bottom that is one pixel high or wide; a Deconvolution with a bilinear filler computes the same"
}
_SHOWN = 4  # layers in a message


def checked_trust(trust: Sequence[str]) -> tuple[str, ...]:
    """Return types of layers as the user gives them; a NetError if they are none."""
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
        LayerParameters as Caffe is to make them, so with inputs in the place of data layers.
    trust
        Types of layers.
    place
        Returns where the layer of a number stands, as in ``" (net.prototxt:12)"``.

    Raises
    ------
    NetError
        One names all such layers, what they would do, and the option that allows it. No trust allows a layer that is known
        to read memory that is not its own.
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
    """Refuse a layer of another Caffe that would read what is not its own."""
    called = f"layer {layer.name!r} of type {layer.type}{place}"
    needed = _BOTTOMS.get(layer.type, 0)
    if len(layer.bottom) < needed:
        msg = f"{called} has {len(layer.bottom)} bottoms, expected {needed}: it reads so many, and those that are missing outside of its memory"
        raise NetError(msg, layer=layer.name, got=len(layer.bottom), expected=needed)
    if layer.type in _OUTSIDE:
        msg = f"{called} is refused: it reads memory {_OUTSIDE[layer.type]}"
        raise NetError(msg, layer=layer.name, got=layer.type)


def _does(layer: Any) -> str:
    """Return what a layer that is not trusted would do."""
    if layer.type == "Python":
        return f"imports the module {layer.python_param.module!r} and runs its code"
    return "may open files or run code"
