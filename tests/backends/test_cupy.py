"""What a CUDA device shows: streams, waiting, page-locked memory, two devices. The contract runs on it too.

All of it runs on a GPU (``nox -s tests_gpu``), and over the stand-in for CuPy.
"""

import contextlib
import threading

import numpy as np
import pytest
import stand_in

from sparknet import DeviceError, NDArray, WeightCollection, dumps, loads, nd
from sparknet.backends import available, backend_for_device
from sparknet.nets import MLP

MIB = 1 << 20
SPIN = r'extern "C" __global__ void spin(long long ticks) { long long t = clock64(); while (clock64() - t < ticks); }'


GPU = pytest.param("cupy", marks=pytest.mark.gpu)


@pytest.fixture(scope="module", params=[GPU, "stand-in"], autouse=True)
def cupy(request):
    """Return cupy, or the stand-in on a machine with two devices."""
    if request.param == "cupy":
        yield pytest.importorskip("cupy")
    else:
        with stand_in.cupy(devices=2) as module:
            yield module


@pytest.fixture
def busy(cupy):
    """Return a function that makes a context in which the current stream has half a second of work before it."""
    kernel = cupy.RawKernel(SPIN, "spin")
    kernel((1,), (1,), (np.int64(1),))  # compiled now
    ticks = cupy.cuda.Device().attributes["ClockRate"] * 500  # kHz times milliseconds
    stream = cupy.cuda.Stream(non_blocking=True)  # one, as memory is pooled for each

    @contextlib.contextmanager
    def context():
        with stream:
            kernel((1,), (1,), (np.int64(ticks),))
            yield stream
        stream.synchronize()

    return context


@pytest.fixture
def waits(cupy, monkeypatch):
    """Count cupy's own waits for a copy to the host or for a device: the places that it declares."""
    count = []
    monkeypatch.setattr(cupy._core.syncdetect, "_declare_synchronize", lambda: count.append(1))
    return count


