"""What every backend owes to NDArray and to all that is built on it: one set of tests, run on each that can be used here.

array_api_strict takes part as a third party would, registered by this module. Its ``device1`` refuses access from
the host, so a forgotten way through host memory fails on a machine without a GPU. So does a stand-in for CuPy, which
has devices of which one is current, and refuses what CuPy refuses.
"""

import copy
import operator
import pickle
import random
import sys
from importlib.util import find_spec
from types import ModuleType

import array_api_strict
import numpy as np
import pytest
import stand_in

from sparknet import DeviceError, NDArray, WeightCollection, dumps, loads, nd
from sparknet.backends import backend_for_device, backend_of, get_backend, register_backend, registry
from sparknet.backends.adapt import adapt
from sparknet.nets import MLP

CPU = array_api_strict.Device("CPU_DEVICE")


def strict_backend():
    """Return array_api_strict as a backend: what a third party writes."""

    def to_host(array):
        return np.asarray(array.to_device(CPU))

    def device(name):
        return CPU if name == "cpu" else array_api_strict.Device(name)

    def device_of(array):
        return "cpu" if array.device == CPU else array.device._device

    array_type = type(array_api_strict.ones(1))
    return adapt("array_api_strict", array_api_strict, array_type, to_host, device=device, device_of=device_of)


@pytest.fixture(scope="module", autouse=True)
def third_party():
    """Register array_api_strict for this module alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("REGISTRY", "BY_DEVICE", "_LOADED", "_BY_TYPE"):
            patch.setattr(registry, name, dict(getattr(registry, name)))
        module = ModuleType("a_third_party")
        module.BACKEND = strict_backend()
        patch.setitem(sys.modules, "a_third_party", module)
        register_backend("array_api_strict", "a_third_party:BACKEND")
        yield


DEVICES = [
    "cpu",
    *(["torch:cpu"] if find_spec("torch") else []),
    "array_api_strict:cpu",
    "array_api_strict:device1",
    "cuda:0 of the stand-in",
    "cuda:1 of the stand-in",
    pytest.param("cuda:0", marks=pytest.mark.gpu),
]


@pytest.fixture(params=DEVICES, scope="module")
def device(request):
    """One device after another for all tests of the module, because what is over cupy is imported anew for each of them."""
    with stand_in.device(request.param) as name:
        yield name


@pytest.fixture
def elsewhere(device):
    return "array_api_strict:device1" if device == "cpu" else "cpu"


@pytest.fixture
def make(device):
    """Return a function that makes an array on the device, of data on the host."""
    return lambda data, dtype=None: nd.asarray(data, dtype=dtype, device=device, copy=True)


@pytest.fixture
def x():
    return np.arange(1.0, 13.0, dtype=np.float32).reshape(3, 4)


def agree(array, expected, device):
    """Say whether an NDArray is on the device, with numpy's dtype, shape and values (a few roundings apart)."""
    expected = np.asarray(expected)
    assert type(array) is NDArray
    assert array.device == device
    assert backend_of(array.unwrap()).device == device  # where the library says that its own array is
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    np.testing.assert_allclose(array.to_host(), expected, rtol=1e-6, atol=1e-6)
    return True


# ---- what an array is
def test_an_array_says_what_and_where_it_is(make, device, x):
    a = make(x)
    assert (a.shape, a.ndim, a.size, a.nbytes, len(a)) == ((3, 4), 2, 12, 48, 3)
    assert a.dtype == nd.float32
    assert a.device == device
    assert a.backend == backend_for_device(device).name
    assert isinstance(a.unwrap(), backend_for_device(device).array_type)
    assert agree(a.T, x.T, device)
    assert agree(a.mT, x.T, device)


def test_the_librarys_own_array_is_wrapped_where_it_is_without_a_copy(make, device, x):
    a = make(x)
    b = NDArray(a.unwrap())
    assert b.unwrap() is a.unwrap()
    assert b.device == device
    b[0, 0] = 99
    assert float(a[0, 0]) == 99


@pytest.mark.parametrize("data", [[[1, 2], [3, 4]], 2.5, [True, False], range(3), np.float32(2), []])
def test_plain_data_has_the_dtype_that_numpy_gives_it(data, device):
    assert agree(NDArray(data, device=device), np.asarray(data), device)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float32", "float64", "complex64"])
