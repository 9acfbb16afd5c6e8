"""Hypothesis strategies for arrays and weights: 0-d, empty, Fortran order, slices, NaN and -0.0 by default. And how many examples a law has."""

import itertools
import random

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparknet import NDArray, WeightCollection

NUMPY_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)

layer_names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


def max_examples(number):
    """Give a law this number of examples where others take 100; in the quick profile (conftest.py) both take a tenth.

    A law that costs more than others takes fewer, and one that looks for rare bytes takes more.
    """
    return settings(max_examples=share(number, min(number, 5)))


def share(number, least=1):
    """Return how many examples a loop of a test has: this number, in the quick profile a tenth of it, though not under the least."""
    return max(number * settings.default.max_examples // 100, least)


def some(cases):
    """Return all cases of a law that tries each, in the quick profile every tenth from any one on: other ones each time."""
    step = max(100 // settings.default.max_examples, 1)
    return itertools.islice(cases, random.randrange(step), None, step)


def shapes(max_dims=4, max_side=6):
    """Shapes, 0-d and empty ones among them."""
    return hnp.array_shapes(min_dims=0, max_dims=max_dims, min_side=0, max_side=max_side)


@st.composite
def bit_patterns(draw, dtype, shape):
    """An array whose elements are any bits at all: signalling NaN, NaN payloads, subnormals, -0.0."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return draw(hnp.arrays(bool, shape))
    size = int(np.prod(shape)) * dtype.itemsize
    seed = draw(st.integers(0, 2**32 - 1))
    return np.frombuffer(np.random.default_rng(seed).bytes(size), dtype).reshape(shape)


@st.composite
def memory_orders(draw, array):
    """The same elements, laid out otherwise: Fortran order, steps, negative steps, big-endian, read-only."""
    how = draw(st.sampled_from(["as it is", "fortran", "steps", "reversed", "big-endian", "read-only", "unaligned"]))
    if how == "fortran":
        return np.asarray(array, order="F")
    if how == "steps" and array.ndim:
        wide = np.zeros((*array.shape[:-1], array.shape[-1] * 3), array.dtype)
        wide[..., 1::3] = array
        return wide[..., 1::3]
    if how == "reversed":
        back = (slice(None, None, -1),) * array.ndim
        return np.array(array[back])[back][...] if array.ndim else array
    if how == "big-endian":
        return np.asarray(array.astype(array.dtype.newbyteorder(">")))
    if how == "unaligned":
        room = np.zeros(array.nbytes + 1, np.uint8)
        moved = room[1:].view(array.dtype).reshape(array.shape)
        moved[...] = array
        return moved
    array = array.copy()
    array.flags.writeable = how != "read-only"
    return array


@st.composite
def arrays(draw, dtypes=NUMPY_DTYPES, shape=None):
    """Numpy arrays of any of these dtypes, ordinary values and any bits, in any memory order."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(shapes()) if shape is None else shape
    values = draw(st.one_of(hnp.arrays(dtype, shape), bit_patterns(dtype, shape)))
    return draw(memory_orders(values))


def ndarrays(dtypes=NUMPY_DTYPES):
    """NDArrays on the host."""
    return arrays(dtypes).map(NDArray)


def weight_collections(dtypes=("float32", "float64"), max_layers=4):
    """Weight collections; layers without arrays among them."""
    layers = st.lists(arrays(dtypes), max_size=3)
    return st.dictionaries(layer_names, layers, max_size=max_layers).map(WeightCollection)


def mappings(dtypes=NUMPY_DTYPES, max_size=4):
    """Mappings name -> NDArray."""
    return st.dictionaries(layer_names, ndarrays(dtypes), max_size=max_size)


def messages_of():
    """Whatever a message can hold: an array, a mapping or a weight collection."""
    return st.one_of(ndarrays(), mappings(), weight_collections())


_plain = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.binary(max_size=8),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
)
metadata = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.recursive(
        _plain, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner), max_leaves=4
    ),
    max_size=3,
)
