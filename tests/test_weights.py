"""WeightCollection: names, arithmetic that happens as a whole or not at all, equality by bits, and the laws of the mean."""

import base64
import copy
import operator
import pickle
import re
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import strategies
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparknet import DeviceError, NDArray, SchemaError, WeightCollection, dumps, loads

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int32", "int64", "uint8", "uint64")
COLLECTIONS = strategies.weight_collections((*FLOATS, *INTEGERS), max_layers=3)
BINARY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
IN_PLACE = {"+=": operator.iadd, "-=": operator.isub, "*=": operator.imul, "/=": operator.itruediv}


def collection(*values, dtype="float32"):
    return WeightCollection({"ip": [np.array(values, dtype)]})


def quiet(w):
    """The same elements in this machine's byte order; arithmetic makes a signalling NaN quiet, and leaves the rest."""
    with np.errstate(invalid="ignore"):
        return w.map(lambda a: a * 1)


def values(w):
    return [a.to_host() for a in w.arrays()]


def peak(way):
    """Most bytes that numpy and Python allocate at a time while ``way`` runs."""
    way()  # what is made once, such as a look-up of functions, is not counted
    tracemalloc.start()
    try:
        kept = way()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        del kept


# ---- mean
# The sum of k equal float32 needs 24 + log2(k) bits, which float64 has (53), so it is exact; dividing an exact k*x
# by k gives x. Weights that are no integers cost some roundings of float64, far below half a unit of float32. For
# float64 itself, equal elements are left as they are.
@given(COLLECTIONS, st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=6), st.booleans())
@example(collection(-0.0, 1e-45, np.inf, np.nan, 3.4e38), [1.0] * 5, True)
@example(collection(0.1, -0.0, 1.7e308, np.inf, np.nan, dtype="float64"), [1.0] * 5, True)
@example(collection(0.1, 1.7e308, dtype="float64"), [0.1, 0.7, 0.3], False)
@example(collection(2**63 - 1, -(2**63), 2**53 + 1, dtype="int64"), [1 / 3, 0.1, 1e-9], False)
@example(collection(2**64 - 1, 0, 2**63, dtype="uint64"), [1.0, 2.0, 3.0], False)
def test_mean_of_k_equal_collections_is_that_collection(w, weights, plain):
    mean = WeightCollection.mean([w] * len(weights), None if plain else weights)
    assert quiet(mean) == quiet(w)


@given(st.lists(hnp.arrays(np.float32, 20, elements=st.floats(width=32)), min_size=1, max_size=6))
def test_the_mean_adds_in_the_order_of_the_collections(arrays):
    with np.errstate(all="ignore"):
        expected = arrays[0].astype(np.float64)
        for array in arrays[1:]:
            expected = expected + array.astype(np.float64)
        expected = (expected / len(arrays)).astype(np.float32)
    assert WeightCollection.mean([collection(*x) for x in arrays]) == collection(*expected)


@given(
    hnp.arrays(np.float32, 20, elements=st.floats(-1, 1, width=32)), st.lists(st.integers(0, 5), min_size=2, max_size=5)
)
def test_weighted_mean_agrees_with_float64(x, counts):
    assume(any(counts))
    parts = [collection(*(x * k)) for k in range(1, len(counts) + 1)]
    expected = np.average([p["ip"][0].to_host().astype(float) for p in parts], axis=0, weights=counts)
    got = WeightCollection.mean(parts, weights=counts)["ip"][0].to_host()
    # one rounding to float32 (2**-24), and float64 roundings that are far below it
    assert np.all(np.abs(got - expected) <= np.abs(expected) * 2.0**-24 + 1e-45)


@given(st.data(), st.sampled_from(INTEGERS))
def test_the_mean_of_integers_is_the_exact_one_rounded_half_to_even(data, dtype):
    info = np.iinfo(dtype)
    numbers = data.draw(st.lists(st.integers(int(info.min), int(info.max)), min_size=1, max_size=6))
    counts = data.draw(st.lists(st.integers(0, 10**8), min_size=len(numbers), max_size=len(numbers)))
    assume(any(counts))
    exact = Fraction(sum(n * count for n, count in zip(numbers, counts, strict=True)), sum(counts))
    mean = WeightCollection.mean([collection(n, dtype=dtype) for n in numbers], counts)
    assert mean == collection(round(exact), dtype=dtype)