def test_dtypes_are_numpys_by_object_and_by_name(make, device, dtype):
    for wanted in (dtype, np.dtype(dtype)):
        assert agree(make([0, 1], wanted), np.asarray([0, 1], dtype), device)
        assert agree(nd.ones((2,), dtype=wanted, device=device), np.ones(2, dtype), device)
        assert agree(nd.astype(make([0, 1]), np.dtype(wanted)), np.asarray([0, 1], dtype), device)


@pytest.mark.parametrize(
    "host", [np.arange(6.0)[::-2], np.asfortranarray(np.ones((2, 3))), np.arange(3, dtype=">i4"), np.zeros((0, 3))]
)
def test_host_arrays_of_any_layout_are_taken(make, device, host):
    expected = host if device == "cpu" else host.astype(host.dtype.newbyteorder("="))
    assert agree(make(host), expected, device)


def test_rows_are_shuffled_by_a_permutation(make, device, x):
    m, order = make(x), np.random.default_rng(0).permutation(3)
    assert agree(nd.take(m, nd.asarray(order, device=m.device), axis=0), x[order], device)


def test_what_is_to_be_written_for_a_list_is_on_the_arrays_device(make, device):
    a = make([3, 1, 2])
    with pytest.raises(TypeError, match=r"got a list .* write nd\.asarray\(.*\)") as raised:
        a == [3, 0, 2]  # noqa: B015 - raises
    written = str(raised.value).partition("write ")[2]
    assert agree(a == eval(written, {"nd": nd}), [True, False, True], device)  # noqa: S307 - the advice


def test_creation_functions_make_arrays_on_the_device(device):
    f4 = nd.float32
    assert agree(nd.zeros((2, 3), dtype=f4, device=device), np.zeros((2, 3), "f4"), device)
    assert agree(nd.full((2,), 7, dtype=nd.int32, device=device), np.full(2, 7, "i4"), device)
    assert agree(nd.arange(4, device=device), np.arange(4), device)
    assert agree(nd.eye(2, dtype=f4, device=device), np.eye(2, dtype="f4"), device)
    assert agree(nd.linspace(0, 1, 3, dtype=f4, device=device), np.linspace(0, 1, 3, dtype="f4"), device)
    assert agree(nd.zeros_like(nd.ones((2,), dtype=f4, device=device)), np.zeros(2, "f4"), device)
    assert nd.empty((2,), device=device).device == device
    assert nd.fft.fftfreq(4, device=device).device == device


# ---- operators
@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "ge", "eq", "ne"])
def test_operators_take_arrays_and_scalars_on_either_side(make, device, x, name):
    op = getattr(operator, name)
    a, y = make(x), x[::-1].copy()
    assert agree(op(a, make(y)), op(x, y), device)
    assert agree(op(a, 2), op(x, 2), device)
    assert agree(op(2.0, a), op(2.0, x), device)
    assert agree(op(np.float32(2), a), op(np.float32(2), x), device)
    assert agree(op(a, np.float32(2)), op(x, np.float32(2)), device)


@pytest.mark.parametrize("name", ["and_", "or_", "xor", "lshift", "rshift"])
def test_operators_of_integers(make, device, name):
    op, x, y = getattr(operator, name), np.array([1, 5, 6]), np.array([1, 2, 3])
    assert agree(op(make(x), make(y)), op(x, y), device)
    assert agree(op(2, make(y)), op(2, y), device)


def test_unary_operators_and_matmul(make, device, x):
    a = make(x)
    assert agree(-a, -x, device)
    assert agree(+a, +x, device)
    assert agree(abs(-a), x, device)
    assert agree(~make([1, 2]), ~np.array([1, 2]), device)
    assert agree(a @ a.T, x @ x.T, device)


@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "itruediv", "ipow"])
def test_in_place_operators_write_to_the_memory_of_the_array(make, device, x, name):
    op = getattr(operator, name)
    a = make(x)
    view, same = a[1, :], a
    a = op(a, make(x) / 8)
    a = op(a, 2)
    assert a is same
    expected = op(op(x.copy(), x / 8), 2)
    assert agree(a, expected, device)
    assert agree(view, expected[1], device)


def test_one_element_becomes_a_python_scalar(make):
    assert (int(make(3)), float(make(1.5)), bool(make(True)), complex(make(2j))) == (3, 1.5, True, 2j)
    assert [10, 20][make(1)] == 20


