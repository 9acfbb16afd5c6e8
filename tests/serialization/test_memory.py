"""Fresh memory: aligned, writable, alive as long as somebody looks at it."""

import gc

import numpy as np
import pytest

from sparknet import dumps
from sparknet.serialization.memory import buffers
from sparknet.serialization.writer import encode


@pytest.mark.parametrize("size", [1, 63, 64, 4096, 5 << 20])
def test_aligned_memory_begins_at_a_multiple_of_64(size):
    found = buffers.aligned(size)
    assert len(found) == size
    assert found.__array_interface__["data"][0] % 64 == 0
    found[:] = 7
    assert found.sum(dtype=np.uint64) == 7 * size


@pytest.mark.parametrize("size", [1, 100, 4096, (5 << 20) + 3])
def test_new_bytes_hold_what_was_written_to_them(size):
    expected = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    data, room = buffers.writable_bytes(size)
    room[:] = expected
    del room
    gc.collect()
    assert type(data) is bytes
    assert data == expected.tobytes()
    assert hash(data) == hash(expected.tobytes())


def test_the_array_over_new_bytes_keeps_them_alive():
    room = buffers.writable_bytes(5 << 20)[1]
    gc.collect()
    room[:] = 3
    assert room.min() == room.max() == 3


def test_large_messages_are_the_same_bytes(monkeypatch):
    tensors = {"a": np.arange(700_000, dtype="float32"), "b": np.ones(3), "c": np.arange(300_000)[::2]}
    joined = dumps(tensors)
    monkeypatch.setattr(encode, "_FRESH", 1)
    assert dumps(tensors) == joined
    assert dumps({}) == b"".join(
        encode.buffers(encode.prepare({}, encoding="raw", compression=None, checksum=True, metadata=None))
    )
