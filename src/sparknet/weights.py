"""WeightCollection: the weights of a net, layer name -> tuple of NDArray, in the net's order.

It owns names, order and arithmetic, not memory layout or bytes (see :mod:`sparknet.serialization`).
Sums over collections are kept in float64, so the mean of k equal float32 collections is that
collection, bit for bit: a float32 has 24 significant bits, k times it needs 24 + log2(k) <= 53.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from sparknet import nd
from sparknet.errors import SchemaError
from sparknet.ndarray import NDArray

__all__ = ["WeightCollection"]

# Elements averaged at a time: the float64 accumulator of a chunk (1 MiB) stays in the cache.
_CHUNK = 1 << 17
_DEVICE_CHUNK = 1 << 24  # a GPU has no such cache, and each operation on it costs microseconds to start

Schema = dict[str, tuple[tuple[tuple[int, ...], str], ...]]


class WeightCollection(Mapping[str, tuple[NDArray, ...]]):
    """Named weights of a net: an ordered mapping layer name -> tuple of NDArray.

    Parameters
    ----------
    mapping
        Layer name -> sequence of arrays (NDArray, numpy, ...). Arrays are shared, not copied.

    Raises
    ------
    SchemaError
        A name is not a string, or a layer's value is not a sequence of arrays.

    Examples
    --------
    >>> w = WeightCollection({"ip": [np.ones((2, 3), "float32"), np.zeros(2, "float32")]})
    >>> w.num_parameters, w.nbytes, (w * 2)["ip"][0].shape
    (8, 32, (2, 3))
    """

    __slots__ = ("_layers",)
    __hash__ = None  # type: ignore[assignment]  # mutable
    __array_ufunc__ = None  # np.float32(2) * w comes to our reflected operators

    def __init__(self, mapping: Mapping[str, Iterable[Any]]) -> None:
        layers: dict[str, tuple[NDArray, ...]] = {}
        for name, arrays in mapping.items():
            if type(name) is not str:
                msg = f"WeightCollection: layer names are str; got {name!r}"
                raise SchemaError(msg, layer=name)
            if not isinstance(arrays, list | tuple):
                msg = f"WeightCollection: layer {name!r} needs a list or tuple of arrays, got {type(arrays).__name__}"
                raise SchemaError(msg, layer=name)
            layers[name] = tuple(a if type(a) is NDArray else NDArray(a) for a in arrays)
        self._layers = layers

    # ---- a mapping
    def __getitem__(self, name: str) -> tuple[NDArray, ...]:
        """Return the arrays of layer ``name``."""
        try:
            return self._layers[name]
        except KeyError:
            raise KeyError(f"no layer {name!r}; there are: {', '.join(self._layers) or 'none'}") from None

    def __iter__(self) -> Iterator[str]:
        """Iterate over layer names in the net's order."""
        return iter(self._layers)

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self._layers)

    def __repr__(self) -> str:
        """Return layers, shapes and the total size."""
        layers = ", ".join(f"{name}: {[a.shape for a in arrays]}" for name, arrays in self._layers.items())
        return f"WeightCollection({self.num_parameters:,} parameters, {self.nbytes:,} bytes; {layers})"

    def arrays(self) -> list[NDArray]:
        """Return all arrays in order."""
        return [a for arrays in self._layers.values() for a in arrays]

    def schema(self) -> Schema:
        """Return layer name -> ((shape, dtype name), ...), comparable with ``==``.

        Examples
        --------
        >>> WeightCollection({"ip": [np.ones(3, "float32")]}).schema()
        {'ip': (((3,), 'float32'),)}
        """
        return {name: tuple((a.shape, str(a.dtype)) for a in arrays) for name, arrays in self._layers.items()}

    @property
    def num_parameters(self) -> int:
        """Number of elements in all arrays."""
        return sum(a.size for a in self.arrays())

    @property
    def nbytes(self) -> int:
        """Bytes in all arrays."""
        return sum(a.nbytes for a in self.arrays())

    # ---- new collections
    def map(self, fn: Callable[[NDArray], Any]) -> "WeightCollection":
        """Return a collection of ``fn(array)`` for every array."""
        return WeightCollection({name: [fn(a) for a in arrays] for name, arrays in self._layers.items()})

    def copy(self) -> "WeightCollection":
        """Return a collection with its own memory, writable."""
        return self.map(lambda a: nd.asarray(a, copy=True))

    def astype(self, dtype: Any) -> "WeightCollection":
        """Return a copy with every array converted to ``dtype``."""
        return self.map(lambda a: nd.astype(a, np.dtype(dtype)))

    def to_device(self, device: str) -> "WeightCollection":
        """Return the collection on ``device``; arrays that are there already are shared."""
        return self.map(lambda a: a.to_device(device))

    # ---- arithmetic
    def _zip(self, other: "WeightCollection", what: str) -> list[tuple[NDArray, NDArray]]:
        check_same_schema(self, other, what)
        return list(zip(self.arrays(), other.arrays(), strict=True))

    def _combined(self, other: Any, op: Callable[[Any, Any], Any]) -> "WeightCollection":
        if isinstance(other, WeightCollection):
            results = iter([op(a, b) for a, b in self._zip(other, op.__name__)])
            return self.map(lambda _: next(results))
        return self.map(lambda a: op(a, other)) if np.isscalar(other) else NotImplemented

    def _update(self, other: Any, op: Callable[[Any, Any], Any]) -> Self:
        if isinstance(other, WeightCollection):
            for a, b in self._zip(other, op.__name__):
                op(a, b)
        elif np.isscalar(other):
            for a in self.arrays():
                op(a, other)
        else:
            return NotImplemented  # type: ignore[no-any-return]
        return self

    def __add__(self, other: Any) -> "WeightCollection":
        """Return the sum with a scalar, or elementwise with a collection of the same schema."""
        return self._combined(other, operator.add)

    def __sub__(self, other: Any) -> "WeightCollection":
        """Return the difference with a scalar, or elementwise with a collection of the same schema."""
        return self._combined(other, operator.sub)

    def __mul__(self, other: Any) -> "WeightCollection":
        """Return the product with a scalar, or elementwise with a collection of the same schema."""
        return self._combined(other, operator.mul)

    def __truediv__(self, other: Any) -> "WeightCollection":
        """Return the quotient with a scalar, or elementwise with a collection of the same schema."""
        return self._combined(other, operator.truediv)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Any) -> "WeightCollection":
        """Return a scalar minus every element."""
        return self._combined(other, lambda a, b: b - a)

    def __iadd__(self, other: Any) -> Self:
        """Add in place; allocates nothing of the size of the weights."""
        return self._update(other, operator.iadd)

    def __isub__(self, other: Any) -> Self:
        """Subtract in place; allocates nothing of the size of the weights."""
        return self._update(other, operator.isub)

    def __imul__(self, other: Any) -> Self:
        """Multiply in place; allocates nothing of the size of the weights."""
        return self._update(other, operator.imul)

    def __itruediv__(self, other: Any) -> Self:
        """Divide in place; allocates nothing of the size of the weights."""
        return self._update(other, operator.itruediv)

    def norm(self) -> float:
        """Return the Euclidean norm over all elements, summed in float64.

        Examples
        --------
        >>> WeightCollection({"a": [np.array([3.0])], "b": [np.array([4.0])]}).norm()
        5.0
        """
        return math.sqrt(sum(float(nd.sum(nd.square(nd.astype(nd.abs(a), nd.float64)))) for a in self.arrays()))

    # ---- comparison
    def __eq__(self, other: object) -> bool:
        """Say whether both have the same layers in the same order, with the same dtypes and bits.

        Bits, not values: a NaN equals itself and 0.0 does not equal -0.0.
        """
        if not isinstance(other, WeightCollection):
            return NotImplemented
        if list(self) != list(other) or self.schema() != other.schema():
            return False
        pairs = zip(self.arrays(), other.arrays(), strict=True)
        return all(_same_bits(a.to_host(), b.to_host()) for a, b in pairs)

    def allclose(self, other: "WeightCollection", rtol: float = 1e-5, atol: float = 1e-8) -> bool:
        """Say whether all elements satisfy ``|a - b| <= atol + rtol * |b|`` (NaN is close to NaN).

        Raises
        ------
        SchemaError
            The collections differ in layers or shapes.
        """
        return all(
            np.allclose(a.to_host(), b.to_host(), rtol=rtol, atol=atol, equal_nan=True)
            for a, b in self._zip(other, "allclose")
        )

    # ---- averaging
    @classmethod
    def mean(
        cls, collections: Sequence["WeightCollection"], weights: Sequence[float] | None = None
    ) -> "WeightCollection":
        """Return the (weighted) mean, computed in float64 and rounded once to the dtype of the first.

        Parameters
        ----------
        collections
            At least one; all of one schema. Their order is the order of summation.
        weights
            One non-negative number for each collection, not all zero; default: equal weights.

        Returns
        -------
        WeightCollection
            New memory. Integer arrays are rounded to the nearest integer.

        Raises
        ------
        SchemaError
            The collections' schemas differ.
        ValueError
            There is no collection, or the weights are negative, not finite, all zero or too few.

        Examples
        --------
        >>> a, b = (WeightCollection({"ip": [np.full(2, v, "float32")]}) for v in (1, 3))
        >>> WeightCollection.mean([a, b])["ip"][0]
        NDArray([2., 2.], shape=(2,), dtype=float32, device='cpu')
        >>> float(WeightCollection.mean([a, b], weights=[1, 3])["ip"][0][0])
        2.5
        """
        collections = list(collections)
        if not collections or not all(isinstance(c, WeightCollection) for c in collections):
            kinds = ", ".join(sorted({type(c).__name__ for c in collections})) or "nothing"
            msg = f"WeightCollection.mean(): got {kinds}, expected a sequence of at least one WeightCollection"
            raise (TypeError if collections else ValueError)(msg)
        scales = _checked_weights(weights, len(collections))
        first = collections[0]
        for position, other in enumerate(collections[1:], start=1):
            check_same_schema(first, other, f"mean: collection {position}")
        groups = zip(*(c.arrays() for c in collections), strict=True)
        means = iter([_mean_array(group, scales) for group in groups])
        return first.map(lambda _: next(means))


