"""Laws of the NDArray: what the bare backend does to the same memory, and what array-api-strict says of the same values.

Bits are compared with the backend, not values within a tolerance: both sides call one kernel on one piece of memory, so
nothing may differ, not even the payload of a NaN or the sign of a zero. Where there is a tolerance, it is derived.
"""

import copy
import inspect
import itertools
import operator

import array_api_strict
import numpy as np
import pytest
from array_api_compat import numpy as bare
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.extra.array_api import make_strategies_namespace
from strategies import NUMPY_DTYPES, arrays, max_examples, shapes

from sparknet import NDArray, WeightCollection, nd

# What numpy warns of (a mean of nothing, an overflow) it warns of on both sides.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::numpy.exceptions.ComplexWarning")

xps = make_strategies_namespace(nd, api_version="2024.12")

FAILED = "failed"
FAILURES = (TypeError, ValueError, IndexError, ArithmeticError)
NUMBERS = tuple(dtype for dtype in NUMPY_DTYPES if dtype != "bool")
REALS = tuple(dtype for dtype in NUMBERS if not dtype.startswith("complex"))

ARITHMETIC = "add sub mul truediv floordiv mod pow and_ or_ xor lshift rshift"
OPERATORS = [getattr(operator, name) for name in f"{ARITHMETIC} lt le gt ge eq ne matmul".split()]
IN_PLACE = [(getattr(operator, name), getattr(operator, f"i{name.strip('_')}")) for name in ARITHMETIC.split()]


def functions_of(*parameters):
    """Names of the namespace's functions that take exactly these."""
    found = [name for name in nd.__all__ if inspect.isfunction(getattr(nd, name))]
    return [name for name in found if tuple(inspect.signature(getattr(nd, name)).parameters) == parameters]


UNARY = [*functions_of("x"), "sum", "prod", "mean", "std", "var", "min", "max", "all", "any", "argmax", "argmin"]
UNARY += ["count_nonzero", "sort", "argsort", "cumulative_sum", "cumulative_prod", "flip", "diff", "tril", "triu"]
BINARY = [*functions_of("x1", "x2"), "isin", "vecdot", "tensordot"]


def outcome(call, *args, **options):
    """Return what the call gives, or that it fails."""
    with np.errstate(all="ignore"):
        try:
            return call(*args, **options)
        except FAILURES:
            return FAILED


def bits(value):
    """Return everything that can be compared of a result: types of containers, dtypes, shapes, bytes."""
    if isinstance(value, tuple | list):
        return [bits(part) for part in value]
    if isinstance(value, str | bool):
        return value
    value = value.to_host() if type(value) is NDArray else np.asarray(value)
    return value.dtype.str, value.shape, value.tobytes()


def same_values(got, expected):
    """Say whether two results have the same containers, dtypes, shapes and values; NaN is NaN, -0.0 is 0.0.

    array-api-strict hands numpy a 0-d array as one of one element, for which numpy has other loops: those of powers and
    of transcendental functions promise 4 units in the last place, an epsilon each.
    """
    if isinstance(expected, tuple | list):
        return len(got) == len(expected) and all(map(same_values, got, expected))
    if isinstance(expected, str | bool):
        return got == expected
    got, expected = got.to_host(), np.asarray(expected)
    if (got.dtype, got.shape) != (expected.dtype, expected.shape):
        return False
    if got.dtype.kind not in "fc":
        return np.array_equal(got, expected)
    return np.allclose(got, expected, rtol=4 * np.finfo(got.dtype).eps, atol=0, equal_nan=True)


def wrapped(value):
    """Say whether arrays are NDArrays in a result, however deep."""
    if isinstance(value, tuple | list):
        return all(map(wrapped, value))
    return type(value) in (NDArray, str, bool)


