"""NDArray: SparkNet's golden values, operators beside numpy and plain Python, devices, interchange."""

import copy
import inspect
import operator
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparknet import NDArray, nd
from sparknet.backends import available, backend_of, get_backend, register_backend
from sparknet.errors import DeviceError, MissingDependency, explain

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
FLOATS = hnp.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


@pytest.fixture
def ramp():
    return NDArray(range(60), (3, 4, 5))


def values(array):
    return array.to_host().tolist()


# ---- golden values of SparkNet's own tests
def test_ramp_elements(ramp):
    assert int(ramp[1, 2, 3]) == 33
    assert int(ramp[2, 3, 4]) == 59


def test_subarray_of_the_ramp(ramp):
    assert values(ramp.subarray((0, 1, 2), (1, 3, 5)).to_flat()) == [7, 8, 9, 12, 13, 14]


def test_slices_of_the_ramp(ramp):
    assert values(ramp.slice(0, 1).slice(1, 2)) == [22, 27, 32, 37]
    assert values(ramp.slice(2, 4).slice(0, 2)) == [44, 49, 54, 59]
    assert int(ramp.slice(2, 3)[1, 2]) == 33


def test_slices_and_subarrays_are_views(ramp):
    ramp.slice(0, 1)[...] = -1
    ramp.subarray((2, 0, 0), (3, 1, 1))[...] = -2
    assert int(ramp[1, 0, 0]) == -1
    assert int(ramp[2, 0, 0]) == -2


def test_flat_copy_writes_row_major_order_into_the_target(ramp):
    target = np.zeros(15, np.int64)
    ramp.subarray((0, 1, 0), (1, 4, 5)).flat_copy(target)
    assert target.tolist() == list(range(5, 20))
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(60,\)"):
        ramp.flat_copy(np.zeros(3))


def test_bounds_outside_the_array_say_what_is_allowed(ramp):
    with pytest.raises(IndexError, match=r"0 <= lower <= upper <= \(3, 4, 5\)"):
        ramp.subarray((0, 0, 0), (3, 4, 6))
    with pytest.raises(IndexError, match="this array has 3 axes"):
        ramp.subarray((0,), (1,))
    with pytest.raises(IndexError, match="axis 3"):
        ramp.slice(3, 0)


def test_allclose_is_absolute_and_needs_equal_shapes():
    a = NDArray([1.0, float("inf")])
    assert a.allclose([1.0 + 1e-7, float("inf")])
    assert not a.allclose([1.0 + 1e-3, float("inf")])
    assert a.allclose([1.0 + 1e-3, float("inf")], tol=1e-2)
    assert not a.allclose([[1.0, float("inf")]])
    assert not NDArray([float("nan")]).allclose([float("nan")])
    ends = NDArray([0], dtype="uint8"), NDArray([255], dtype="uint8")
    assert not ends[0].allclose(ends[1], tol=1)
    assert NDArray([1], dtype="uint8").allclose(NDArray([2], dtype="uint8"), tol=1)


def test_allclose_with_rtol_or_atol_is_numpys():
    a = NDArray([100.0, float("inf"), 0.0])
    assert a.allclose([101.0, float("inf"), 0.0], rtol=0.01)
    assert not a.allclose([101.0, float("inf"), 0.0], rtol=0.0099)
    assert a.allclose([100.0, float("inf"), 1e-8], rtol=0)
    assert not a.allclose([100.0, float("inf"), 1.1e-8], rtol=0)
    assert a.allclose([100.0005, float("inf"), 0.0], atol=0)
    assert not a.allclose([100.0, float("-inf"), 0.0], rtol=1, atol=1)
    assert not a.allclose([[100.0, float("inf"), 0.0]], rtol=1)
    assert NDArray([255], dtype="uint8").allclose(NDArray([0], dtype="uint8"), rtol=0, atol=255)
    assert not NDArray([255], dtype="uint8").allclose(NDArray([0], dtype="uint8"), rtol=0, atol=1)


def test_allclose_takes_nan_for_equal_where_asked():
    a = NDArray([float("nan"), 1.0])
    for options in ({}, {"tol": 1}, {"rtol": 0.1}, {"atol": 1}):
        assert not a.allclose(a, **options)
        assert a.allclose(a, **options, equal_nan=True)
        assert not a.allclose([3.0, 1.0], **options, equal_nan=True)
        assert not NDArray([3.0, 1.0]).allclose(a, **options, equal_nan=True)


