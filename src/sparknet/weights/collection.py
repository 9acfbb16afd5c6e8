"""WeightCollection: the weights of a net, layer name -> tuple of NDArray, in the net's order.

It owns names, order and arithmetic. Bytes are made by :mod:`sparknet.serialization`, and the loops over large arrays are in
``sparknet.weights.chunked``. The mean is computed in float64, so the mean of k equal float32 collections is that collection,
bit for bit: a float32 has 24 significant bits, and k times it needs 24 + log2(k) <= 53.
"""

import math
import operator
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from typing import Any

import numpy as np

from sparknet import nd
from sparknet.errors import SchemaError
from sparknet.ndarray import NDArray
from sparknet.weights import chunked
from sparknet.weights.given import as_arrays, checked_name, given_weights
from sparknet.weights.schema import (
    check_averageable,
    check_same_devices,
    check_same_schema,
    check_update,
    checked_weights,
)

__all__ = ["WeightCollection"]

_SCALARS = (bool, int, float, complex, np.number, np.bool_)

Schema = dict[str, tuple[tuple[tuple[int, ...], str], ...]]
Operator = Callable[[Any, Any], Any]
Method = Callable[["WeightCollection", Any], "WeightCollection"]


# ---- the operators, made from functions as those of NDArray are
def _binary(symbol: str, op: Operator) -> Method:
    def method(self: "WeightCollection", other: Any) -> "WeightCollection":
        operands = _operands(self, other, symbol)
        return NotImplemented if operands is None else self._with(map(op, self.arrays(), operands))

    return method


def _in_place(symbol: str, op: Operator) -> Method:
    def method(self: "WeightCollection", other: Any) -> "WeightCollection":
        operands = _operands(self, other, symbol)
        if operands is None:
            return NotImplemented  # type: ignore[no-any-return]
        check_update(self, operands, symbol, op)
        for array, operand in zip(self.arrays(), operands, strict=True):
            op(array, operand)
        return self

    return method


def _operands(weights: "WeightCollection", other: Any, symbol: str) -> list[Any] | None:
    """Return the operand of each array: a number, or the other collection's array; None for any other object."""
    if isinstance(other, WeightCollection):
        check_same_schema(weights, other, symbol)
        check_same_devices(weights, other, symbol)
        return other.arrays()
    if isinstance(other, _SCALARS):
        number = other.item() if isinstance(other, np.generic) else other  # numpy's float64 would widen a float32
        return [number] * len(weights.arrays())
    if hasattr(other, "shape"):
        msg = (
            f"{symbol}: got {type(other).__name__} of shape {tuple(other.shape)}, expected a number or a WeightCollection; "
            f"write w.map(lambda a: a {symbol.rstrip('=')} x) or float(x)"
        )
        raise TypeError(msg)
    return None