def same_memory(a, b):
    """Say whether two arrays are the same elements of the same memory, in the same order."""
    a, b = (x.unwrap() if type(x) is NDArray else x for x in (a, b))
    # the stride of an axis of one element means nothing, nor does any of an empty array
    steps = [[step for step, n in zip(x.strides, x.shape, strict=True) if n > 1] for x in (a, b)]
    return (a.shape, a.dtype) == (b.shape, b.dtype) and (
        not a.size or (steps[0] == steps[1] and a.ctypes.data == b.ctypes.data)
    )


def overlap(a, b):
    """Say whether two arrays have an element in common."""
    return np.shares_memory(a.unwrap(), b.unwrap() if type(b) is NDArray else b)


@st.composite
def pairs(draw, dtypes=NUMPY_DTYPES):
    """Two arrays that broadcast together, of any two dtypes, in any memory order."""
    two = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=3, min_side=0, max_side=4))
    return tuple(draw(arrays(dtypes, shape)) for shape in two.input_shapes)


@st.composite
def with_key(draw):
    """An array and a key of integers, slices, ``...`` and ``None``."""
    array = draw(arrays())
    return array, draw(hnp.basic_indices(array.shape, allow_newaxis=True, allow_ellipsis=True))


def as_view(array, key):
    """Return the view that a key of integers, slices, ``...`` and ``None`` means, where numpy has a scalar also."""
    key = key if isinstance(key, tuple) else (key,)
    return array[key if Ellipsis in key else (*key, ...)]


@st.composite
def with_bounds(draw):
    """An array, bounds of a subarray of it, and bounds of a subarray of that."""
    array = draw(arrays())
    outer = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in array.shape]
    inner = [sorted(draw(st.tuples(st.integers(0, b - a), st.integers(0, b - a)))) for a, b in outer]
    return array, *(tuple(zip(*bounds, strict=True)) or ((), ()) for bounds in (outer, inner))


@st.composite
def with_slices(draw):
    """An array of two axes or more, an index into its first axis, and one into its second."""
    array = draw(arrays(shape=draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=4))))
    return array, *(draw(st.integers(-n, n - 1)) for n in array.shape[:2])


# ---- computing: the bare backend on the same memory
@given(arrays())
@max_examples(40)
def test_functions_of_one_array_equal_the_bare_backends(x):
    for name in UNARY:
        got, expected = outcome(getattr(nd, name), NDArray(x)), outcome(getattr(bare, name), x)
        assert wrapped(got), name
        assert bits(got) == bits(expected), name


@given(pairs())
@max_examples(50)
def test_functions_of_two_arrays_equal_the_bare_backends(pair):
    x, y = pair
    for name in BINARY:
        got, expected = outcome(getattr(nd, name), NDArray(x), NDArray(y)), outcome(getattr(bare, name), x, y)
        assert wrapped(got), name
        assert bits(got) == bits(expected), name


@given(pairs())
@max_examples(60)
def test_operators_equal_numpys_from_both_sides(pair):
    x, y = pair
    for op in OPERATORS:
        expected = bits(outcome(op, x, y))
        for left, right in [(NDArray(x), NDArray(y)), (NDArray(x), y), (x, NDArray(y))]:
            got = outcome(op, left, right)
            assert wrapped(got), op
            assert bits(got) == expected, op


@given(arrays(), st.one_of(st.booleans(), st.integers(-300, 300), st.floats(width=32), st.complex_numbers(width=64)))
@max_examples(60)
def test_python_scalars_are_operands_as_they_are_of_numpy(x, scalar):
    for op in OPERATORS:
        assert bits(outcome(op, NDArray(x), scalar)) == bits(outcome(op, x, scalar)), op
        assert bits(outcome(op, scalar, NDArray(x))) == bits(outcome(op, scalar, x)), op


@given(arrays())
@max_examples(60)
def test_unary_operators_equal_numpys(x):
    for op in (operator.neg, operator.pos, operator.abs, operator.invert):
        assert bits(outcome(op, NDArray(x))) == bits(outcome(op, x)), op