# ---- indexing
KEYS = [
    1,
    (slice(1, None), ...),
    (..., -1),
    (None, 0, ...),
    (slice(None, None, 2), slice(1, 3)),
    (1, slice(None)),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_integers_and_slices_give_views(make, device, x, key):
    a = make(x)
    assert agree(a[key], x[key], device)
    a[key][...] = 0
    x[key if isinstance(key, tuple) else (key, ...)] = 0
    assert agree(a, x, device)


def test_an_index_for_every_axis_gives_an_element(make, device, x):
    assert agree(make(x)[0, 2], x[0, 2], device)
    assert agree(make(x)[-1, -1], x[-1, -1], device)


def test_an_element_shares_no_memory_and_an_ellipsis_makes_it_a_view(make, device):
    v = make([1.0, 2.0, 3.0, 4.0])
    v[0], v[3] = v[3], v[0]
    random.Random(1).shuffle(v)
    assert sorted(v.tolist()) == [1, 2, 3, 4]
    element, view = v[1], v[1, ...]
    v[1] = 9
    assert (element.item() == 9, view.item()) == (False, 9)
    assert element.device == device


def test_numbers_of_a_0d_array(make):
    a = make(2.567)
    assert (f"{a:.1f}", round(a, 1), a.item(), a.tolist()) == ("2.6", 2.6, 2.567, 2.567)
    assert 2 in make([[1, 2], [3, 4]])
    assert make([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]


def test_masks_and_index_arrays_select(make, device, x):
    a = make(x)
    assert agree(a[a > 5], x[x > 5], device)
    i, j = make([0, 2]), make([1, 3])
    assert agree(a[i, j], x[[0, 2], [1, 3]], device)
    a[a > 5] = 0
    assert agree(a, np.where(x > 5, 0, x).astype("f4"), device)


def test_assignment_takes_scalars_lists_and_arrays_of_the_device(make, device, x):
    a = make(x)
    a[0, :] = 5
    a[1, :] = [4, 3, 2, 1]
    a[2, :] = make(x)[0, :]
    assert agree(a, np.stack([[5] * 4, [4, 3, 2, 1], x[0]]).astype("f4"), device)


def test_sparknets_own_methods(make, device, x):
    a = make(x)
    assert agree(a.slice(0, 1).slice(0, 2), x[1, 2], device)
    assert agree(a.subarray((1, 0), (3, 2)), x[1:3, :2], device)
    assert agree(a.to_flat(), x.ravel(), device)
    out = make(np.zeros(12, "f4"))
    a.flat_copy(out)
    assert agree(out, x.ravel(), device)
    assert a.allclose(make(x + 1e-7))
    assert a.allclose(x.tolist())
    assert not a.allclose(a + 1)


# ---- the namespace
FUNCTIONS = {
    "elementwise": lambda xp, a: xp.exp(-xp.square(a)) + xp.maximum(a, xp.zeros_like(a)),
    "where": lambda xp, a: xp.where(a > 2, a, xp.zeros_like(a)),
    "clip": lambda xp, a: xp.clip(a, 2, 5),
    "isfinite": lambda xp, a: xp.isfinite(a),
    "sum": lambda xp, a: xp.sum(a, axis=0),
    "mean": lambda xp, a: xp.mean(a, axis=1, keepdims=True),
    "max": lambda xp, a: xp.max(a),
    "argmax": lambda xp, a: xp.argmax(a, axis=1),
    "any": lambda xp, a: xp.any(a > 11),
    "sort": lambda xp, a: xp.sort(a, axis=1, descending=True),
    "cumulative_sum": lambda xp, a: xp.cumulative_sum(a, axis=1),
    "reshape": lambda xp, a: xp.reshape(a, (4, -1)),
    "concat": lambda xp, a: xp.concat([a, a], axis=1),
    "stack": lambda xp, a: xp.stack([a, a]),
    "permute_dims": lambda xp, a: xp.permute_dims(a, (1, 0)),
    "astype": lambda xp, a: xp.astype(a, xp.int32),
    "take": lambda xp, a: xp.take(a, xp.argmax(a, axis=1), axis=1),
    "broadcast_to": lambda xp, a: xp.broadcast_to(a, (2, 3, 4)),
    "matmul": lambda xp, a: xp.matmul(a, xp.matrix_transpose(a)),
    "tensordot": lambda xp, a: xp.tensordot(a, a, axes=((1,), (1,))),
    "vector_norm": lambda xp, a: xp.linalg.vector_norm(a),
    "det": lambda xp, a: xp.linalg.det(
        xp.matmul(a, xp.matrix_transpose(a)) + xp.eye(3, dtype=xp.float32, device=a.device)
    ),
    "svdvals": lambda xp, a: xp.linalg.svdvals(a),
    "fft": lambda xp, a: xp.fft.rfft(a),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_compute_on_the_device_what_numpy_computes(make, device, x, function):
    expected = function(nd, NDArray(x)).to_host()
    result = function(nd, make(x))
    assert result.device == device
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result.to_host(), expected, rtol=1e-4, atol=1e-5)


def test_functions_of_several_results_wrap_each(make, device, x):
    q, r = nd.linalg.qr(make(x.T))
    assert agree(q @ r, x.T, device)
    values, counts = nd.unique_counts(make([3, 1, 3]))
    assert agree(nd.sort(values), [1, 3], device)
    assert int(nd.sum(counts)) == 3
    assert [part.device for part in nd.unstack(make(x))] == [device] * 3
    assert nd.result_type(make(x), nd.float64) == nd.float64


def test_a_function_that_takes_a_device_moves_its_result(make, elsewhere, x):
    assert agree(nd.zeros_like(make(x), device=elsewhere), np.zeros_like(x), elsewhere)
    assert agree(nd.astype(make(x), nd.float64, device=elsewhere), x.astype("f8"), elsewhere)


def test_the_inspection_api_lists_numpys_dtypes(device):
    info = nd.__array_namespace_info__()
    assert info.dtypes(device=device, kind="real floating")["float32"] == nd.float32
    assert info.default_dtypes(device=device)["integral"] == nd.int64


# ---- copies and devices
def test_repr_shows_values_and_device(make, device):
    assert repr(make([1.0, 2.0])) == f"NDArray([1., 2.], shape=(2,), dtype=float64, device={device!r})"


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda a: nd.asarray(a, copy=True), lambda a: pickle.loads(pickle.dumps(a))],
    ids=["copy", "deepcopy", "asarray", "pickle"],
)
def test_copies_are_on_the_same_device_and_share_nothing(make, device, x, copied):
    a = make(x)
    b = copied(a)
    b[...] = 0
    assert agree(b, np.zeros_like(x), device)
    assert agree(a, x, device)


