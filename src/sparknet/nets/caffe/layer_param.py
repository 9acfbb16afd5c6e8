"""The parameters of an RDDDataLayer: the JSON of its ``param_str``, and the layer in a ``caffe.NetSpec``."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Any, get_args

from sparknet.data.fields import Field
from sparknet.data.ragged import Ragged
from sparknet.errors import NetError, shown
from sparknet.nets.caffe.runtime import load

__all__ = ["LayerParam", "data_layer", "is_rdd_layer"]

_MODULE, _LAYER = "sparknet.nets.caffe", "RDDDataLayer"


@dataclass(frozen=True)
class LayerParam:
    """The parameters of an RDDDataLayer.

    Parameters
    ----------
    tops
        Column of a batch -> shape of one example, in the order of the layer's tops.
    batch_size
        Rows of a whole batch.
    source
        The name to call :func:`~sparknet.nets.caffe.feeding` with; by default the phase, ``"train"`` or ``"test"``.
    ragged, padding
        What happens to a short batch, see :func:`~sparknet.data.ragged.even_batches`; ``"pad"`` needs a padding.
    classes
        Column of labels -> number of classes. The labels are checked before Caffe gets them; the column's value in ``padding``
        is allowed too.
    batch_axis
        Column -> batch axis of its top, if that is not the first: 1 for time before batch, as recurrent layers have it.

    Examples
    --------
    >>> LayerParam({"data": (3, 32, 32), "label": ()}, 100).to_json()
    '{"tops": {"data": [3, 32, 32], "label": []}, "batch_size": 100}'
    """

    tops: Mapping[str, Sequence[int]]
    batch_size: int
    source: str = ""
    ragged: Ragged = "reshape"
    padding: Mapping[str, float] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    batch_axis: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the parameters, which may come from a text."""
        for name, (is_right, expected) in _CHECKS.items():
            value = getattr(self, name)
            if not is_right(value):
                msg = f"{_LAYER}: {name} is {shown(value)}, expected {expected}"
                raise NetError(msg)
        if self.ragged == "pad" and not self.padding:
            msg = f"{_LAYER}: ragged is 'pad'; say what with: padding=net.padding(), as in {{\"label\": -1}}"
            raise NetError(msg)
        for name in ("padding", "classes", "batch_axis"):
            unknown = [column for column in getattr(self, name) if column not in self.tops]
            if unknown:
                msg = f"{_LAYER}: {name} names {', '.join(map(repr, unknown))}; the tops are {', '.join(self.tops)}"
                raise NetError(msg)
        for column, axis in self.batch_axis.items():
            if axis > len(self.tops[column]):
                msg = (
                    f"{_LAYER}: batch_axis of {column!r} is {axis}, expected at most {len(self.tops[column])}, its axes"
                )
                raise NetError(msg)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Column -> shape of a whole batch, the examples first."""
        return {name: (self.batch_size, *shape) for name, shape in self.tops.items()}

    @classmethod
    def from_json(cls, text: str) -> "LayerParam":
        """Return the parameters in ``text``; a NetError if it is no such JSON."""
        example = 'expected JSON such as {"tops": {"data": [3, 32, 32], "label": []}, "batch_size": 100}'
        try:
            said = json.loads(text)
        except (ValueError, RecursionError) as error:
            msg = f"{_LAYER}: param_str {text[:60]!r} is no JSON ({error}); {example}"
            raise NetError(msg) from None
        if not isinstance(said, dict) or not {"tops", "batch_size"} <= said.keys():
            msg = f"{_LAYER}: param_str {text[:60]!r} does not say tops and batch_size; {example}"
            raise NetError(msg)
        for name in said:
            if name not in _CHECKS:
                near = get_close_matches(name, _CHECKS, 1)
                msg = f"{_LAYER}: param_str has the unknown {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
                raise NetError(msg)
        return cls(**said)

    def to_json(self) -> str:
        """Return the ``param_str``, without parameters that have their default."""
        # defaults of a dataclass are attributes of the class, except those of tables, which are empty
        said = asdict(self) | {"tops": {name: list(shape) for name, shape in self.tops.items()}}
        defaults = vars(LayerParam)
        return json.dumps({name: value for name, value in said.items() if value and value != defaults.get(name)})


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_shape(value: object) -> bool:
    return isinstance(value, list | tuple) and all(_is_whole(side, 1) for side in value)


def _is_table(is_value: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(is_value, value.values()))


# Parameter -> a check of its value, and the words for the expected one.
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "tops": (lambda v: bool(v) and _is_table(_is_shape)(v), "column -> shape of one example, for one column or more"),
    "batch_size": (lambda v: _is_whole(v, 1), "a whole number of at least 1"),
    "source": (lambda v: isinstance(v, str), "a name"),
    "ragged": (lambda v: v in get_args(Ragged), " or ".join(map(repr, get_args(Ragged)))),
    "padding": (_is_table(lambda v: isinstance(v, int | float)), "column -> number"),
    "classes": (_is_table(lambda v: _is_whole(v, 1)), "column -> number of classes"),
    "batch_axis": (_is_table(lambda v: _is_whole(v, 0)), "column -> axis of the batch"),
}


def is_rdd_layer(layer: Any) -> bool:
    """Say whether a LayerParameter is an RDDDataLayer."""
    param = layer.python_param
    return layer.type == "Python" and (param.module, param.layer) == (_MODULE, _LAYER)


def data_layer(fields: Sequence[Field], batch_size: int, *, include: Any = None, **options: Any) -> Any:
    """Return the tops of an RDDDataLayer for a ``caffe.NetSpec``, one for each field.

    Parameters
    ----------
    fields
        The columns of a batch, in the order of the tops. Dtypes do not matter, because Caffe computes in float32.
    batch_size
        Rows of a whole batch.
    include
        As for every layer: ``include={"phase": caffe.TRAIN}``.
    **options
        ``source``, ``ragged``, ``padding`` and ``classes`` of :class:`LayerParam`. The fields have the batch axes.

    Returns
    -------
    caffe.net_spec.Top, or a tuple of them
        Assign each to the net under the name of its field.

    Examples
    --------
    >>> import caffe
    >>> net = caffe.NetSpec()
    >>> net.data, net.label = data_layer([Field("data", (1, 28, 28)), Field("label")], 64)
    >>> net.ip = caffe.layers.InnerProduct(net.data, num_output=10)
    >>> net.loss = caffe.layers.SoftmaxWithLoss(net.ip, net.label)
    >>> [layer.type for layer in net.to_proto().layer]
    ['Python', 'InnerProduct', 'SoftmaxWithLoss']
    """
    axes = {f.name: f.batch_axis for f in fields if f.batch_axis}
    param = LayerParam({f.name: f.shape for f in fields}, batch_size, batch_axis=axes, **options)
    more = {} if include is None else {"include": include}
    python = {"module": _MODULE, "layer": _LAYER, "param_str": param.to_json()}
    return load().layers.Python(**python, ntop=len(fields), **more)