@given(pairs(REALS))
@max_examples(60)
def test_in_place_equals_out_of_place_and_keeps_the_memory(pair):
    # Of real numbers, and without powers: numpy's loops round those, and complex products, differently in the two cases.
    x, y = pair
    for op, in_place in IN_PLACE:
        if op is operator.pow:
            continue
        expected = outcome(op, NDArray(x), NDArray(y))
        if expected is FAILED or (expected.shape, expected.dtype) != (x.shape, x.dtype):
            continue
        memory = x.copy()
        a = b = NDArray(memory)
        with np.errstate(all="ignore"):
            a = in_place(a, NDArray(y))
        assert a is b, op
        assert same_memory(a, memory), op
        assert bits(a) == bits(expected), op


@given(pairs())
@max_examples(60)
def test_in_place_writes_what_numpy_writes_and_fails_where_numpy_fails(pair):
    x, y = pair
    for _, in_place in IN_PLACE:
        ours, numpys = x.copy(), x.copy()
        got, expected = outcome(in_place, NDArray(ours), NDArray(y)), outcome(in_place, numpys, y)
        assert (got is FAILED) == (expected is FAILED), in_place
        # an integer to a negative power fails halfway, and numpy leaves anything in the memory
        assert expected is FAILED or bits(ours) == bits(numpys), in_place


@given(arrays(("float64",)), arrays(("float64",)))
def test_allclose_is_the_largest_absolute_difference_below_the_tolerance(x, y):
    with np.errstate(all="ignore"):
        near = (x.shape == y.shape) and bool(np.all((x == y) | (np.abs(x - y) <= 0.5)))
        assert NDArray(x).allclose(NDArray(y), tol=0.5) == near


@given(
    arrays(("float64",)), arrays(("float64",)), st.sampled_from([0.0, 0.5]), st.sampled_from([0.0, 0.5]), st.booleans()
)
def test_allclose_with_rtol_and_atol_is_numpys_of_equal_shapes(x, y, rtol, atol, equal_nan):
    options = {"rtol": rtol, "atol": atol, "equal_nan": equal_nan}
    with np.errstate(all="ignore"):
        near = x.shape == y.shape and np.allclose(x, y, **options)
    assert NDArray(x).allclose(NDArray(y), **options) == near
    if (x.shape, x.dtype) == (y.shape, y.dtype):  # collections of another byte order do not fit
        assert WeightCollection({"a": [x]}).allclose(WeightCollection({"a": [y]}), **options) == near


# ---- indexing
@given(with_key())
@example((np.arange(6.0).reshape(2, 3), (1, 2)))
@example((np.arange(3.0), (np.int64(1),)))
@example((np.arange(3.0), np.int64(1)))
def test_a_key_of_integers_and_slices_is_a_view_or_an_element_of_its_own_where_numpys_is(drawn):
    x, key = drawn
    view = NDArray(x)[key]
    assert bits(view) == bits(as_view(x, key))
    assert view.shape == np.shape(x[key])
    if isinstance(x[key], np.ndarray):
        assert same_memory(view, as_view(x, key))
    else:
        assert not overlap(view, x)


@given(with_key())
def test_assigning_to_a_view_is_assigning_to_the_array(drawn):
    x, key = drawn
    a, b = NDArray(x.copy()), NDArray(x.copy())
    ones = nd.ones(b[key].shape, dtype=x.dtype)
    a[key] = ones
    view = as_view(b, key)
    view[...] = ones
    assert bits(a) == bits(b)


@given(st.data())
def test_integer_arrays_index_as_numpys_and_copy(data):
    x = data.draw(arrays(shape=data.draw(hnp.array_shapes(max_dims=3, max_side=4))))
    dtype = np.dtype(data.draw(st.sampled_from(["int64", "uint8"])))
    key = data.draw(hnp.integer_array_indices(x.shape, dtype=dtype))
    got = NDArray(x)[tuple(map(NDArray, key))]
    assert bits(got) == bits(NDArray(x)[key]) == bits(np.asarray(x[key]))
    assert not overlap(got, x)