@given(
    hnp.arrays(np.int64, 5, elements=st.integers(-(10**9), 10**9)), st.lists(st.floats(0.01, 1), min_size=5, max_size=5)
)
def test_weights_with_a_fraction_count_to_one_part_in_a_billion_for_integers(numbers, weights):
    exact = Fraction(0)
    for n, weight in zip(numbers, weights, strict=True):
        exact += int(n) * Fraction(weight)
    exact /= sum(map(Fraction, weights))
    (mean,) = values(WeightCollection.mean([collection(n, dtype="int64") for n in numbers], weights))
    # half for the rounding to an integer; each of five weights is 2**-31 of their sum off, of numbers of 10**9 apart
    # from each other by at most 2 * 10**9
    assert abs(int(mean[0]) - exact) <= 0.5 + 5 * 2.0**-31 * 2e9


def test_the_mean_keeps_zeros_sign_and_takes_infinities_and_nan_as_they_come():
    inf, nan = np.inf, np.nan
    a, b = collection(-0.0, -0.0, inf, inf, 1), collection(-0.0, 0.0, 1, -inf, nan)
    for weights in (None, [1, 2]):
        (mean,) = values(WeightCollection.mean([a, b], weights))
        assert np.array_equal(mean, np.array([-0.0, 0.0, inf, nan, nan], np.float32), equal_nan=True)
        assert np.signbit(mean[:2]).tolist() == [True, False]


def test_a_collection_of_weight_0_takes_no_part():
    assert WeightCollection.mean([collection(np.nan), collection(3), collection(5)], [0, 1, 1]) == collection(4)


def test_weights_may_be_large_or_small():
    parts = [collection(3e38), collection(1e38)]
    for scale in (1e300, 1e-300):
        assert WeightCollection.mean(parts, [3 * scale, scale]) == collection(2.5e38)


@pytest.mark.parametrize("shape", [(70_001, 3), (3, 70_001), (2, 140_001), (), (0, 4), (150_000,)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float16", "float64", "int64"])
def test_the_mean_of_arrays_of_many_chunks_is_that_of_their_elements(shape, order, dtype):
    rng = np.random.default_rng(7)
    arrays = [np.asarray(rng.integers(-1000, 1000, shape), dtype, order=order) for _ in range(3)]
    (mean,) = values(WeightCollection.mean([WeightCollection({"x": [a]}) for a in arrays]))
    exact = sum(a.astype(np.int64) for a in arrays) / 3
    assert mean.dtype == dtype
    assert mean.shape == shape
    assert np.array_equal(mean, (np.round(exact) if dtype == "int64" else exact).astype(dtype))


def test_the_mean_is_new_memory_of_its_own():
    w = collection(1, 2)
    mean = WeightCollection.mean([w])
    mean += 1
    assert w == collection(1, 2)


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, float("nan")], [1, float("inf")], [1, 1, 1]])
def test_mean_refuses_weights_that_make_no_mean(weights):
    with pytest.raises(ValueError, match="expected 2 finite non-negative numbers, not all zero"):
        WeightCollection.mean([collection(1), collection(2)], weights=weights)


def test_mean_of_nothing_and_of_what_is_no_collection_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        WeightCollection.mean([])
    with pytest.raises(TypeError, match=r"got one WeightCollection, .*write mean\(\[a, b\]\)"):
        WeightCollection.mean(collection(1))
    flat = {"ip": np.ones(2)}
    with pytest.raises(
        TypeError, match=r"got dict, .*; WeightCollection\(\{name: \[array\] for .*\}\) makes one of a flat dict"
    ):
        WeightCollection.mean([flat, flat])
    with pytest.raises(SchemaError, match=r"mean: collection 1: layer 'ip', array 0 is float32 of shape \(2,\)"):
        WeightCollection.mean([collection(1), collection(1, 2)])


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_mean_refuses_what_has_no_order_with_the_layers_name(dtype):
    w = WeightCollection({"ip": [np.ones(2), np.ones(2, dtype)]})
    message = rf"mean: layer 'ip', array 1 is of dtype {dtype}, expected real numbers; convert first, as in w.astype\('float32'\)"
    with pytest.raises(SchemaError, match=message) as e:
        WeightCollection.mean([w, w])
    assert (e.value.layer, e.value.index) == ("ip", 1)