def test_allclose_knows_bfloat16_and_says_what_numpy_cannot_compare():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    near = NDArray(np.array([1, 2], ml_dtypes.bfloat16))
    assert near.allclose([1.0, 2.0])
    assert near.allclose(near, rtol=0)
    assert not near.allclose([1.0, 2.5])
    half = NDArray([1, 2], dtype="float16")
    try:
        np.result_type(near.dtype, half.dtype)
    except TypeError:  # ml_dtypes before 0.7 has no dtype for both
        with pytest.raises(TypeError, match=r"allclose\(\) of bfloat16 \(2,\), float16 \(2,\)"):
            near.allclose(half)
    else:
        assert near.allclose(half)


def test_allclose_refuses_two_kinds_of_tolerance():
    with pytest.raises(TypeError, match=r"allclose\(\): got tol=1 with rtol or atol, expected one kind"):
        NDArray([1.0]).allclose([1.0], 1, rtol=0.1)


# ---- operators
@given(FLOATS)
def test_operators_agree_with_numpy(x):
    a = NDArray(x)
    for op in (operator.add, operator.sub, operator.mul, operator.lt, operator.eq):
        with np.errstate(over="ignore"):
            got, expected = op(a, a), op(x, x)
        assert type(got) is NDArray
        assert got.shape == x.shape
        assert got.dtype == expected.dtype
        assert np.array_equal(got.to_host(), expected)


@pytest.mark.parametrize("other", [2, 2.5, np.float32(2), np.arange(3, dtype="float32"), True])
def test_numpy_and_python_operands_give_an_ndarray_from_both_sides(other):
    x = np.arange(3, dtype="float32")
    for op in (operator.add, operator.mul, operator.sub):
        left, right = op(NDArray(x) + 1, other), op(other, NDArray(x) + 1)
        assert type(left) is type(right) is NDArray
        assert np.array_equal(left.to_host(), op(x + 1, other))
        assert np.array_equal(right.to_host(), op(other, x + 1))


LISTS = {
    "a == list": lambda a, b: a == b,
    "list == a": lambda a, b: b == a,
    "a != list": lambda a, b: a != b,
    "a < list": lambda a, b: a < b,
    "list in a": lambda a, b: b in a,
    "a + list": lambda a, b: a + b,
    "list + a": lambda a, b: b + a,
    "list * a, which Python would repeat": lambda a, b: b * a[0],
    "a += list": operator.iadd,
}