@given(st.data())
def test_masks_index_and_assign_as_numpys_and_copy(data):
    x = data.draw(arrays())
    mask = data.draw(hnp.arrays(bool, x.shape[: data.draw(st.integers(0, x.ndim))]))
    got = NDArray(x)[NDArray(mask)]
    assert bits(got) == bits(NDArray(x)[mask]) == bits(x[mask])
    assert not overlap(got, x)
    a, b = NDArray(x.copy()), x.copy()
    a[NDArray(mask)] = 1
    b[mask] = 1
    assert bits(a) == bits(b)


@given(st.data())
def test_slices_and_an_index_array_mix_as_numpys(data):
    x = data.draw(arrays(shape=data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=4))))
    rows = data.draw(hnp.arrays("int64", data.draw(shapes(2, 3)), elements=st.integers(0, x.shape[0] - 1)))
    for key, ours in [
        ((rows, slice(None, None, -1)), (NDArray(rows), slice(None, None, -1))),
        ((rows, ...), (NDArray(rows), ...)),
    ]:
        assert bits(NDArray(x)[ours]) == bits(x[key])


@given(arrays())
def test_iterating_gives_the_views_along_the_first_axis_or_elements(x):
    if x.ndim:
        assert len(NDArray(x)) == len(x)
        assert [bits(row) for row in NDArray(x)] == [bits(x[i, ...]) for i in range(len(x))]
        assert all(same_memory(row, x[i, ...]) is (x.ndim > 1 or not row.size) for i, row in enumerate(NDArray(x)))
    else:
        assert outcome(len, NDArray(x)) is outcome(iter, NDArray(x)) is FAILED


# ---- SparkNet's own methods are indexing
@given(with_bounds())
def test_a_subarray_of_a_subarray_is_the_subarray_of_the_added_bounds(drawn):
    x, (low, high), (inner_low, inner_high) = drawn
    a = NDArray(x)
    assert same_memory(a.subarray(low, high), as_view(x, tuple(map(slice, low, high))))
    added = [tuple(map(operator.add, low, bound)) for bound in (inner_low, inner_high)]
    assert same_memory(a.subarray(low, high).subarray(inner_low, inner_high), a.subarray(*added))


@given(with_slices())
def test_slices_of_slices_are_one_index_in_either_order(drawn):
    x, i, j = drawn
    a = NDArray(x)
    assert same_memory(a.slice(0, i).slice(0, j), x[i, j, ...])
    assert same_memory(a.slice(1, j).slice(0, i), x[i, j, ...])
    assert same_memory(a.slice(-1, 0), x[..., 0])


@given(with_slices())
def test_a_slice_is_the_subarray_of_length_one_without_that_axis(drawn):
    x, i, _ = drawn
    a, i = NDArray(x), i % x.shape[0]
    low, high = (i,) + (0,) * (x.ndim - 1), (i + 1, *x.shape[1:])
    assert same_memory(a.slice(0, i), nd.squeeze(a.subarray(low, high), axis=0))


@given(st.integers(1, 5), st.data())
def test_a_slice_down_to_one_element_is_a_view(length, data):
    a = nd.zeros(length)
    i = data.draw(st.integers(-length, length - 1))
    a.slice(0, i)[...] = 1
    assert int(nd.sum(a)) == int(a[i]) == 1


@given(arrays())
def test_to_flat_is_row_major_order_and_flat_copy_fills_it_in(x):
    flat = NDArray(x).to_flat()
    assert flat.shape == (x.size,)
    assert flat.to_host().tobytes() == x.tobytes(order="C")
    target = np.empty(x.size, x.dtype)
    NDArray(x).flat_copy(target)
    assert target.tobytes() == x.tobytes(order="C")


