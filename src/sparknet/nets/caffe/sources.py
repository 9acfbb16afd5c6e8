"""Sources of batches for RDDDataLayers, connected from Python by a name or to a net.

Names are valid in the whole process, because Caffe makes a layer without saying for which net.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from sparknet.data.ragged import even_batch
from sparknet.errors import NetError, located
from sparknet.ndarray import NDArray
from sparknet.nets.caffe.feed import columns_of
from sparknet.nets.caffe.layer_param import LayerParam

__all__ = ["BatchSource", "feeding", "source_of"]

_SOURCES: dict[str, "BatchSource"] = {}


@contextmanager
def feeding(target: Any, batches: Iterable[Mapping[str, NDArray]]) -> Iterator[None]:
    """Feed an RDDDataLayer from ``batches`` inside the block.

    Parameters
    ----------
    target
        The source's name in the layer's ``param_str``, by default ``"train"`` or ``"test"``; or a ``caffe.Net`` or solver with
        one RDDDataLayer.
    batches
        Mappings of column -> array ``(rows, ...)``; numpy arrays will do. Each forward pass takes one. Repeat the iterable for
        more than one epoch, because the batches end with it. A Prefetcher among them is closed by the caller.

    Raises
    ------
    NetError
        The source or the net is fed already, or the net does not have exactly one RDDDataLayer.

    Examples
    --------
    ::

        solver = caffe.get_solver("solver.prototxt")  # its net names the layer
        with prefetch(indices, make_batch) as batches, feeding("train", batches):
            solver.step(500)
    """
    with ExitStack() as undo:
        if isinstance(target, str):
            if target in _SOURCES:
                msg = f"feeding(): the source {target!r} is fed already; leave its block first, or take another name"
                raise NetError(msg)
            _SOURCES[target] = BatchSource(target, batches)
            undo.callback(_SOURCES.pop, target)
        else:
            layer = _only_layer(target)
            layer.connect(BatchSource("the net's", batches))
            undo.callback(layer.connect, None)
        yield


class BatchSource:
    """Batches for one layer, in order."""

    def __init__(self, name: str, batches: Iterable[Mapping[str, NDArray]]) -> None:
        self.name = name
        self._batches = enumerate(batches)
        self._layer: object = None
        self._taken = 0
        self.number = -1  # of the last batch taken; dropped ones count too

    def next(self, layer: object, param: LayerParam) -> Mapping[str, NDArray]:
        """Return those columns of the next batch for which ``layer`` has tops; they fit its shapes.

        Raises
        ------
        NetError
            No batch is left, or another layer has taken some.
        DataError
            A column is missing, or its shape does not fit; the next call takes the batch after this one.
        """
        if self._layer is None:
            self._layer = layer
        if self._layer is not layer:
            msg = (
                f"RDDDataLayer: the source {self.name!r} feeds another layer; give each layer (in the phases train and test "
                'too) a source of its own, as in param_str: \'{"source": "validation", ...}\''
            )
            raise NetError(msg)
        for (
            number,
            batch,
        ) in self._batches:  # a loop over the iterator itself: a generator would end with the first bad batch
            self.number = number
            with located(f"batch {number}", batch=number):
                columns = columns_of(batch, param.shapes)[0]
                even = even_batch(columns, param.batch_size, param.ragged, param.padding)
            if even is not None:
                self._taken += 1
                return even
        msg = (
            f"RDDDataLayer: the source {self.name!r} has ended after {self._taken} batches; feed it more, or repeat it "
            "(itertools.cycle, or a generator that goes through the data again)"
        )
        raise NetError(msg, taken=self._taken)


def source_of(name: str) -> BatchSource:
    """Return the source of this name; a NetError if nothing feeds it."""
    if name not in _SOURCES:
        fed = ", ".join(map(repr, _SOURCES)) or "none"
        msg = (
            f"RDDDataLayer: nothing feeds the source {name!r} (fed: {fed}); run the net inside "
            f"`with sparknet.nets.caffe.feeding({name!r}, batches):`"
        )
        raise NetError(msg)
    return _SOURCES[name]


def _only_layer(target: Any) -> Any:
    """Return the RDDDataLayer of a net, or of a solver's net."""
    net = getattr(target, "net", target)
    found = [layer for layer in getattr(net, "layers", ()) if hasattr(layer, "connect")]
    if len(found) != 1:
        msg = (
            f"feeding(): got a {type(target).__name__} with {len(found)} RDDDataLayers, expected one; "
            "feed several by the names of their sources"
        )
        raise NetError(msg)
    return found[0]
