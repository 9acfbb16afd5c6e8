"""Checks of what callers pass: names and arrays for a new collection, or an object that holds a collection."""

import os
from typing import Any

from sparknet.errors import SchemaError, shown
from sparknet.ndarray import NDArray

__all__ = ["as_arrays", "checked_name", "given_weights"]


def checked_name(name: Any) -> str:
    """Return the name of a layer as a plain str; a SchemaError for anything else."""
    if not isinstance(name, str):
        msg = f"WeightCollection: layer names are str; got {name!r}"
        raise SchemaError(msg, layer=name)
    return str.__str__(name)  # np.str_ and other kinds of str as what they say


def as_arrays(layer: str, arrays: Any) -> tuple[NDArray, ...]:
    """Return the arrays of a layer as NDArrays, which share memory; a SchemaError if something is no array."""
    if not isinstance(arrays, list | tuple):
        flat = hasattr(arrays, "dtype") or isinstance(arrays, int | float)
        fix = f"; write {{{layer!r}: [array]}}, or dumps() and save() the flat dict as it is" if flat else ""
        msg = f"WeightCollection: layer {layer!r} needs a list or tuple of arrays, got {type(arrays).__name__}{fix}"
        raise SchemaError(msg, layer=layer)
    try:
        return tuple(a if type(a) is NDArray else NDArray(a) for a in arrays)
    except (TypeError, ValueError) as error:
        msg = f"WeightCollection: layer {layer!r} holds what is no array: {error}"
        raise SchemaError(msg, layer=layer) from error


def given_weights(given: Any, what: str) -> Any:
    """Return the WeightCollection that a caller passed, alone or in an object that holds one.

    Parameters
    ----------
    given
        A WeightCollection; a round of a training or the result of ``take_layers``, with their ``weights``; or the result of
        ``sparknet.formats.read``, with its ``obj``.
    what
        Name of the argument, for messages.

    Raises
    ------
    SchemaError
        It is something else, or a file's contents that are no weights. The message says how to get a WeightCollection.
    """
    for weights in (given, getattr(given, "weights", None), getattr(given, "obj", None)):
        if hasattr(weights, "arrays"):
            return weights
    msg = f"{what}: got {_named(given)}, expected a WeightCollection: {_way_to_weights(given)}"
    raise SchemaError(msg, got=type(given).__name__, expected="WeightCollection")


def _named(given: Any) -> str:
    if isinstance(given, str | bytes | os.PathLike):
        return f"the path {shown(os.fspath(given), 200)}"
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__


def _way_to_weights(given: Any) -> str:
    """Say how to get a WeightCollection from what was passed instead."""
    if isinstance(given, str | bytes | os.PathLike):
        return (
            "sparknet.formats.read(path).obj is what a file holds; sparknet.formats.take_layers(net.get_weights(), path).weights "
            "are those of a net with the layers of the file in their places"
        )
    if hasattr(given, "obj") and hasattr(given, "metadata"):
        return (
            f"the file holds {type(given.obj).__name__}, and not layers of arrays; "
            "sparknet.WeightCollection({'layer': [array, ...], ...}) makes layers of its arrays"
        )
    if hasattr(given, "get_weights") and not isinstance(given, type):
        return "net.get_weights() are those of a net"
    if callable(given):
        return "factory(seed=0).get_weights() are those of a net of a factory"
    return "WeightCollection({'layer': [array, ...], ...}) makes one"