def test_moving_copies_and_staying_does_not(make, device, elsewhere, x):
    a = make(x)
    assert a.to_device(device) is a
    assert nd.asarray(a, copy=False).unwrap() is a.unwrap()
    there = a.to_device(elsewhere)
    assert agree(there, x, elsewhere)
    back = there.to_device(device)
    there[...] = 0
    back[0, 0] = 50
    assert agree(a, x, device)
    with pytest.raises(ValueError, match="copy=False, but the array is on"):
        nd.asarray(a, device=elsewhere, copy=False)


def test_host_access_is_explicit_unless_the_memory_is_the_hosts(make, device, x):
    a = make(x)
    assert np.array_equal(a.to_host(), x)
    if backend_for_device(device).host:
        assert np.shares_memory(a.to_host(), a.to_host())
        assert np.array_equal(np.asarray(a), x)
        assert bytes(a) == bytes(a.__buffer__(0)) == x.tobytes()
    else:
        for access in (np.asarray, bytes, lambda a: a.__buffer__(0)):
            with pytest.raises(DeviceError, match=r"call \.to_host\(\)"):
                access(a)


def test_arrays_of_two_devices_never_mix(make, device, elsewhere, x):
    a, b = make(x), NDArray(x, device=elsewhere)
    with pytest.raises(DeviceError, match=f"one array is on '{device}' .*, the other on '{elsewhere}'.*to_device"):
        a + b
    with pytest.raises(DeviceError, match="to_device"):
        a += b
    with pytest.raises(DeviceError, match="to_device"):
        a[...] = b
    with pytest.raises(DeviceError, match=r"\.to_device\("):
        nd.maximum(a, b)
    with pytest.raises(DeviceError, match=r"nd\.asarray\(\.\.\., device="):
        a + b.unwrap()