def check_same_schema(a: WeightCollection, b: WeightCollection, what: str) -> None:
    """Raise a SchemaError that names the first difference between the schemas of ``a`` and ``b``."""
    mine, theirs = a.schema(), b.schema()
    if list(mine) != list(theirs):
        got, expected = list(theirs), list(mine)
        msg = f"{what}: got the layers {got}, expected {expected}; do both come from the same net?"
        raise SchemaError(msg, got=got, expected=expected)
    for name, blobs in mine.items():
        if len(blobs) != len(theirs[name]):
            msg = f"{what}: layer {name!r} has {len(theirs[name])} arrays, expected {len(blobs)}"
            raise SchemaError(msg, layer=name, got=len(theirs[name]), expected=len(blobs))
        for index, (want, have) in enumerate(zip(blobs, theirs[name], strict=True)):
            if want != have:
                msg = (
                    f"{what}: layer {name!r}, array {index} is {have[1]} of shape {have[0]}, "
                    f"expected {want[1]} of shape {want[0]}; do both come from the same net?"
                )
                raise SchemaError(msg, layer=name, index=index, got=have, expected=want)


def _same_bits(a: Any, b: Any) -> bool:
    return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


def _checked_weights(weights: Sequence[float] | None, count: int) -> list[float]:
    scales = [1.0] * count if weights is None else [float(w) for w in weights]
    good = len(scales) == count and all(math.isfinite(w) and w >= 0 for w in scales) and sum(scales) > 0
    if not good:
        msg = f"mean: got weights {scales}; expected {count} finite non-negative numbers, not all zero"
        raise ValueError(msg)
    return scales