# ---- arithmetic
@given(st.data(), st.sampled_from(sorted(BINARY)))
def test_arithmetic_is_that_of_each_array_and_in_place_the_same(data, symbol):
    w = quiet(data.draw(strategies.weight_collections(FLOATS[1:], max_layers=2)))
    other = data.draw(st.one_of(st.just(w), st.floats(-1e3, 1e3, width=16), st.integers(-3, 3)))
    operands = values(w) if other is w else [other] * len(w.arrays())
    in_place = w.copy()
    with np.errstate(all="ignore"):
        expected = [BINARY[symbol](x, y) for x, y in zip(values(w), operands, strict=True)]
        result = BINARY[symbol](w, other)
        after = IN_PLACE[f"{symbol}="](in_place, other)
    assert after is in_place
    assert result == in_place
    assert [x.tobytes() for x in values(result)] == [np.asarray(x).tobytes() for x in expected]


def test_arithmetic_with_scalars_and_collections():
    a, b = collection(1, 2), collection(3, 5)
    assert (a + b) == collection(4, 7)
    assert (b - a) == collection(2, 3)
    assert (a * 2) == (2 * a) == collection(2, 4)
    assert (b * a) == collection(3, 10)
    assert (b / 2) == collection(1.5, 2.5)
    assert 1 - b == collection(-2, -4)
    assert 15 / b == collection(5, 3)
    assert -a == collection(-1, -2)
    assert sum([a, a, b]) == collection(5, 9)


@pytest.mark.parametrize(
    "two", [np.float16(2), np.float32(2), np.float64(2), np.int64(2), np.uint8(2), 2, 2.0], ids=repr
)
def test_a_number_of_python_or_numpy_on_either_side_widens_nothing(two):
    w = WeightCollection({"half": [np.full(2, 3, "float16")], "single": [np.full(2, 3, "float32")]})
    assert two * w == w * two == w + w
    assert (two / (w * 2)) * 3 == w / 3
    assert (two - w) + w == w - w + 2
    in_place = w.copy()
    in_place *= two
    assert in_place == w + w


@pytest.mark.parametrize("what", ["x", (1.0,), None, {}])
@pytest.mark.parametrize("op", [*BINARY.values(), *IN_PLACE.values()])
def test_what_is_neither_a_number_nor_a_collection_is_refused(op, what):
    w = collection(1)
    for operands in ((w, what), (what, w)):
        with pytest.raises(TypeError, match="WeightCollection"):
            op(*operands)
    assert w == collection(1)


@pytest.mark.parametrize("array", [np.ones(1), np.array(2.0), NDArray([1.0]), NDArray(2.0)], ids=repr)
def test_an_array_is_refused_with_what_to_write(array):
    w = collection(1)
    fix = r"got \w+ of shape \(.*\), expected a number or a WeightCollection; write w.map\(lambda a: .*\) or float\(x\)"
    for way in (lambda: w * array, lambda: array * w, lambda: operator.iadd(w, array)):
        with pytest.raises(TypeError, match=fix):
            way()
    assert w == collection(1)


def test_in_place_arithmetic_keeps_the_memory():
    x = np.array([1, 2], np.float32)
    a = WeightCollection({"ip": [x]})
    a += collection(1, 1)
    a *= 3
    a -= 1
    a /= collection(5, 8)
    assert x.tolist() == [1, 1]