def ramp(nbytes, device="cuda:0"):
    return nd.asarray(np.arange(nbytes // 4, dtype=np.float32), device=device)


# ---- where arrays are
def test_cupy_is_available_and_wraps_without_a_copy(cupy):
    assert "cupy" in available()
    own = cupy.arange(3)
    a = NDArray(own)
    assert a.unwrap() is own
    assert a.device == f"cuda:{own.device.id}"
    assert a.__cuda_array_interface__["data"] == own.__cuda_array_interface__["data"]
    assert backend_for_device("cupy:cuda:0") is backend_for_device("cuda:0")


@pytest.mark.parametrize("device", ["cuda:99", "cuda:", "cuda:-1", "cuda:x", "cuda:00"])
def test_a_device_that_is_not_there_is_named_beside_those_that_are(device):
    with pytest.raises(DeviceError, match=r"no device .* here; there is 'cuda:0'"):
        nd.zeros(3, device=device)


def test_host_access_must_be_asked_for():
    with pytest.raises(DeviceError, match=r"on 'cuda:0': call \.to_host\(\)"):
        np.asarray(nd.ones(3, device="cuda:0"))


def test_dlpack_gives_cupy_the_same_memory(cupy):
    a = ramp(64)
    assert cupy.from_dlpack(a).data.ptr == a.unwrap().data.ptr
    assert nd.from_dlpack(a.unwrap()).device == "cuda:0"


# ---- waiting: by watching a busy stream, and by counting what cupy declares
def use_everything(a, b):
    """Use every kind of operation that computes on the device alone."""
    c = a + b * 2.0 - nd.exp(-a) / 3
    c += a
    c[1:] = b[:-1]
    c = nd.where(c > a, c, nd.zeros_like(c)) + np.float32(1)
    w = WeightCollection({"x": [a, b]})
    w = (w * 2 + w) / 3
    w += w
    return nd.sum(c), WeightCollection.mean([w, w.copy()]), nd.reshape(c, (2, -1)) @ nd.reshape(c, (-1, 2))


def test_no_operation_on_the_device_waits_for_it(busy):
    a, b = ramp(4096), ramp(4096)
    with busy():
        use_everything(a, b)  # kernels are compiled and memory is pooled now, which waits
    with busy() as stream:
        use_everything(a, b)
        assert not stream.done


def test_no_operation_on_the_device_declares_a_wait(waits):
    a, b = ramp(4096), ramp(4096)
    use_everything(a, b)
    assert waits == []


def test_only_to_host_and_conversions_to_python_wait(waits):
    a = ramp(4 * MIB)
    waits.clear()
    a.to_host()
    assert len(waits) == 1
    float(a[3])
    assert len(waits) == 2
    repr(a)
    assert len(waits) == 3


def test_a_step_of_a_net_waits_for_its_loss_and_once_for_its_check_of_the_batch(waits):
    net = MLP((4,), classes=3, hidden=(8,), device="cuda:0")
    batch = {"data": ramp(16 * 6), "label": nd.asarray([0, 1, 2, 0, 1, 2], device="cuda:0")}
    batch["data"] = nd.reshape(batch["data"], (6, 4))
    net.step(batch)
    waits.clear()
    net.step(batch)
    assert len(waits) == 2


def test_work_goes_to_the_current_stream_of_the_calling_thread(busy):
    a = ramp(4096)
    a + 1  # compiled now, and memory is pooled for the default stream
    with busy():
        a + 1  # and for this one
    with busy() as stream:
        b = a + 1
        seen = []
        thread = threading.Thread(target=lambda: seen.append((a + 1).to_host()[0]))  # another stream, not busy
        thread.start()
        thread.join()
        assert seen == [1.0]
        assert not stream.done
    assert float(b[0]) == 1.0


# ---- transfers
@pytest.mark.parametrize("nbytes", [4, 4096, MIB - 4, MIB, 5 * MIB + 4])
def test_transfers_keep_every_bit(nbytes):
    host = np.random.default_rng(7).integers(0, 255, nbytes, dtype=np.uint8).view(np.uint32)
    there = nd.asarray(host, device="cuda:0")
    assert there.to_host().tobytes() == host.tobytes()
    assert there[::2].to_host().tobytes() == host[::2].tobytes()


def test_large_arrays_come_into_page_locked_memory_that_is_used_again(cupy):
    is_locked = cupy.cuda.pinned_memory.is_memory_pinned
    source = ramp(MIB)
    source.to_host()  # waits, so the buffer of the upload is free now, whether or not the device was done with it before
    small, large = source[1:].to_host(), source.to_host()
    assert not is_locked(small.ctypes.data)
    assert is_locked(large.ctypes.data)
    address, view = large.ctypes.data, large[5:]
    del large
    other = source.to_host()
    assert other.ctypes.data != address  # a view keeps the memory
    del view
    assert source.to_host().ctypes.data == address


def test_above_the_limit_ordinary_memory_serves(cupy, backend, monkeypatch):
    backend._locked.free()  # one of 4 MiB, which 3 MiB are rounded up to, may lie there
    monkeypatch.setattr(backend._locked, "limit", 0)
    host = ramp(3 * MIB).to_host()
    assert not cupy.cuda.pinned_memory.is_memory_pinned(host.ctypes.data)
    assert host[-1] == 3 * MIB / 4 - 1


@pytest.mark.parametrize("locked", [False, True])
def test_the_source_may_be_changed_as_soon_as_it_was_sent(busy, locked):
    host = ramp(8 * MIB).to_host() if locked else np.arange(2 * MIB, dtype=np.float32)
    with busy():  # the copy cannot have begun when the call for ordinary memory returns
        there = nd.asarray(host, device="cuda:0")
        host[...] = -1
    assert float(nd.min(there)) == 0.0


def test_ordinary_memory_is_sent_without_waiting(busy):
    host = np.arange(2 * MIB, dtype=np.float32)
    with busy():
        nd.asarray(host, device="cuda:0")  # memory is pooled now, for this stream
    with busy() as stream:
        nd.asarray(host, device="cuda:0")
        assert not stream.done


# ---- what is built on it
def test_weights_and_messages_go_there_and_back():
    w = WeightCollection({"ip": [np.ones((300, 1000), np.float32), np.zeros(300, np.float32)]})
    there = loads(dumps(w), device="cuda:0")
    assert {a.device for a in there.arrays()} == {"cuda:0"}
    assert there.to_device("cpu") == w
    assert dumps(there) == dumps(w)


def test_tensors_of_torch_on_the_same_device_are_shared_by_dlpack():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    tensor = torch.arange(3, device="cuda:0")
    assert NDArray(tensor).device == "torch:cuda:0"
    assert nd.from_dlpack(tensor).unwrap().data.ptr == tensor.data_ptr()


# ---- two devices
@pytest.fixture
def second(cupy):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two CUDA devices")
    return "cuda:1"


def test_arrays_of_two_devices_never_mix(second):
    with pytest.raises(DeviceError, match=r"'cuda:0' .* 'cuda:1' .*to_device\('cuda:0'\)"):
        ramp(64) + ramp(64, second)


def test_operations_run_on_the_device_of_the_array_whichever_is_current(cupy, second):
    for current in (0, 1):
        with cupy.cuda.Device(current):
            a, b = ramp(4096, second), ramp(4096, second)
            for result in (a + b, a[a > 2], nd.exp(a), nd.zeros(3, device=second), *use_everything(a, b)[::2]):
                assert result.unwrap().device.id == 1


def test_a_copy_between_devices_waits_on_the_devices_only(busy, second):
    def there():
        return nd.reshape(a * 2, (32, 32)).T.to_device(second)  # not contiguous

    a = ramp(4096)
    with busy():
        there()  # compiled now, and memory is pooled for this stream
    with busy() as stream:
        c = there()
        assert not stream.done
    assert c.device == second
    assert float(c[1, 0]) == 2.0