# ---- views alias, copies do not
@given(arrays())
def test_views_alias(x):
    a = NDArray(x)
    assert a.unwrap() is x
    assert same_memory(a, x)
    assert same_memory(NDArray(a), x)
    assert same_memory(nd.asarray(a), x)
    assert same_memory(nd.asarray(a, copy=False), x)
    assert same_memory(nd.permute_dims(a, tuple(range(x.ndim))[::-1]), x.transpose())
    assert same_memory(nd.expand_dims(a, axis=0), x[None])
    assert same_memory(np.asarray(a), x)
    assert a.to_device("cpu") is a
    if x.ndim:
        assert same_memory(nd.flip(a), np.flip(x))
    if x.ndim == 2:
        assert same_memory(a.T, x.T)
    if x.ndim >= 2:
        assert same_memory(a.mT, x.swapaxes(-1, -2))
    if x.dtype.isnative:  # DLPack knows no other byte order
        assert same_memory(nd.from_dlpack(a), x)
        assert same_memory(np.from_dlpack(a), x)


@given(arrays())
def test_copies_share_nothing_and_keep_every_bit(x):
    a = NDArray(x)
    for b in (copy.copy(a), copy.deepcopy(a), nd.asarray(a, copy=True), nd.astype(a, x.dtype, copy=True)):
        assert bits(b) == bits(x)
        assert not overlap(b, x)
    for b in (a.to_flat(), a[nd.ones(a.shape, dtype=nd.bool)]):
        assert bits(b) == bits(x.flatten())
        assert not overlap(b, x)


@given(arrays())
def test_attributes_equal_numpys(x):
    a = NDArray(x)
    assert (a.shape, a.ndim, a.size, a.nbytes, a.dtype) == (x.shape, x.ndim, x.size, x.nbytes, x.dtype)
    assert (a.device, a.backend) == ("cpu", "numpy")
    assert all(type(number) is int for number in (a.ndim, a.size, a.nbytes, *a.shape))


@given(arrays(REALS, shape=()).map(lambda x: x.reshape(())))
def test_a_single_element_converts_as_numpys(x):
    for convert in (bool, int, float, complex, operator.index):
        got, expected = outcome(convert, NDArray(x)), outcome(convert, x)
        assert type(got) is type(expected)
        assert got == expected or (got != got and expected != expected), convert  # noqa: PLR0124 - both NaN


# ---- the standard, as array-api-strict has it
def strict(value):
    """Return the same memory as an array of array-api-strict."""
    return array_api_strict.asarray(value.to_host())


standard_arrays = xps.arrays(xps.scalar_dtypes(), xps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))


def test_every_public_name_of_array_api_strict_is_in_the_namespace():
    own = {"set_array_api_strict_flags", "get_array_api_strict_flags", "reset_array_api_strict_flags"}
    own |= {"ArrayAPIStrictFlags", "Device", "__version__"}
    assert [name for name in array_api_strict.__all__ if name not in own and not hasattr(nd, name)] == []
    for extension in ("linalg", "fft"):
        names = getattr(array_api_strict, extension).__all__
        assert [name for name in names if not hasattr(getattr(nd, extension), name)] == []


@given(standard_arrays)
@max_examples(40)
def test_where_the_strict_standard_has_an_answer_for_one_array_it_is_ours(a):
    for name in UNARY:
        expected = outcome(getattr(array_api_strict, name), strict(a))
        if expected is not FAILED:
            got = outcome(getattr(nd, name), a)
            assert wrapped(got), name
            assert same_values(got, expected), name