@pytest.mark.parametrize("compute", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("other", [[3, 1, 2], (3, 1, 2)], ids=["list", "tuple"])
def test_a_list_is_refused_with_what_to_write(compute, other):
    shown = re.escape(
        f"got a {type(other).__name__} beside an NDArray, expected an array or a number: write nd.asarray({other})"
    )
    with pytest.raises(TypeError, match=shown):
        compute(NDArray([3, 1, 2]), other)


def test_other_objects_are_compared_as_python_does():
    a = NDArray([3, 1, 2])
    for other in (None, "abc", object()):
        assert (a == other, a != other, other in a) == (False, True, False)


def test_in_place_operators_write_into_the_same_memory():
    x = np.ones(4, np.float32)
    a = NDArray(x)
    b = a
    a += 2
    a *= NDArray([1, 2, 3, 4], dtype="float32")
    assert b is a
    assert x.tolist() == [3, 6, 9, 12]


def test_unknown_operands_are_a_type_error():
    with pytest.raises(TypeError):
        NDArray([1]) + "x"


def test_0d_results_are_arrays():
    total = nd.sum(NDArray([1.0, 2.0]))
    assert type(total) is NDArray
    assert (total.shape, float(total)) == ((), 3.0)
    assert type(NDArray([1.0])[0]) is NDArray


# ---- copies, pickles, interchange
@given(FLOATS)
def test_pickle_and_copies_keep_every_bit_and_share_nothing(x):
    a = NDArray(x)
    for b in (pickle.loads(pickle.dumps(a)), copy.copy(a), copy.deepcopy(a)):
        assert b.to_host().tobytes() == x.tobytes()
        assert (b.shape, b.dtype) == (a.shape, a.dtype)
        assert not np.shares_memory(b.to_host(), x)


def test_wrapping_unwrapping_and_dlpack_share_memory():
    x = np.arange(6.0)
    a = NDArray(x)
    assert a.unwrap() is x
    assert np.shares_memory(a.to_host(), x)
    assert np.shares_memory(np.asarray(a), x)
    assert np.shares_memory(np.from_dlpack(a), x)
    assert np.shares_memory(nd.from_dlpack(x).to_host(), x)
    assert a.to_device("cpu") is a


def test_repr_shows_values_shape_dtype_and_device():
    assert repr(NDArray([1, 2])) == "NDArray([1, 2], shape=(2,), dtype=int64, device='cpu')"
    assert len(repr(nd.zeros((1000, 1000)))) < 1000


def test_unknown_devices_and_backends_are_named():
    with pytest.raises(DeviceError, match="expected 'cpu' or 'cuda:N'"):
        nd.zeros(3, device="tpu:0")
    with pytest.raises(MissingDependency, match="unknown backend 'nothing'; known: "):
        get_backend("nothing")
    register_backend("broken", "sparknet_no_such_module:BACKEND")
    with pytest.raises(MissingDependency, match="sparknet_no_such_module"):
        get_backend("broken")
    assert "numpy" in available()
    assert "broken" not in available()
    assert backend_of([1]) is None


# ---- the namespace
def test_every_name_of_the_namespace_exists_and_the_array_points_to_it():
    xp = NDArray([1]).__array_namespace__(api_version="2024.12")
    assert xp is nd
    assert [name for name in nd.__all__ if not hasattr(nd, name)] == []
    with pytest.raises(ValueError, match=r"'1999\.01' is not implemented"):
        NDArray([1]).__array_namespace__(api_version="1999.01")


def test_functions_of_several_arrays_and_of_tuples_wrap_all_results():
    a = NDArray([[2.0, 0.0], [0.0, 3.0]])
    assert nd.concat([a, a]).shape == (4, 2)
    q, r = nd.linalg.qr(a)
    assert (q @ r).allclose(a)
    assert nd.linalg.eigh(a).eigenvalues.allclose([2.0, 3.0])
    found, counts = nd.unique_counts(NDArray([3, 3, 1]))
    assert (values(found), values(counts)) == ([1, 3], [1, 2])
    assert nd.fft.fft(NDArray([1.0, 0.0])).shape == (2,)


def test_dtype_objects_are_comparable_with_an_arrays_dtype():
    assert nd.ones(2, dtype=nd.float32).dtype == nd.float32
    assert nd.isdtype(nd.int64, "integral")
    assert NDArray([1.5]).dtype == nd.float64


def test_a_bool_in_a_signature_is_pythons_and_not_the_dtype_of_that_name():
    # Python 3.14 looks an annotation up when it is asked for, so it finds what the module calls bool by then.
    for function in (nd.asarray, nd.from_dlpack):
        assert str(inspect.signature(function).parameters["copy"]) == "copy: bool | None = None"
    assert str(inspect.signature(nd.astype).parameters["copy"]) == "copy: bool = True"


# ---- errors of a library
class DriverError(RuntimeError):
    """As cupy.cuda.runtime.CUDARuntimeError and torch.OutOfMemoryError: RuntimeErrors that no argument is to blame for."""


@pytest.mark.parametrize(
    "error", [DriverError("out of memory"), RuntimeError("CUDA error: device-side assert"), DeviceError("no")]
)
def test_an_error_that_is_not_the_arguments_is_left_as_it_is(error):
    with pytest.raises(type(error)) as raised:
        explain(error, "add", NDArray([1.0]))
    assert raised.value is error


def test_a_number_that_the_dtype_cannot_hold_is_refused_with_the_arguments():
    a = NDArray([1, 2], dtype="uint8")
    with pytest.raises(OverflowError, match=r"nd\.add\(\) of uint8 \(2,\), 300: "):
        nd.add(a, 300)
    with pytest.raises(OverflowError, match=r"mul of uint8 \(2,\), 300: "):
        a * 300
