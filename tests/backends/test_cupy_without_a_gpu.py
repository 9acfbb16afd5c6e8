"""What the cupy backend owes where CuPy itself would compute elsewhere, copy in silence or wait: over a stand-in, without a GPU."""

import operator

import ml_dtypes
import numpy as np
import pytest
import stand_in

from sparknet import DeviceError, MissingDependency, NDArray, dumps, loads, nd
from sparknet.backends import backend_of, get_backend


@pytest.fixture(params=[1, 2], ids=["one device", "two devices"])
def cupy(request):
    with stand_in.cupy(devices=request.param) as module:
        yield module


@pytest.fixture
def last(cupy):
    """Return the device that is current last: the only one, or the other one."""
    return f"cuda:{cupy._machine.machine.devices - 1}"


@pytest.fixture
def a(last):
    return nd.asarray(np.arange(1, 13, dtype=np.float32).reshape(3, 4), device=last)


@pytest.fixture
def machine(cupy, a):
    assert a.size  # made before the counting begins
    cupy._machine.machine.clear()
    return cupy._machine.machine


def is_on(array, device):
    return array.device == backend_of(array.unwrap()).device == device


# ---- numpy's scalars and ufuncs
@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne", "add", "truediv", "pow"])
def test_numpys_scalars_compute_from_the_left(a, last, name):
    op = getattr(operator, name)
    result = op(np.float32(2), a)
    assert is_on(result, last)
    assert np.array_equal(result.to_host(), op(np.float32(2), a.to_host()))
    assert result.dtype == op(np.float32(2), a.to_host()).dtype


def test_numpys_ufuncs_compute_on_the_device_of_the_array(a, last):
    assert is_on(np.sqrt(a), last)
    assert is_on(np.add.reduce(a), last)
    assert is_on(np.maximum(a, np.float64(3)), last)
    out = nd.zeros_like(a)
    assert np.multiply(a, 2, out=out) is out
    assert float(out[2, 3]) == 24.0
    np.add.at(out, 0, 1)
    assert float(out[0, 0]) == 3.0


def test_host_arrays_are_refused_by_ufuncs_with_what_to_do(a, last):
    for call in (lambda: np.maximum(np.ones(4), a), lambda: np.ones(4) + a, lambda: np.ones(4) < a):
        with pytest.raises(DeviceError, match=rf"numpy on 'cpu'.*nd\.asarray\(\.\.\., device='{last}'\)"):
            call()


# ---- arrays of another device
def test_a_number_keeps_its_shape_from_device_to_device():
    with stand_in.cupy(devices=2):
        number = nd.asarray(np.float32(2.5), device="cuda:1")
        for array in (number, number[...], nd.asarray([1.0, 2.5], device="cuda:1")[1, ...]):
            there = array.to_device("cuda:0")
            assert is_on(there, "cuda:0")
            assert there.shape == ()
            assert float(there) == 2.5


def test_a_copy_between_devices_is_ordered_after_and_before_the_work_of_both():
    with stand_in.cupy(devices=2) as cupy:
        a = nd.asarray(np.arange(12.0).reshape(3, 4), device="cuda:1").T
        cupy._machine.machine.clear()
        assert a.to_device("cuda:0").tolist() == a.tolist()
        kinds = [(kind, device) for kind, device, *_ in cupy._machine.machine.log]
        assert kinds == [("record", 1), ("wait", 0), ("copy", 0), ("record", 0), ("wait", 1)]


def test_other_libraries_are_given_the_stream_of_the_arrays_device(cupy, a, last):
    with cupy.cuda.Device(int(last[-1])):
        stream = cupy.cuda.Stream(non_blocking=True)
        stream.use()
    with cupy.cuda.Device(0), cupy.cuda.Stream() if last != "cuda:0" else stream:
        assert a.__cuda_array_interface__["stream"] == stream.ptr
        assert a.__dlpack__(stream=7).after == stream.ptr
    assert a.__dlpack_device__() == (2, int(last[-1]))


# ---- index arrays
def test_host_arrays_are_no_index_there(a, machine, last):
    rows, mask = np.array([0, 2]), np.ones((3, 4), bool)
    for key in (rows, mask, (0, rows), NDArray(rows), (slice(None), NDArray(rows)), np.array(1)):
        with pytest.raises(DeviceError, match=rf"index array .* on 'cpu'.*nd\.asarray\(\.\.\., device='{last}'\)"):
            a[key]
        with pytest.raises(DeviceError, match="index array"):
            a[key] = 0
    for call in (
        lambda: nd.take(a, rows, axis=0),
        lambda: nd.take(a, indices=rows, axis=0),
        lambda: nd.take_along_axis(a, np.zeros((3, 1), int)),
        lambda: nd.where(mask, a, a),
        lambda: nd.maximum(a, np.ones(4)),
        lambda: nd.concat([a, np.ones((3, 4))]),
        lambda: nd.repeat(a, rows),
    ):
        with pytest.raises(DeviceError, match=rf"numpy on 'cpu'.*nd\.asarray\(\.\.\., device='{last}'\)"):
            call()
    assert machine.uploads == []


def test_lists_and_numbers_are_an_index_as_they_are_a_value(a):
    host = a.to_host()
    assert np.array_equal(a[[2, 0]].to_host(), host[[2, 0]])
    assert np.array_equal(a[:, [1]].to_host(), host[:, [1]])
    assert np.array_equal(a[np.int64(1)].to_host(), host[1])
    a[[0, 1]] = a[[1, 0]]
    assert np.array_equal(a.to_host(), host[[1, 0, 2]])