def test_0d_and_empty_arrays_and_empty_collections_take_part():
    w = WeightCollection({"scale": [np.array(3.0)], "none": [np.ones((0, 4), "float32")], "no arrays": []})
    for some in (w, WeightCollection({})):
        twice = some + some
        in_place = some.copy()
        in_place += some
        in_place /= 1
        assert twice == in_place == some * 2
        assert WeightCollection.mean([some, twice], [1, 1]) == some * 1.5
        assert -some == some * -1
        assert some.allclose(some)
        assert loads(dumps(some)) == some
    assert twice.norm() == 0.0
    assert (w * 2).norm() == 6.0


# ---- as a whole or not at all
def mixed(last):
    return WeightCollection({"ip": [np.array([1.0, 2.0], "float32")], "steps": [np.array([4.0]), last]})


@pytest.mark.parametrize(
    ("symbol", "operand", "dtype", "kind"),
    [
        ("+=", 0.5, "int64", TypeError),
        ("-=", np.float32(0.5), "int64", TypeError),
        ("*=", 1.5, "uint8", TypeError),
        ("/=", 2, "int64", TypeError),
        ("/=", mixed(np.array([7], "int32")), "int32", TypeError),
        ("-=", True, "bool", TypeError),
        ("+=", 300, "uint8", ValueError),
        ("-=", -1, "uint8", ValueError),
    ],
)
def test_an_update_that_one_array_cannot_take_changes_none(symbol, operand, dtype, kind):
    w = mixed(np.array([7], dtype))
    before = w.copy()
    message = (
        rf"^{re.escape(symbol)}: layer 'steps', array 1 is {dtype}, the operand is .*; expected an operation whose result "
        r"can be written to it \(.*\); nothing was changed; convert or copy first, as in w.astype\('float32'\)$"
    )
    with pytest.raises(kind, match=message):
        IN_PLACE[symbol](w, operand)
    assert w == before


def test_a_complex_number_is_refused_before_the_first_write():
    w = WeightCollection({"a": [np.ones(2, "complex64")], "b": [np.ones(2, "float32")]})
    before = w.copy()
    with pytest.raises(TypeError, match="layer 'b', array 0 is float32, the operand is 1j"):
        w *= 1j
    assert w == before


@pytest.mark.parametrize("symbol", sorted(IN_PLACE))
def test_weights_of_a_message_are_read_only_and_say_so(symbol):
    message = dumps(mixed(np.array([7.0])))
    w = loads(message)
    for other in (2, w):
        with pytest.raises(
            ValueError,
            match=r"layer 'ip', array 0 is read-only, as of a message .*; nothing was changed; make a copy first: w.copy",
        ):
            IN_PLACE[symbol](w, other)
    assert w == loads(message)
    assert IN_PLACE[symbol](w.copy(), 2) == BINARY[symbol[0]](w, 2)


def test_one_read_only_array_of_many_is_found_before_the_first_write():
    last = np.array([7.0])
    last.flags.writeable = False
    w = mixed(last)
    with pytest.raises(ValueError, match="layer 'steps', array 1 is read-only"):
        w += 1
    assert w == mixed(last)


def test_a_difference_in_schema_changes_nothing():
    w = mixed(np.array([7.0]))
    with pytest.raises(SchemaError, match=r"\+=: layer 'steps', array 1 is float32 of shape \(1,\), expected float64"):
        w += mixed(np.array([7.0], "float32"))
    assert w == mixed(np.array([7.0]))


# ---- devices
def test_collections_of_two_devices_never_mix_silently(device1):
    here = mixed(np.array([7.0]))
    there = here.to_device(device1)
    halfway = WeightCollection({"ip": here["ip"], "steps": there["steps"]})
    fix = rf"layer 'ip', array 0 is on '{device1}', expected 'cpu'; move the collection first: .to_device\('cpu'\)"
    for way in (here.__add__, here.__iadd__, here.allclose, lambda w: WeightCollection.mean([here, w])):
        with pytest.raises(DeviceError, match=fix):
            way(there)
        with pytest.raises(DeviceError, match=rf"layer 'steps', array 0 is on '{device1}', expected 'cpu'"):
            way(halfway)
    assert here == mixed(np.array([7.0]))
    assert here == there  # what two collections hold can be compared wherever they are
    assert here + 1 != there