def _mean_array(group: Sequence[NDArray], scales: Sequence[float]) -> NDArray:
    """Return the weighted mean of arrays of one shape, a chunk of elements at a time."""
    first = group[0]
    if not nd.isdtype(first.dtype, ("real floating", "integral")):
        msg = f"mean: arrays of dtype {first.dtype} have no mean here; expected real numbers"
        raise SchemaError(msg, got=str(first.dtype))
    flat = [nd.reshape(a.to_device(first.device), (-1,)) for a in group]
    out = nd.empty_like(flat[0])
    total = sum(scales)
    plain = all(scale == 1.0 for scale in scales)
    whole = nd.isdtype(first.dtype, "integral")
    chunk = _CHUNK if first._backend.host else _DEVICE_CHUNK
    for start in range(0, out.size, chunk):
        part = slice(start, min(start + chunk, out.size))
        parts = [array[part] for array in flat]
        if whole:  # what they differ by from the first: so large integers lose nothing
            base = nd.astype(parts[0], nd.int64)
            parts = [nd.astype(nd.astype(p, nd.int64) - base, nd.float64) for p in parts]
        # starting from the first array, not from zero, keeps the sign of -0.0
        acc = nd.astype(parts[0], nd.float64)
        if not plain:
            acc *= scales[0]
        for array, scale in zip(parts[1:], scales[1:], strict=True):
            acc += array if plain else nd.astype(array, nd.float64) * scale
        acc /= total
        out[part] = nd.astype(nd.astype(nd.round(acc), nd.int64) + base if whole else acc, out.dtype, copy=False)
    return nd.reshape(out, first.shape)  # type: ignore[no-any-return]