def test_index_arrays_of_another_device_are_refused():
    with stand_in.cupy(devices=2):
        a, rows = nd.zeros((3, 4), device="cuda:1"), nd.asarray([0, 2], device="cuda:0")
        for key in (rows, rows.unwrap(), (slice(None), rows)):
            with pytest.raises(
                DeviceError, match=r"index array .* on 'cuda:0'.*nd\.asarray\(\.\.\., device='cuda:1'\)"
            ):
                a[key]
        with pytest.raises(DeviceError, match="index array"):
            a[rows] = 1
        with pytest.raises(DeviceError, match="to_device"):
            nd.take(a, rows, axis=0)


def test_indices_out_of_range_wrap_as_the_reference_says(a):
    assert a[nd.asarray([5], device=a.device)].tolist() == a[[2]].tolist()
    assert nd.take(a, nd.asarray([-4], device=a.device), axis=0).tolist() == a[[2]].tolist()


# ---- beside cupy's own arrays
def test_the_left_side_decides_beside_an_array_of_cupy(cupy, a, machine):
    assert type(a + a.unwrap()) is NDArray
    assert machine.counts["synchronize"] == 0
    with cupy.cuda.Device(a.unwrap().device.id):
        result = a.unwrap() + a
        own = a.unwrap().copy()
        own += a
    assert machine.counts["synchronize"] == 2  # by cupy, once for each: the reference says so
    assert type(result) is cupy.ndarray
    assert NDArray(result).tolist() == NDArray(own).tolist() == (a + a).tolist()


def test_arrays_of_the_host_are_not_taken_for_cupys():
    assert not hasattr(nd.ones(2), "__cuda_array_interface__")


# ---- linear algebra
def test_a_matrix_that_has_no_inverse_is_found_on_demand(last):
    import cupyx

    singular = nd.zeros((2, 2), device=last)
    assert nd.linalg.inv(singular).shape == (2, 2)  # garbage, and no word of it: looking would wait
    for call in (nd.linalg.inv, nd.linalg.cholesky, lambda x: nd.linalg.solve(x, x)):
        with (
            cupyx.errstate(linalg="raise"),
            pytest.raises(ValueError, match=r"nd\.linalg.* of float64 \(2, 2\)|cuSOLVER"),
        ):
            call(singular)


# ---- DLPack
class Locked:
    """Host memory that a device can read, as another library hands it out: kDLCUDAHost is 3, kDLROCMHost 11."""

    def __init__(self, kind):
        self.kind, self.memory = kind, np.arange(3.0)

    def __dlpack_device__(self):
        return self.kind, 0

    def __dlpack__(self, **options):
        return self.memory.__dlpack__()


@pytest.mark.parametrize("kind", [3, 11])
def test_page_locked_host_memory_is_numpys(kind):
    source = Locked(kind)
    a = nd.from_dlpack(source)
    assert a.device == "cpu"
    assert np.shares_memory(a.to_host(), source.memory)


@pytest.mark.parametrize("kind", [2, 13])
def test_memory_of_the_devices_is_cupys(cupy, a, kind, monkeypatch):
    monkeypatch.setattr(cupy.ndarray, "__dlpack_device__", lambda self: (kind, self.data.device_id))
    b = nd.from_dlpack(a.unwrap())
    assert is_on(b, a.device)
    assert b.unwrap().data.ptr == a.unwrap().data.ptr


@pytest.mark.parametrize("kind", [4, 7, 8, 10, 12, 14, 99])
def test_memory_of_other_kinds_of_device_is_refused(kind):
    with pytest.raises(
        DeviceError, match=rf"from_dlpack\(\): got memory of DLPack's device type {kind}.*1, 2, 3, 11 and 13"
    ):
        nd.from_dlpack(Locked(kind))


# ---- dtypes
UNKNOWN = [np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2), np.dtype(np.longdouble)]


@pytest.mark.parametrize("dtype", UNKNOWN, ids=str)
def test_dtypes_that_cupy_has_not_are_type_errors(a, last, dtype):
    host = np.ones(3, dtype)
    for call in (
        lambda: nd.asarray(host, device=last),
        lambda: nd.asarray([1.0], dtype=dtype, device=last),
        lambda: nd.asarray(a, dtype=dtype),
        lambda: NDArray(host).to_device(last),
        lambda: nd.astype(a, dtype),
        lambda: nd.zeros(3, dtype=dtype, device=last),
        lambda: nd.sum(a, dtype=dtype),
    ):
        with pytest.raises(TypeError, match=rf"'cupy' has no dtype {dtype}; it has: .*float32, .*bfloat16"):
            call()


def test_bfloat16_and_other_byte_orders_go_there(last):
    host = np.ones(3, ml_dtypes.bfloat16)
    assert nd.asarray(host, device=last).to_host().tobytes() == host.tobytes()
    assert loads(dumps(NDArray(host)), device=last).dtype == host.dtype
    assert nd.asarray(np.arange(3, dtype=">f4"), device=last).tolist() == [0.0, 1.0, 2.0]


# ---- versions
def test_repeats_in_an_array_are_taken_by_every_version(cupy, a, last):
    times = nd.asarray([2, 0, 1], device=last)
    expected = np.repeat(a.to_host(), [2, 0, 1], axis=0)
    for version in ("14.0.1", "14.2.0"):
        cupy.__version__ = version
        assert np.array_equal(nd.repeat(a, times, axis=0).to_host(), expected)
        assert np.array_equal(
            nd.repeat(a, nd.asarray(2, device=last), axis=1).to_host(), np.repeat(a.to_host(), 2, axis=1)
        )
        assert np.array_equal(nd.repeat(a, 2).to_host(), np.repeat(a.to_host(), 2))


def test_cupy_13_is_refused_with_the_command():
    with stand_in.cupy(version="13.6.0"), pytest.raises(MissingDependency, match=r"cupy 13\.6\.0 .* 14 .*pip install"):
        get_backend("cupy")