@pytest.mark.parametrize("weights", [None, [1, 3]])
def test_on_a_device_everything_has_the_bits_of_the_host(device1, weights):
    rng = np.random.default_rng(7)
    parts = [
        WeightCollection(
            {
                "float": [rng.standard_normal((3, 5)).astype(dtype) for dtype in FLOATS[1:]],
                "integer": [rng.integers(0, 200, (2, 0, 3)).astype(dtype) for dtype in INTEGERS],
                "0-d": [np.array(rng.integers(0, 200)).astype(dtype) for dtype in INTEGERS],
            }
        )
        for _ in range(2)
    ]
    there = [part.to_device(device1) for part in parts]
    mean = WeightCollection.mean(there, weights)
    assert {a.device for a in mean.arrays()} == {device1}
    assert mean == WeightCollection.mean(parts, weights)
    assert there[0].norm() == pytest.approx(parts[0].norm(), rel=1e-15)
    assert there[0].allclose(there[0])
    assert not there[0].allclose(there[1])


def test_an_update_on_a_device_that_one_array_cannot_take_changes_none(device1):
    w = mixed(np.array([7], "int64")).to_device(device1)
    with pytest.raises(TypeError, match=r"layer 'steps', array 1 is int64, the operand is 0\.5"):
        w += 0.5
    assert w == mixed(np.array([7], "int64"))


@pytest.mark.torch
def test_a_tensor_that_autograd_guards_is_found_before_the_first_write():
    import torch

    w = WeightCollection({"ip": [torch.ones(3), torch.ones(3, requires_grad=True)]})
    with pytest.raises(
        ValueError, match=r"layer 'ip', array 1 is float32, .* \(a view of a leaf Variable .*\); nothing was"
    ):
        w += 1
    assert w["ip"][0].to_host().tolist() == [1, 1, 1]


# ---- memory: bytes that numpy reports to tracemalloc
LARGE = (1000, 2500)  # 10 MB of float32, and more than one thread's worth of chunks
LITTLE = 100_000  # bytes


@pytest.fixture(scope="module")
def large():
    rng = np.random.default_rng(7)
    fortran = np.asfortranarray(rng.random(LARGE, dtype=np.float32))
    return WeightCollection({"c": [rng.random(LARGE, dtype=np.float32)], "fortran": [fortran]})


@pytest.mark.parametrize("symbol", sorted(IN_PLACE))
def test_in_place_arithmetic_allocates_nothing_of_the_size_of_the_weights(large, symbol):
    w, v = large.copy(), large + 1
    for other in (1.5, np.float64(1.5), v):
        assert peak(lambda other=other: IN_PLACE[symbol](w, other)) < LITTLE


def test_comparison_and_norm_allocate_a_chunk(large):
    other = large.copy()
    assert peak(lambda: large == other) < 2 * LITTLE
    assert peak(lambda: large.allclose(other)) < 10 * LITTLE
    assert peak(large.norm) < (1 << 20) + LITTLE  # a chunk of float64


@pytest.mark.parametrize("weights", [None, [1, 2, 3, 4, 5]])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_the_mean_allocates_its_result_and_5_mib_a_thread(large, dtype, weights):
    w = (large * 1000).astype(dtype)
    most = w.nbytes + 2 * (5 << 20) + LITTLE  # an array of this size is shared by two threads at most
    assert peak(lambda: WeightCollection.mean([w] * 5, weights)) < most


# ---- names, equality, copies
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
    with pytest.raises(SchemaError, match=r"layer 'ip' holds what is no array: .*abc"):
        WeightCollection({"ip": [np.ones(1), "abc"]})
    with pytest.raises(KeyError, match="no layer 'x'; there are: ip"):
        collection(1)["x"]
    assert isinstance(WeightCollection({"ip": [[1.0]]})["ip"][0], NDArray)


def test_what_is_no_mapping_is_refused():
    with pytest.raises(TypeError, match="got list, expected a mapping of layer names to lists of arrays"):
        WeightCollection([np.ones(1)])


