"""What transfers lock, copy and wait for, counted over the stand-in for CuPy."""

import io
import tracemalloc

import numpy as np
import pytest
import stand_in

from sparknet import DeviceError, WeightCollection, dumps, load_into, nd

MIB = 1 << 20


@pytest.fixture
def cupy():
    with stand_in.cupy(devices=2) as module:
        yield module


@pytest.fixture
def waits(cupy, monkeypatch):
    """Count what waits for a device: numbers asked of it, and streams."""
    count = []
    monkeypatch.setattr(cupy._core.syncdetect, "_declare_synchronize", lambda: count.append("a number"))
    monkeypatch.setattr(cupy.cuda.runtime, "streamSynchronize", lambda _stream: count.append("a stream"))
    monkeypatch.setattr(cupy.cuda.stream._BaseStream, "synchronize", lambda _stream: count.append("a stream"))
    return count


def locked_bytes(cupy):
    return sum(memory.nbytes for memory in cupy.cuda.runtime.locked.values())


# ---- clip
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        *(("float32", low, high) for low in (None, -1.0, 2, NAN) for high in (None, 1.0, -2, INF, NAN)),
        *(("int8", low, high) for low in (None, -1, -128, -1000) for high in (None, 1, 127, 1000)),
        *(("uint8", 3, 200), ("int64", np.int64(-1), np.int32(1)), ("float16", [[-1.0], [NAN]], [0.5, 1, 2, 3, 4, 5])),
        *(("float32", [[0.0]] * 3, None), ("int32", 1, [[0] * 6] * 2)),
    ],
)
def test_clip_gives_what_numpys_gives_and_waits_for_nothing(waits, dtype, low, high):
    x = np.array([-3, -1, 0, 1, 2, 3]).astype(dtype)
    if x.dtype.kind == "f":
        x[2] = NAN

    def clipped(device):
        bounds = [nd.asarray(b, dtype=x.dtype, device=device) if isinstance(b, list) else b for b in (low, high)]
        return nd.clip(nd.asarray(x, device=device), *bounds)

    found = clipped("cuda:1")
    assert waits == []
    expected = clipped("cpu")
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(found.to_host(), expected.to_host(), equal_nan=x.dtype.kind == "f")


def test_clip_without_bounds_is_a_copy(cupy):
    del cupy
    a = nd.ones(3, device="cuda:0")
    b = nd.clip(a)
    b += 1
    assert a.tolist() == [1.0] * 3