@given(xps.mutually_broadcastable_shapes(2, max_dims=3, max_side=4, min_side=0), st.data())
@max_examples(40)
def test_where_the_strict_standard_has_an_answer_for_two_arrays_it_is_ours(two, data):
    # Real numbers: a complex product may cancel, and then the two loops agree in no digit.
    dtypes = xps.boolean_dtypes() | xps.real_dtypes()
    a, b = (data.draw(xps.arrays(dtypes, shape)) for shape in two.input_shapes)
    for name in BINARY:
        if name == "vecdot" and not (a.ndim and b.ndim):
            continue  # the standard says nothing of it
        expected = outcome(getattr(array_api_strict, name, None), strict(a), strict(b))
        if expected is not FAILED:
            assert same_values(outcome(getattr(nd, name), a, b), expected), name


@given(standard_arrays, st.data())
def test_reductions_along_axes_equal_array_api_stricts(a, data):
    options = {"axis": data.draw(st.none() | xps.valid_tuple_axes(a.ndim)), "keepdims": data.draw(st.booleans())}
    for name in ("sum", "prod", "min", "max", "mean", "std", "var", "all", "any", "count_nonzero"):
        expected = outcome(getattr(array_api_strict, name), strict(a), **options)
        if expected is not FAILED:
            assert same_values(outcome(getattr(nd, name), a, **options), expected), name


@given(st.data())
def test_indexing_equals_array_api_stricts(data):
    a = data.draw(standard_arrays)
    key = data.draw(xps.indices(a.shape, allow_newaxis=True))
    assert same_values(a[key], strict(a)[key])


def test_dtypes_promote_as_the_standard_says_where_it_says_something():
    for left, right in itertools.product(nd.__array_namespace_info__().dtypes(), repeat=2):
        expected = outcome(array_api_strict.result_type, *(getattr(array_api_strict, name) for name in (left, right)))
        if expected is not FAILED:
            promoted = nd.result_type(getattr(nd, left), getattr(nd, right))
            assert promoted == getattr(nd, str(expected).rpartition(".")[2])
            assert (nd.ones(1, dtype=getattr(nd, left)) * nd.ones(1, dtype=getattr(nd, right))).dtype == promoted


# ---- linear algebra and Fourier transforms
matrices = st.builds(
    lambda seed, n, batch: np.random.default_rng(seed).normal(size=(*batch, n, n)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.lists(st.integers(1, 2), max_size=1),
)


@given(matrices)
@max_examples(30)
def test_linear_algebra_and_fourier_transforms_equal_the_bare_backends(x):
    for name in ("det", "inv", "pinv", "svdvals", "slogdet", "svd", "qr", "matrix_norm", "trace", "diagonal"):
        assert bits(getattr(nd.linalg, name)(NDArray(x))) == bits(getattr(bare.linalg, name)(x)), name
    for name in ("fft", "ifft", "rfft", "ihfft", "fftn", "rfftn", "fftshift"):
        assert bits(getattr(nd.fft, name)(NDArray(x))) == bits(getattr(bare.fft, name)(x)), name


@given(matrices)
def test_the_inverse_transform_of_the_transform_is_the_array(x):
    # Each of the two transforms of n <= 4 points does at most 2 butterflies, of 3 roundings each: 12 roundings of half
    # an epsilon, relative to the norm of the row (Parseval), and 16 with the scaling by 1/n and the last addition.
    back = nd.fft.ifft(nd.fft.fft(NDArray(x)))
    tolerance = 8 * np.finfo(float).eps * float(np.linalg.norm(x, axis=-1).max())
    assert back.allclose(NDArray(x.astype(complex)), tol=tolerance)


@given(matrices)
def test_q_times_r_is_the_matrix(x):
    # Householder QR is backward stable: |A - QR| <= c n^1.5 eps |A|_F with a small c (Higham, Accuracy and Stability,
    # theorem 19.4); 10 stands for c, and n <= 4.
    q, r = nd.linalg.qr(NDArray(x))
    tolerance = 10 * x.shape[-1] ** 1.5 * np.finfo(float).eps * float(np.linalg.norm(x, axis=(-2, -1)).max())
    assert (q @ r).allclose(x, tol=tolerance)
