"""Fine-tuning: the layers of a file that a net takes, for every format and every net.

The rules are Caffe's. A layer is taken by its name, with all its arrays. A layer of another shape is an error, because a
net that takes only a part would train without a warning. A layer that is to be learned from scratch gets another name.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparknet.errors import SchemaError, located
from sparknet.files.regular import check_max_bytes
from sparknet.formats import caffemodel, caffemodel_h5
from sparknet.formats.contents import Array, Contents, split_name
from sparknet.formats.conversion import read
from sparknet.formats.table import format_to_read
from sparknet.ndarray import NDArray
from sparknet.serialization.objects import take_apart
from sparknet.serialization.visible import visible
from sparknet.weights import WeightCollection
from sparknet.weights.given import given_weights

__all__ = ["Layers", "Taken", "fitted", "layers_of", "take_layers"]

Layers = Mapping[str, Mapping[int, Array]]  # layer -> number of an array in it -> the array
_OLD_AXES = 4  # number of axes of every array in files of 2014


@dataclass(frozen=True, slots=True)
class Taken:
    """What a net took from a file.

    Parameters
    ----------
    weights
        The net's weights, with the arrays of the file in the taken layers. All arrays are new.
    taken
        Layers that both have.
    skipped
        Layers of the file that the net does not have.
    new
        Layers of the net that the file does not have: their arrays are the net's.
    rounded
        Taken layers whose arrays have another dtype in the file.
    """

    weights: WeightCollection
    taken: tuple[str, ...]
    skipped: tuple[str, ...]
    new: tuple[str, ...]
    rounded: tuple[str, ...]

    def __str__(self) -> str:
        """Return a line for each kind of layers that there are."""
        said = {
            "taken": self.taken,
            "skipped, not in this net": self.skipped,
            "new, not in the file": self.new,
            "rounded to the net's dtype": self.rounded,
        }
        return "\n".join(f"{what}: {', '.join(map(visible, names))}" for what, names in said.items() if names)


def take_layers(
    weights: WeightCollection | Contents | Taken,
    path: str | os.PathLike[str],
    *,
    file_format: str | None = None,
    max_bytes: int | None = None,
) -> Taken:
    """Return the weights of a net, with the layers that a file has too taken from the file: the start of fine-tuning.

    Parameters
    ----------
    weights
        The net's weights: ``net.get_weights()``, or what an earlier ``take_layers`` returned. They are not changed.
    path
        A file with layers, in any format.
    file_format, max_bytes
        As for :func:`~sparknet.formats.read`.

    Raises
    ------
    SchemaError
        The file holds no layers, no layer of this net, or one of another shape.
    FormatError, MissingDependency, OSError
        As for :func:`~sparknet.formats.read`.

    Examples
    --------
    >>> import tempfile
    >>> from sparknet.formats import write
    >>> path = Path(tempfile.mkdtemp()) / "old.npz"
    >>> write(path, WeightCollection({"ip1": [np.ones((2, 3), "f4")], "ip9": [np.ones(3, "f4")]}))
    >>> net = WeightCollection({"ip1": [np.zeros((2, 3), "f4")], "ip2": [np.zeros(2, "f4")]})
    >>> taken = take_layers(net, path)
    >>> print(taken)
    taken: ip1
    skipped, not in this net: ip9
    new, not in the file: ip2
    >>> taken.weights["ip1"][0][0, 0]
    NDArray(1., shape=(), dtype=float32, device='cpu')
    """
    net: WeightCollection = given_weights(weights, "take_layers()")
    layers = layers_of(path, file_format=file_format, max_bytes=max_bytes)
    found = fitted(net, layers, repr(os.fspath(path)))
    out = {
        name: [_in_place_of(array, found[name].get(i) if name in found else None) for i, array in enumerate(arrays)]
        for name, arrays in net.items()
    }
    return Taken(
        WeightCollection(out),
        taken=tuple(found),
        skipped=tuple(name for name, arrays in layers.items() if arrays and name not in net),
        new=tuple(name for name, arrays in net.items() if arrays and name not in found),
        rounded=tuple(name for name in found if _is_rounded(net[name], layers[name])),
    )


def layers_of(path: str | os.PathLike[str], *, file_format: str | None = None, max_bytes: int | None = None) -> Layers:
    """Return the layers of a file. Of Caffe's own formats, layers without arrays too, because Caffe compares them.

    Raises
    ------
    SchemaError
        It holds arrays that belong to no layers.
    """
    check_max_bytes(max_bytes)
    name = format_to_read(path, file_format)
    reader = {"caffemodel": caffemodel.read_layers, "caffemodel.h5": caffemodel_h5.read_layers}.get(name)
    if reader is not None:
        with located(repr(os.fspath(path))):
            return reader(Path(path), max_bytes)
    obj, metadata = read(path, file_format=name, max_bytes=max_bytes)
    if name.startswith("solverstate"):
        learned_net = metadata["learned_net"] or "another file"
        msg = f"{os.fspath(path)!r} is a solver's state, which holds no weights; those that it goes with are in {learned_net!r}"
        raise SchemaError(msg, got=list(obj))
    if isinstance(obj, WeightCollection):
        return {layer: {i: a.to_host() for i, a in enumerate(arrays)} for layer, arrays in obj.items()}
    out: dict[str, dict[int, Array]] = {}
    arrays = obj if isinstance(obj, Mapping) else {"": obj}
    for key, array in arrays.items():
        layer, index = split_name(key)
        if index is None:
            msg = (
                f"{os.fspath(path)!r} holds {take_apart(obj).kind} {key[:200]!r}; expected layers of arrays, called "
                "'conv1/0', 'conv1/1', ..."
            )
            raise SchemaError(msg, got=list(arrays))
        out.setdefault(layer, {})[index] = array.to_host()
    return out


def fitted(weights: Mapping[str, Sequence[NDArray]], layers: Layers, where: str) -> dict[str, dict[int, Array]]:
    """Return the arrays of the layers that both have, in the shapes and dtypes of ``weights``.

    Parameters
    ----------
    weights
        A net's arrays by layer, layers without arrays included.
    layers
        The layers of a file.
    where
        Name of the file in errors.

    Raises
    ------
    SchemaError
        There are no such layers, or one has another shape.
    """
    both = [name for name in layers if name in weights and (layers[name] or weights[name])]
    if not any(layers[name] for name in both):
        got = ", ".join(name for name, arrays in layers.items() if arrays) or "none"
        needed = ", ".join(name for name, arrays in weights.items() if arrays) or "none"
        msg = f"{where} has weights for the layers {got}; this net has {needed}. Layers are taken by their names"
        raise SchemaError(msg, got=list(layers), expected=list(weights))
    shared = set(_shared(weights))
    for name in both:
        _check_layer(where, name, layers[name], weights[name], shared)
    return {
        name: {i: _converted(array, weights[name][i]) for i, array in sorted(layers[name].items())}
        for name in both
        if layers[name]
    }


def _shared(weights: Mapping[str, Sequence[NDArray]]) -> Iterator[tuple[str, int]]:
    """Yield the places of arrays that share the memory of an earlier array: Caffe's HDF5 files leave them out."""
    seen = set()
    for name, arrays in weights.items():
        for i, array in enumerate(arrays):
            raw = array.unwrap()
            place = raw.ctypes.data if isinstance(raw, np.ndarray) and raw.size else id(raw)
            if place in seen:
                yield name, i
            seen.add(place)