class WeightCollection(Mapping[str, tuple[NDArray, ...]]):
    """Named weights of a net: an ordered mapping layer name -> tuple of NDArray.

    Parameters
    ----------
    mapping
        Layer name -> sequence of arrays (NDArray, numpy, ...). Arrays are shared, not copied.

    Raises
    ------
    TypeError
        It is not a mapping.
    SchemaError
        A name is not a string, or a layer's value is not a list or tuple of arrays.

    Notes
    -----
    ``+ - * /`` take a number on either side, or a collection of the same schema on the same devices. A number of Python or
    numpy does not widen floating arrays: a float32 collection stays float32. ``w += v`` and the other in-place operators write to
    the arrays themselves and allocate no memory of their size. They check before the first write whether all arrays can be
    written: read-only memory, or a fraction for an array of integers, is an error that changes no array.
    Arrays that share memory, such as tied weights, are updated once for each array.

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
        if not isinstance(mapping, Mapping):
            msg = (
                f"WeightCollection: got {type(mapping).__name__}, expected a mapping of layer names to lists of arrays"
            )
            raise TypeError(msg)
        self._layers = {checked_name(name): as_arrays(name, arrays) for name, arrays in mapping.items()}

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

    def items(self) -> ItemsView[str, tuple[NDArray, ...]]:
        """Return the (layer name, arrays) pairs, as a dict does."""
        return self._layers.items()

    def values(self) -> ValuesView[tuple[NDArray, ...]]:
        """Return the tuples of arrays, as a dict does."""
        return self._layers.values()

    def __repr__(self) -> str:
        """Return layers, shapes and the total size."""
        layers = ", ".join(f"{name}: {[a.shape for a in arrays]}" for name, arrays in self._layers.items())
        return f"WeightCollection({self.num_parameters:,} parameters, {self.nbytes:,} bytes; {layers})"

    def __reduce__(self) -> Any:
        """Pickle as a dict of layers; a shallow copy shares the arrays."""
        return type(self), (self._layers,)

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
        return self._with(map(fn, self.arrays()))

    def copy(self) -> "WeightCollection":
        """Return a collection with its own memory, writable."""
        return self.map(lambda a: nd.asarray(a, copy=True))

    def astype(self, dtype: Any) -> "WeightCollection":
        """Return a copy with every array converted to ``dtype``."""
        return self.map(lambda a: nd.astype(a, np.dtype(dtype)))

    def to_device(self, device: str) -> "WeightCollection":
        """Return the collection on ``device``; arrays that are there already are shared."""
        return self.map(lambda a: a.to_device(device))

    def _with(self, arrays: Iterable[Any]) -> "WeightCollection":
        """Return a collection of the same layers with other arrays."""
        remaining = iter(arrays)
        return WeightCollection({name: [next(remaining) for _ in mine] for name, mine in self._layers.items()})

    # ---- arithmetic
    __add__ = __radd__ = _binary("+", operator.add)
    __mul__ = __rmul__ = _binary("*", operator.mul)
    __sub__ = _binary("-", operator.sub)
    __rsub__ = _binary("-", lambda a, b: b - a)
    __truediv__ = _binary("/", operator.truediv)
    __rtruediv__ = _binary("/", lambda a, b: b / a)

    __iadd__ = _in_place("+=", operator.iadd)
    __isub__ = _in_place("-=", operator.isub)
    __imul__ = _in_place("*=", operator.imul)
    __itruediv__ = _in_place("/=", operator.itruediv)

    def __neg__(self) -> "WeightCollection":
        """Return the collection with every sign changed."""
        return self.map(operator.neg)

    def norm(self) -> float:
        """Return the Euclidean norm over all elements, summed in float64. It allocates one chunk of float64.

        Examples
        --------
        >>> WeightCollection({"a": [np.array([3.0])], "b": [np.array([4.0])]}).norm()
        5.0
        """
        return math.sqrt(sum(map(chunked.square_sum, self.arrays())))

    # ---- comparison
    def __eq__(self, other: object) -> bool:
        """Say whether both have the same layers in the same order, with the same dtypes and bits.

        Bits are compared, not values: a NaN equals itself, and 0.0 does not equal -0.0. The devices do not matter: arrays on a GPU
        are copied to the host, a chunk at a time.
        """
        if not isinstance(other, WeightCollection):
            return NotImplemented
        try:
            check_same_schema(self, other, "==")
        except SchemaError:
            return False
        return all(map(chunked.same_bits, self.arrays(), other.arrays()))

    def allclose(
        self, other: "WeightCollection", rtol: float = 1e-5, atol: float = 1e-8, *, equal_nan: bool = True
    ) -> bool:
        """Say whether all elements satisfy ``|a - b| <= atol + rtol * |b|`` in float64.

        Parameters
        ----------
        other
            A collection of the same schema on the same devices.
        rtol, atol
            The largest difference as a part of ``|b|``, and beside that in the unit of the elements.
        equal_nan
            Whether NaN is close to NaN.

        Raises
        ------
        SchemaError
            The collections differ in layers, shapes or dtypes.
        DeviceError
            They are on different devices.
        """
        other = given_weights(other, "allclose")
        check_same_schema(self, other, "allclose")
        check_same_devices(self, other, "allclose")
        pairs = zip(self.arrays(), other.arrays(), strict=True)
        return all(chunked.close(a, b, rtol, atol, equal_nan=equal_nan) for a, b in pairs)

    # ---- averaging
    @classmethod
    def mean(
        cls, collections: Sequence["WeightCollection"], weights: Sequence[float] | None = None
    ) -> "WeightCollection":
        """Return the (weighted) mean, computed in float64 and rounded once to the dtype of the arrays.

        Parameters
        ----------
        collections
            At least one collection, all of one schema and on the same devices. They are summed in this order.
        weights
            One non-negative number for each collection, not all zero. Default: equal weights. A collection of weight 0 is left
            out, whatever it holds.

        Returns
        -------
        WeightCollection
            New memory. The mean of equal collections is that collection, bit for bit.

        Raises
        ------
        SchemaError
            The collections' schemas differ, or an array has neither floating nor integer numbers.
        DeviceError
            The collections are on different devices.
        ValueError
            There is no collection, or the weights are negative, not finite, all zero or too few.

        Notes
        -----
        Integers are averaged in integer arithmetic and rounded to the nearest, half to even. Their weights are rounded to one part
        in 2**30 if they have a fraction. Beside the result, the host needs up to 5 MiB for each of at most four threads.

        Examples
        --------
        >>> a, b = (WeightCollection({"ip": [np.full(2, v, "float32")]}) for v in (1, 3))
        >>> WeightCollection.mean([a, b])["ip"][0]
        NDArray([2., 2.], shape=(2,), dtype=float32, device='cpu')
        >>> float(WeightCollection.mean([a, b], weights=[1, 3])["ip"][0][0])
        2.5
        """
        collections = _several(collections, "WeightCollection.mean()", "mean([a, b])")
        scales = checked_weights(weights, len(collections))
        counts = [scale for scale in scales if scale]
        return combined(
            collections,
            lambda arrays: chunked.mean([a for a, scale in zip(arrays, scales, strict=True) if scale], counts),
            "mean",
        )


# ---- one collection of several
def combined(
    collections: Sequence[WeightCollection], function: Callable[[Sequence[NDArray]], NDArray], what: str
) -> WeightCollection:
    """Return a collection in which ``function`` has made each array of the arrays at its place in ``collections``.

    The collections have one schema, the same devices and real numbers, or this is an error. ``what`` names the caller in messages.
    """
    first, *others = _several(collections, what, "[a, b]")
    check_averageable(first, what)
    for position, other in enumerate(others, start=1):
        check_same_schema(first, other, f"{what}: collection {position}")
        check_same_devices(first, other, f"{what}: collection {position}")
    groups = zip(*(c.arrays() for c in (first, *others)), strict=True)
    return first._with(map(function, groups))


def _several(collections: Any, where: str, fix: str) -> list[WeightCollection]:
    """Return the collections as a list; an error if there is none, or something else among them."""
    if isinstance(collections, WeightCollection):
        msg = f"{where}: got one WeightCollection, expected a sequence of them: write {fix}"
        raise TypeError(msg)
    several: list[WeightCollection] = list(collections)
    if not several or not all(isinstance(c, WeightCollection) for c in several):
        kinds = ", ".join(sorted({type(c).__name__ for c in several})) or "nothing"
        flat = "; WeightCollection({name: [array] for name, array in d.items()}) makes one of a flat dict"
        fix = flat if any(isinstance(c, dict) for c in several) else ""
        msg = f"{where}: got {kinds}, expected a sequence of at least one WeightCollection{fix}"
        raise (TypeError if several else ValueError)(msg)
    return several
