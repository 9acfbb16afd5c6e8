"""The layers of one phase of a net: selected by Caffe's rules, with inputs in place of data layers, and checked."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.caffe.engines import check_engines
from sparknet.nets.caffe.first_format import second_format
from sparknet.nets.caffe.inputs import DATA_LAYERS, Shapes, as_fed, old_inputs
from sparknet.nets.caffe.notes import note
from sparknet.nets.caffe.old_format import upgraded
from sparknet.nets.caffe.runtime import load, messages
from sparknet.nets.caffe.sizes import check_sizes
from sparknet.nets.caffe.unknown import forks_with
from sparknet.nets.caffe.unread import note_unread

__all__ = ["check_modules", "fed_net", "in_todays_format", "layers_of", "sources_of"]

_SHOWN = 4  # names of layers in a message
_WITHOUT_BOTTOM = ("Input", "DummyData", "Parameter")  # their tops do not depend on the machine


def layers_of(net: Any, state: Any) -> list[Any]:
    """Return the layers that ``net`` has in the NetState ``state``, in today's format, without old inputs.

    Raises
    ------
    NetError
        There are no layers, or they are in two formats.
    """
    if bool(net.layer) == bool(net.layers):
        msg = (
            "the net mixes layer { } and layers { }, which is their old name" if net.layer else "the net has no layers"
        )
        raise NetError(msg)
    return [layer for layer in in_todays_format(net) if _included(layer, state)]


def in_todays_format(net: Any) -> list[Any]:
    """Return all layers of ``net`` as LayerParameters."""
    return list(net.layer) or list(map(upgraded, second_format(net.layers)))


def fed_net(net: Any, layers: Sequence[Any], shapes: Shapes) -> Any:
    """Return a NetParameter with the ``layers`` of one phase of ``net``; each input is an ``Input`` layer.

    Raises
    ------
    NetError
        The net cannot be used.
    """
    out = messages().NetParameter()
    out.CopyFrom(net)
    if out.debug_info:
        note("debug_info of the net: without effect here")
    for field in ("layer", "layers", "state", "debug_info"):
        out.ClearField(field)
    out.layer.extend(as_fed(layer, shapes) for layer in [*old_inputs(out, layers), *layers])
    for layer in out.layer:
        layer.ClearField("include")
        layer.ClearField("exclude")
        if layer.type != "Input":  # notes about a data layer's own parameters are made elsewhere
            note_unread(layer)
    check_sizes(out.layer)
    _check_types(out.layer)
    check_engines(out.layer)
    _check_readers(out.layer)
    _check_connections(out.layer)
    return out


def sources_of(net: Any) -> dict[str, frozenset[str]]:
    """Return, for each blob of a phase net in order, the inputs that it depends on."""
    sources: dict[str, frozenset[str]] = {}
    for layer in net.layer:
        below = frozenset[str]().union(*(sources[name] for name in layer.bottom))
        sources.update({top: frozenset([top]) if layer.type == "Input" else below for top in layer.top})
    return sources


# ---- which layers
def _included(layer: Any, state: Any) -> bool:
    """Say whether the layer is in a net of ``state``."""
    if layer.include and layer.exclude:
        msg = f"layer {layer.name!r} has both include and exclude; Caffe allows one of them"
        raise NetError(msg)
    if layer.include:
        return any(_meets(rule, state) for rule in layer.include)
    return not any(_meets(rule, state) for rule in layer.exclude)


def _meets(rule: Any, state: Any) -> bool:
    return (
        not (rule.HasField("phase") and rule.phase != state.phase)
        and not (rule.HasField("min_level") and state.level < rule.min_level)
        and not (rule.HasField("max_level") and state.level > rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
    )


# ---- checks
def _check_types(layers: Sequence[Any]) -> None:
    types = set(load().layer_type_list())
    unknown: dict[str, list[Any]] = {}
    for layer in layers:
        if layer.type not in types:
            unknown.setdefault(layer.type, []).append(layer)
    if unknown:
        said = "; ".join(
            f"{_called(each)} the unknown type {kind!r}{_known(each[0], types | DATA_LAYERS.keys())}"
            for kind, each in unknown.items()
        )
        raise NetError(said, layer=next(iter(unknown.values()))[0].name)


def _called(layers: Sequence[Any]) -> str:
    """Return names of layers as the subject of a sentence; only the first few if there are many."""
    names = ", ".join(repr(layer.name) for layer in layers[:_SHOWN])
    if len(layers) == 1:
        return f"layer {names} has"
    return f"layers {names}{f' and {len(layers) - _SHOWN} more' if len(layers) > _SHOWN else ''} have"


def _check_readers(layers: Sequence[Any]) -> None:
    """Refuse layers that read files or the like themselves: each worker would read its own."""
    for layer in layers:
        kind = layer.type
        if kind == "Python":
            kind = f"Python: {layer.python_param.module}.{layer.python_param.layer}"
        if not layer.bottom and layer.type not in _WITHOUT_BOTTOM:
            tops = ", ".join(map(repr, layer.top)) or "none"
            msg = (
                f"layer {layer.name!r} ({kind}) makes its tops ({tops}) itself: each worker would run its own, and the data "
                "packed for them would not be used. Put an Input layer or an RDDDataLayer with these tops in its place, and "
                "pack what it reads"
            )
            raise NetError(msg, layer=layer.name)


def check_modules(layers: Sequence[Any]) -> None:
    """Refuse Python layers whose class cannot be imported; Caffe would find out in the middle of making a net."""
    for layer in layers:
        if layer.type == "Python":
            module, name = layer.python_param.module, layer.python_param.layer
            try:
                found = hasattr(import_module(module), name)
            except (ImportError, ValueError) as error:  # ValueError: the name is empty
                msg = (
                    f"layer {layer.name!r} (Python): the module {module!r} cannot be imported ({error}); put its folder on "
                    "PYTHONPATH, here and on every worker"
                )
                raise NetError(msg, layer=layer.name) from error
            if not found:
                msg = f"layer {layer.name!r} (Python): the module {module!r} has no {name!r}"
                raise NetError(msg, layer=layer.name)


def _known(layer: Any, types: Iterable[str]) -> str:
    """Return a hint at the known type that may be meant by an unknown one."""
    forks = forks_with(layer.type)
    if layer.bottom:
        return f", {forks}" if forks else _near(layer.type, types)
    fix = "it reads data: write it as type 'Data', with a transform_param, or put an Input layer with its tops in its place"
    near = get_close_matches(layer.type, types, 1)
    return f", {forks}; {fix}" if forks else _near(layer.type, types) if near else f"; {fix}"


def _check_connections(layers: Sequence[Any]) -> None:
    blobs: set[str] = set()
    for layer in layers:
        for bottom in layer.bottom:
            if bottom not in blobs:
                msg = f"layer {layer.name!r} reads {bottom!r}, which no layer before it makes{_near(bottom, blobs)}"
                raise NetError(msg, layer=layer.name)
        for top in layer.top:
            if top in blobs and top not in layer.bottom:
                msg = f"layer {layer.name!r} makes {top!r}, which a layer before it makes too"
                raise NetError(msg, layer=layer.name)
        blobs.update(layer.top)


def _near(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(names), 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(sorted(names)) or 'none'}"