def _check_layer(
    where: str, name: str, got: Mapping[int, Array], expected: Sequence[NDArray], shared: set[tuple[str, int]]
) -> None:
    missing = [i for i in range(len(expected)) if i not in got and (name, i) not in shared]
    fits = not missing and max(got, default=-1) < len(expected)
    if fits and all(_same_shape(array.shape, expected[i].shape) for i, array in got.items()):
        _check_dtypes(where, name, got)
        return
    shapes = [got[i].shape for i in sorted(got)], [array.shape for array in expected]
    msg = (
        f"{where}: layer {name!r} has arrays of the shapes {shapes[0]}; this net needs {shapes[1]}. "
        "A layer of another shape needs another name: rename it in the net, and it is learned from scratch"
    )
    raise SchemaError(msg, layer=name, got=shapes[0], expected=shapes[1])


def _check_dtypes(where: str, name: str, got: Mapping[int, Array]) -> None:
    for i, array in got.items():
        if array.dtype.kind not in "fV":  # "V": bfloat16 and float8 of ml_dtypes
            msg = f"{where}: layer {name!r}, array {i} is {array.dtype.name}; expected floating numbers"
            raise SchemaError(msg, layer=name, got=array.dtype.name)


def _same_shape(got: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Say whether an array has the expected shape, or has it in 4-d as in files of 2014: (1, 1, 1, n) for (n,)."""
    old = (1,) * (_OLD_AXES - len(expected)) + expected
    return got == expected or (len(got) == _OLD_AXES and got == old)


def _converted(array: Array, mine: NDArray) -> Array:
    with np.errstate(over="ignore"):  # becomes infinite, as in Caffe
        return np.ascontiguousarray(array).reshape(mine.shape).astype(np.dtype(str(mine.dtype)), copy=False)


def _in_place_of(mine: NDArray, array: Array | None) -> NDArray:
    host = np.array(mine.to_host() if array is None else array)
    return NDArray(host).to_device(mine.device)


def _is_rounded(weights: Sequence[NDArray], layer: Mapping[int, Array]) -> bool:
    return any(str(weights[i].dtype) != array.dtype.name for i, array in layer.items())