# ---- locked memory has one limit, for both directions
def test_uploads_lock_no_memory_outside_of_the_limit(cupy, backend, monkeypatch):
    monkeypatch.setattr(backend._locked, "limit", 4 * MIB)
    host = np.arange(MIB // 2, dtype=np.float32)  # 2 MiB
    for count in range(1, 200, 20):
        there = nd.asarray(host[: len(host) // count], device="cuda:1")
        assert np.array_equal(there.to_host(), host[: len(host) // count])
        assert locked_bytes(cupy) <= 4 * MIB
    large = np.arange(2 * MIB, dtype=np.float32)  # does not fit: by ordinary memory, rightly
    assert np.array_equal(nd.asarray(large, device="cuda:1").to_host(), large)
    assert locked_bytes(cupy) <= 4 * MIB
    assert cupy.get_default_pinned_memory_pool().n_free_blocks() == 0


def test_memory_that_is_kept_makes_room_for_other_sizes_and_not_for_what_cannot_fit(cupy, backend, monkeypatch):
    monkeypatch.setattr(backend._locked, "limit", 4 * MIB)
    nd.zeros(MIB // 2, device="cuda:0").to_host()
    assert locked_bytes(cupy) == 2 * MIB * 2  # 4 MiB of float64
    nd.zeros(2 * MIB, device="cuda:0").to_host()
    assert locked_bytes(cupy) == 4 * MIB  # as before: 16 MiB fit in no way
    nd.zeros(MIB // 8, device="cuda:0").to_host()
    assert locked_bytes(cupy) == MIB


def test_where_the_system_locks_no_more_ordinary_memory_serves(cupy):
    cupy._machine.machine.lockable = 0
    host = np.arange(MIB, dtype=np.float32)
    there = nd.asarray(host, device="cuda:0")
    host[...] = 0
    assert np.array_equal(there.to_host(), np.arange(MIB, dtype=np.float32))
    assert locked_bytes(cupy) == 0


def test_another_error_of_cuda_is_not_taken_for_one_of_memory(cupy, backend, monkeypatch):
    def fails(_size, _flags):
        raise cupy.cuda.runtime.CUDARuntimeError(cupy.cuda.runtime._errorInvalidDevice)

    monkeypatch.setattr(backend._locked._cuda, "PinnedMemory", fails)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="invalid device"):
        nd.asarray(np.ones(MIB), device="cuda:0")


@pytest.fixture
def busy(cupy, backend):
    """Return a stream that is at work until somebody waits for it; memory and kernels for arrays of 1 KiB are there, as taking some waits."""
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        kept = [backend._locked.array((128,), np.dtype("float64")) for _ in range(3)]
        there = [nd.asarray(np.ones(128), device="cuda:0") for _ in range(3)]
        del kept, there
        cupy.RawKernel("", "spin")((1,), (1,), (2,))
        assert not stream.done
        yield stream


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_sent_is_kept_until_a_busy_stream_has_read_it(busy, order):
    first, second = (np.full((64, 2), value, order=order) for value in (1.0, 2.0))
    a = nd.asarray(first, device="cuda:0")
    first[...] = 0
    b = nd.asarray(second, device="cuda:0")  # not through the memory of the first
    assert not busy.done
    busy.synchronize()
    assert float(nd.min(a)) == 1.0
    assert float(nd.min(b)) == 2.0


def test_above_the_limit_the_source_may_still_be_changed_at_once(busy, backend, monkeypatch):
    monkeypatch.setattr(backend._locked, "limit", 0)
    backend._locked.free()
    host = np.ones(128)
    assert not busy.done
    a = nd.asarray(host, device="cuda:0")
    host[...] = 0
    busy.synchronize()
    assert float(nd.min(a)) == 1.0


def test_memory_from_a_device_may_be_changed_as_soon_as_it_was_sent_back(backend, busy):
    host = backend._locked.array((128,), np.dtype("float64"))
    host[...] = 1
    assert not busy.done
    a = nd.asarray(host, device="cuda:0")
    host[...] = 0
    busy.synchronize()
    assert float(nd.min(a)) == 1.0


# ---- copies
def host_peak(act):
    tracemalloc.start()
    act()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize(
    "make", [np.asfortranarray, lambda a: a[::-1], lambda a: a[:, ::2]], ids=["F", "reversed", "strided"]
)
def test_arrays_of_any_memory_order_go_to_a_device_by_one_copy(cupy, backend, monkeypatch, make):
    a = make(np.arange(512 * 512, dtype=np.float32).reshape(512, 512))
    sent = []
    monkeypatch.setattr(cupy.ndarray, "set", lambda self, arr: sent.append(arr) or self._host.__setitem__(..., arr))
    backend._locked.array(a.shape, a.dtype)  # is there, so that it is not counted

    def ascontiguous(*_args, **_options):
        pytest.fail("a copy on the host")

    monkeypatch.setattr(np, "ascontiguousarray", ascontiguous)
    there = nd.asarray(a, device="cuda:0")
    assert there.unwrap().flags.c_contiguous
    assert cupy.cuda.pinned_memory.is_memory_pinned(sent[0].ctypes.data)
    assert np.array_equal(there.to_host(), a)


@pytest.mark.parametrize("source", ["a stream", "memory"])
def test_a_message_is_received_into_arrays_of_a_device_without_a_second_array_there(cupy, source):
    w = WeightCollection({"ip": [np.arange(MIB, dtype=np.float32).reshape(1024, 1024), np.ones(5, np.float32)]})
    message = dumps(w)
    live = w.map(nd.zeros_like).to_device("cuda:1")
    machine = cupy._machine.machine
    machine.peak.clear()
    before = machine.used[1]
    load_into(live, io.BytesIO(message) if source == "a stream" else message)
    assert live.to_device("cpu") == w
    assert machine.peak[1] <= before + 4096


def test_a_stream_is_received_in_locked_memory_itself(cupy, backend, monkeypatch):
    w = WeightCollection({"ip": [np.arange(4 * MIB, dtype=np.float32)]})
    live = w.map(nd.zeros_like).to_device("cuda:1")
    backend._locked.array((4 * MIB,), np.dtype("float32"))
    stream = io.BytesIO(dumps(w))
    waits = []
    monkeypatch.setattr(cupy.cuda.stream._BaseStream, "synchronize", lambda _stream: waits.append(1))
    assert host_peak(lambda: load_into(live, stream)) < 2 * MIB  # of 16
    assert waits == []
    monkeypatch.undo()
    assert live.to_device("cpu") == w


@pytest.mark.parametrize("order", ["F", "strided"])
def test_a_message_is_received_into_arrays_that_are_not_contiguous(cupy, order):
    own = (
        cupy.zeros((4, 6), dtype=np.float32, order="F")
        if order == "F"
        else cupy.zeros((4, 12), dtype=np.float32)[:, ::2]
    )
    live = {"a": nd.asarray(own)}
    sent = {"a": np.arange(24, dtype=np.float32).reshape(4, 6)}
    load_into(live, dumps(sent))
    assert np.array_equal(live["a"].to_host(), sent["a"])


# ---- means and checks
def test_a_mean_takes_no_array_of_float64_for_the_conversion(cupy):
    machine = cupy._machine.machine
    w = WeightCollection({"ip": [np.ones((MIB,), np.float32)]}).to_device("cuda:0")
    machine.peak.clear()
    before = machine.used[0]
    mean = WeightCollection.mean([w, w])
    # the result of 4 MiB, the sums of 8; no third one of 4 for the sums as float32
    assert machine.peak[0] - before <= 12 * MIB + 4096
    assert mean.to_device("cpu") == w.to_device("cpu")


def test_what_is_updated_in_place_is_tried_once_for_each_dtype(cupy, monkeypatch):
    w = WeightCollection(
        {f"ip{i}": [np.ones((2, 3), np.float32), np.ones(3, np.float64)] for i in range(50)}
    ).to_device("cuda:1")
    calls = []
    add = cupy.ndarray.__iadd__
    monkeypatch.setattr(cupy.ndarray, "__iadd__", lambda self, other: calls.append(self.size) or add(self, other))
    w += 1
    assert calls.count(0) == 2  # empty views, one of each dtype
    assert len(calls) == 102
    with pytest.raises(DeviceError):
        w += w.to_device("cpu")
