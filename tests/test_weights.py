"""WeightCollection: names, arithmetic, equality by bits, and the laws of the mean."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparknet import NDArray, SchemaError, WeightCollection

BITS = st.integers(0, 2**32 - 1)


@st.composite
def float32_arrays(draw):
    """Every float32 bit pattern, but signalling NaNs, which any arithmetic makes quiet."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    bits = draw(hnp.arrays(np.uint32, shape, elements=BITS))
    array = bits.view(np.float32)
    quiet = bits | np.uint32(0x00400000)
    return np.where(np.isnan(array), quiet, bits).astype(np.uint32).view(np.float32)


COLLECTIONS = st.dictionaries(st.text(max_size=5), st.lists(float32_arrays(), max_size=2), max_size=3).map(
    WeightCollection
)


def collection(*values, dtype="float32"):
    return WeightCollection({"ip": [np.array(values, dtype)]})


# The sum of k equal float32 needs 24 + log2(k) bits, which float64 has (53), so it is exact; dividing
# an exact k*x by k gives x.
@given(COLLECTIONS, st.integers(1, 9))
@example(collection(-0.0, 1e-45, np.inf), 5)
def test_mean_of_k_equal_collections_is_that_collection(w, k):
    assert WeightCollection.mean([w] * k) == w


@given(
    hnp.arrays(np.float32, 20, elements=st.floats(-1, 1, width=32)), st.lists(st.integers(0, 5), min_size=2, max_size=5)
)
def test_weighted_mean_agrees_with_float64(x, counts):
    if not any(counts):
        return
    parts = [collection(*(x * k)) for k in range(1, len(counts) + 1)]
    expected = np.average([p["ip"][0].to_host().astype(float) for p in parts], axis=0, weights=counts)
    got = WeightCollection.mean(parts, weights=counts)["ip"][0].to_host()
    # one rounding to float32 (2**-24), and float64 roundings that are far below it
    assert np.all(np.abs(got - expected) <= np.abs(expected) * 2.0**-24 + 1e-45)


def test_mean_spans_chunks_and_keeps_the_dtype():
    n = (1 << 17) + 3  # more than one chunk of the accumulator
    a, b = (WeightCollection({"x": [np.full(n, v, dtype)]}) for v, dtype in ((1, "float16"), (2, "float16")))
    mean = WeightCollection.mean([a, b])["x"][0].to_host()
    assert mean.dtype == np.float16
    assert np.all(mean == 1.5)
    counts = WeightCollection.mean([collection(n, dtype="int64") for n in (1, 4, 5)])
    assert int(counts["ip"][0][0]) == 3  # 3.33 to the nearest integer


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, float("nan")]])
def test_mean_refuses_weights_that_make_no_mean(weights):
    with pytest.raises(ValueError, match="expected 2 finite non-negative numbers, not all zero"):
        WeightCollection.mean([collection(1), collection(2)], weights=weights)


def test_mean_of_nothing_and_of_bools_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        WeightCollection.mean([])
    with pytest.raises(SchemaError, match="dtype bool"):
        WeightCollection.mean([collection(True, dtype="bool")])


def test_arithmetic_with_scalars_and_collections():
    a, b = collection(1, 2), collection(3, 5)
    assert (a + b) == collection(4, 7)
    assert (b - a) == collection(2, 3)
    assert (a * 2) == (2 * a) == collection(2, 4)
    assert (b * a) == collection(3, 10)
    assert (b / 2) == collection(1.5, 2.5)
    assert (a["ip"][0].dtype) == np.float32


def test_in_place_arithmetic_keeps_the_memory():
    x = np.array([1, 2], np.float32)
    a = WeightCollection({"ip": [x]})
    a += collection(1, 1)
    a *= 3
    a -= 1
    a /= collection(5, 8)
    assert x.tolist() == [1, 1]


def test_a_difference_in_schema_is_named():
    a = WeightCollection({"conv1": [np.zeros((20, 1), "float32"), np.zeros(20, "float32")]})
    with pytest.raises(SchemaError, match=r"layers \['ip'\], expected \['conv1'\]"):
        a + collection(1)
    with pytest.raises(SchemaError, match="layer 'conv1' has 1 arrays, expected 2"):
        a + WeightCollection({"conv1": [np.zeros((20, 1), "float32")]})
    with pytest.raises(
        SchemaError, match=r"array 0 is float64 of shape \(2, 1\), expected float32 of shape \(20, 1\)"
    ) as e:
        a + WeightCollection({"conv1": [np.zeros((2, 1)), np.zeros(20, "float32")]})
    assert (e.value.layer, e.value.index) == ("conv1", 0)


def test_equality_is_of_bits_names_and_order():
    assert collection(float("nan")) == collection(float("nan"))
    assert collection(0.0) != collection(-0.0)
    assert collection(1) != collection(1, dtype="float64")
    one, two = {"a": [np.ones(1)]}, {"b": [np.ones(1)]}
    assert WeightCollection({**one, **two}) != WeightCollection({**two, **one})
    assert collection(1) != 1


def test_copy_map_astype_and_norm():
    a = collection(3, 4)
    b = a.copy()
    b *= 0
    assert a == collection(3, 4)
    assert a.norm() == 5.0
    assert collection(3e38, 4e38 / 2).norm() > 3e38  # squares would overflow float32
    assert a.astype("float64").schema() == {"ip": (((2,), "float64"),)}
    assert a.map(lambda x: x + 1) == collection(4, 5)
    assert a.to_device("cpu")["ip"][0] is a["ip"][0]
    assert a.allclose(collection(3 + 1e-6, 4))
    assert not a.allclose(collection(3.1, 4))
    assert (a.num_parameters, a.nbytes, len(a), list(a)) == (2, 8, 1, ["ip"])


def test_wrong_mappings_are_refused_with_the_layers_name():
    with pytest.raises(SchemaError, match="layer names are str; got 3"):
        WeightCollection({3: [np.ones(1)]})
    with pytest.raises(SchemaError, match="layer 'ip' needs a list or tuple of arrays, got ndarray"):
        WeightCollection({"ip": np.ones(1)})
    with pytest.raises(KeyError, match="no layer 'x'; there are: ip"):
        collection(1)["x"]
    assert isinstance(WeightCollection({"ip": [[1.0]]})["ip"][0], NDArray)


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**53 + 1])
def test_the_mean_of_large_integers_loses_nothing(value):
    w = collection(value, dtype="int64")
    assert WeightCollection.mean([w, w, w]) == w
    assert WeightCollection.mean([collection(250, dtype="uint8"), collection(254, dtype="uint8")]) == collection(
        252, dtype="uint8"
    )


def test_numpy_scalars_and_reflected_subtraction():
    assert np.float32(2) * collection(1, 2) == collection(2, 4)
    assert 1 - collection(3) == collection(-2)
    with pytest.raises(TypeError, match="got str, expected a sequence of at least one WeightCollection"):
        WeightCollection.mean(collection(1))