def test_allclose_is_within_both_tolerances_in_float64():
    inf, nan = np.inf, np.nan
    special = collection(inf, -inf, nan, 0)
    assert special.allclose(collection(inf, -inf, nan, -0.0), rtol=0, atol=0)
    for other in ((-inf, -inf, nan, 0), (1, -inf, nan, 0), (inf, -inf, 0, 0), (inf, -inf, nan, inf)):
        assert not special.allclose(collection(*other))
        assert not collection(*other).allclose(special)
    assert collection(101, 1e-9).allclose(collection(100, 0), rtol=0.01)
    assert not collection(100).allclose(collection(101), rtol=0.0099)
    assert collection(200, dtype="uint8").allclose(collection(201, dtype="uint8"), rtol=0, atol=1)  # no wrapping around
    assert collection(1 + 1j, dtype="complex64").allclose(collection(1 + 1.000001j, dtype="complex64"))
    with pytest.raises(SchemaError, match="allclose: layer 'ip', array 0"):
        collection(1).allclose(collection(1, dtype="float64"))


@given(strategies.weight_collections(strategies.NUMPY_DTYPES))
def test_norm_is_that_of_all_elements_in_float64(w):
    with np.errstate(all="ignore"):
        squares = [np.sum(np.abs(x.astype(complex)) ** 2) for x in values(w)]
        expected = np.sqrt(sum(squares))
    # each of at most 3,888 squares is 4 roundings off, their sum as many as it has elements; far more than it ever is
    assert w.norm() == pytest.approx(expected, rel=4000 * 2.0**-52, nan_ok=True)


@given(COLLECTIONS)
def test_copies_and_pickles_are_equal_and_only_the_shallow_one_shares(w):
    shallow = copy.copy(w)
    assert [a is b for a, b in zip(shallow.arrays(), w.arrays(), strict=True)] == [True] * len(w.arrays())
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        native = quiet(w)  # before protocol 5, numpy itself does not keep the byte order of a 0-d array
        assert pickle.loads(pickle.dumps(native, protocol)) == native
    for own in (copy.deepcopy(w), w.copy()):
        assert own == w
        assert list(own) == list(w)
        assert not any(np.shares_memory(x, y) for x, y in zip(values(own), values(w), strict=True))
        assert all(x.flags.writeable for x in values(own))


# Of an NDArray and a WeightCollection, made when both were modules, not packages.
OLD_PICKLE = (
    "fCQB$0RR910001t5OZ*0a%*m7bS`dWVRCX|d6bL^Uv+M9X=7__Wt5YYj23QnZE$%mUt@1_WiD-XY;<X1a&lpLl#C2ta%E$0ZgX^Ubz^jtla!1F"
    "Zgp*Nd6bL?Ze(F{a$$LtlaxyUg_J`9Vw8uJQj{o50ZRjglxPNw1!Q!2aAlN}l#BvqG?a;mhm=y3C`$v30X&pWPEJby|Ns9=|NsC0O8|6~Vu?cx"
    "00000004kL0000$lysD0j00nEb(DsbQk0Akb8umDYi?z9E_Y>VXJ~YDl#CEpWoc(<bVF}!Y-M9~X>V?nlazgwi~?zJlxPBI1!xFM0ELuj3Wt<Z"
    "lqgF9O9F+IXcCD-2mk<pKL7xLKa_NoVrUnJlv0$1lyilYQj~_2E&"
)


def test_a_pickle_of_before_the_rooms_were_packages_is_read():
    array, weights = pickle.loads(base64.b85decode(OLD_PICKLE))
    assert (type(array), array.tolist(), str(array.dtype)) == (NDArray, [0, 1, 2], "float32")
    assert weights == WeightCollection({"ip": [np.ones(2, "float32")]})


def test_a_collection_iterates_as_a_dict_does():
    layers = {"b": (NDArray([1.0]),), "a": ()}
    w = WeightCollection(layers)
    assert list(w) == list(w.keys()) == ["b", "a"]
    assert dict(w) == dict(w.items()) == layers
    assert list(w.values()) == list(layers.values())
    assert "a" in w
    assert "c" not in w
    assert WeightCollection(w)["b"][0] is layers["b"][0]  # shared, not copied