@pytest.mark.parametrize("device", ["array_api_strict:device1"])
def test_two_devices_of_one_library_never_mix(make, x):
    a = make(x)
    b = a.to_device("array_api_strict:device2")
    assert agree(b, x, "array_api_strict:device2")
    assert get_backend("array_api_strict").on("device2") is backend_for_device(b.device)
    with pytest.raises(DeviceError, match=r"'array_api_strict:device1' .* 'array_api_strict:device2'"):
        a * b


# ---- bad input: the same kind of error on every backend, which shows what was got
BAD_INPUT = {
    "shapes that differ": (lambda a, _: a + a[:, :2], ValueError, r"add of float32 \(3, 4\), float32 \(3, 2\): "),
    "shapes of a function": (
        lambda a, _: nd.maximum(a, a[:, :2]),
        ValueError,
        r"nd\.maximum\(\) of float32 \(3, 4\), ",
    ),
    "shapes of a product": (lambda a, _: a @ a, ValueError, r"matmul of float32 \(3, 4\), float32 \(3, 4\): "),
    "shapes in place": (lambda a, _: operator.iadd(a, a[:, :2]), ValueError, r"iadd of float32 \(3, 4\), "),
    "floats into integers": (
        lambda a, i: operator.iadd(i, a),
        TypeError,
        r"iadd of int64 \(3, 4\), float32 \(3, 4\): ",
    ),
    "bits of floats": (lambda a, _: a & a, TypeError, r"and_ of float32 \(3, 4\), "),
    "a word": (lambda a, _: a + "x", TypeError, "'NDArray' and 'str'"),
    "a list": (lambda a, _: a + [1.0] * 4, TypeError, r"got a list .* write nd\.asarray\("),
    "a float of many": (lambda a, _: float(a), TypeError, r"float\(\) needs a 0-d array, this one has shape \(3, 4\)"),
    "the truth of many": (lambda a, _: bool(a), ValueError, r"bool\(\) needs a 0-d array"),
    "an index too large": (lambda a, _: a[7], IndexError, r"indexing of float32 \(3, 4\), 7: "),
    "too many indices": (lambda a, _: a[0, 0, 0], IndexError, r"indexing of float32 \(3, 4\), \(0, 0, 0\): "),
    "a place too large": (lambda a, _: operator.setitem(a, 7, 1), IndexError, r"float32 \(3, 4\), 7, 1: "),
    "a value that does not fit": (
        lambda a, _: operator.setitem(a, (0, ...), a[:, 0]),
        ValueError,
        r"float32 \(3, 4\), \(0, Ellipsis\), float32 \(3,\): ",
    ),
    "a value that is no number": (
        lambda a, _: operator.setitem(a, 0, "x"),
        TypeError,
        "expected a number or an array, got str",
    ),
    "another number of elements": (
        lambda a, _: nd.reshape(a, (5,)),
        ValueError,
        r"nd\.reshape\(\) of float32 \(3, 4\), \(5,\): ",
    ),
    "no such axis": (lambda a, _: nd.sum(a, axis=5), IndexError, r"nd\.sum\(\) of float32 \(3, 4\), axis=5: "),
    "no such argument": (
        lambda a, _: nd.sum(a, axes=1),
        TypeError,
        r"nd\.sum\(x, /, .*got an unexpected keyword argument 'axes'",
    ),
    "no such dtype": (
        lambda a, _: nd.astype(a, "flot32"),
        TypeError,
        r"nd\.astype\(\) of float32 \(3, 4\), 'flot32': ",
    ),
    "no array": (
        lambda _, __: nd.exp([1.0]),
        TypeError,
        r"nd\.exp\(\): got list, expected an array; make one with nd\.asarray",
    ),
    "a list to copy into": (
        lambda a, _: a.flat_copy([0.0] * 12),
        TypeError,
        r"flat_copy\(\): got out of type list, expected an array with 12 elements",
    ),
    "no square matrix": (lambda a, _: nd.linalg.inv(a), ValueError, r"nd\.linalg\.inv\(\) of float32 \(3, 4\): "),
    "a vector transposed": (lambda a, _: a[0].T, ValueError, r"arrays with 2 axes, this one has shape \(4,\); use mT"),
    "a device that is no name": (
        lambda a, _: a.to_device(3),
        DeviceError,
        "got the device 3, expected a string such as 'cpu'",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_with_what_was_got(make, x, case):
    call, kind, text = BAD_INPUT[case]
    with pytest.raises(kind, match=text):
        call(make(x), make(np.ones((3, 4), np.int64)))


@pytest.mark.parametrize(
    ("data", "dtype", "kind", "text"),
    [
        ([[1, 2], [3]], None, ValueError, r"list \[\[1, 2\], \[3\]\] cannot become an array: .*inhomogeneous"),
        ([object()], None, TypeError, "has dtype object, expected numbers or bools"),
        (["a"], None, TypeError, r"list \['a'\] has dtype <U1, expected numbers or bools"),
        ([1], object, TypeError, "has dtype object, expected numbers or bools"),
        ([1], "flot32", TypeError, r"list \[1\] cannot become an array of dtype flot32"),
    ],
)
def test_data_that_is_no_array_is_refused(device, data, dtype, kind, text):
    for make_array in (nd.asarray, NDArray):
        with pytest.raises(kind, match=text):
            make_array(data, dtype=dtype, device=device)


# ---- what is built on it
@pytest.fixture
def weights(x):
    return WeightCollection({"ip1": [x, x[0]], "ip2": [x[:, :1] - 4]})


def test_weights_compute_on_the_device(weights, device):
    w = weights.to_device(device)
    assert w.schema() == weights.schema()
    assert w == weights.to_device(device)
    assert (w * 2 + w - w / 2).to_device("cpu").allclose(weights * 2.5)
    assert {a.device for a in (w * 2 + w).arrays()} == {device}
    assert w.norm() == pytest.approx(weights.norm(), rel=1e-12)
    other = w.copy()
    other += w
    other *= 0.5
    assert other == w
    assert w.astype("float64")["ip1"][0].dtype == nd.float64
    assert w.num_parameters == 19


@pytest.mark.parametrize("scales", [None, [1, 2, 1]])
def test_the_mean_is_the_same_on_every_device(weights, device, scales):
    parts = [weights, weights * 3, weights - 1]
    mean = WeightCollection.mean([part.to_device(device) for part in parts], scales)
    assert {a.device for a in mean.arrays()} == {device}
    # float64 sums of the same numbers in the same order: the same bits
    assert mean.to_device("cpu") == WeightCollection.mean(parts, scales)
    assert WeightCollection.mean([weights.to_device(device)] * 3).to_device("cpu") == weights


def test_the_mean_of_integers_is_rounded(make, device):
    parts = [WeightCollection({"n": [make([value, 2])]}) for value in (1, 2, 5)]
    assert agree(WeightCollection.mean(parts)["n"][0], [3, 2], device)


def test_bytes_do_not_depend_on_the_device(weights, device):
    w = weights.to_device(device)
    message = dumps(w)
    assert message == dumps(weights)
    assert loads(message, device=device) == w
    assert loads(message, device=device)["ip1"][0].device == device
    assert loads(message) == weights
    assert agree(loads(dumps(w["ip2"][0].unwrap()), device=device), weights["ip2"][0].to_host(), device)
    assert pickle.loads(pickle.dumps(w)) == w


def test_a_net_trains_on_the_device_as_on_the_host(make, device):
    rng = np.random.default_rng(7)
    data, label = rng.standard_normal((20, 6)).astype("f4"), rng.integers(0, 3, 20)
    batch = {"data": make(data), "label": make(label)}
    options = {"classes": 3, "hidden": (5,), "learning_rate": 0.1, "weight_decay": 0.01}
    here, there = MLP((6,), **options), MLP((6,), device=device, **options)
    for _ in range(5):
        loss = there.step(batch)
        assert loss == pytest.approx(here.step({"data": NDArray(data), "label": NDArray(label)}), rel=1e-5)
    assert {a.device for a in there.get_weights().arrays()} == {device}
    # five steps of float32 arithmetic in another order of summation
    assert there.get_weights().to_device("cpu").allclose(here.get_weights(), rtol=1e-4, atol=1e-6)
    assert float(there.forward(batch)["accuracy"]) == float(here.forward(batch_of(data, label))["accuracy"])
    again = MLP((6,), device=device, seed=1, **options)
    again.set_weights(here.get_weights())
    again.set_state(there.get_state())
    assert again.iteration == 5


def batch_of(data, label):
    return {"data": NDArray(data), "label": NDArray(label)}
