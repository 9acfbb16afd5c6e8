"""A message is MessagePack, aligned, and every byte of it counts."""

import gc
import itertools
import zlib
from collections import deque

import msgpack
import numpy as np
import pytest
from fuzz.oracles import is_refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import mappings, messages_of, some

from sparknet import FormatError, NDArray, WeightCollection, dump_parts, dumps, dumps_into, load, loads, save
from sparknet.serialization import inspect, verify
from sparknet.serialization.message import layout, plans
from sparknet.serialization.message.header import Header, over_limit
from sparknet.serialization.reader import decode

SMALL = {"a": np.array([1.5, -0.0], "float32"), "flags": np.array([True, False])}


@given(messages_of())
def test_any_messagepack_library_can_walk_it(obj):
    version, header, crc, body = msgpack.unpackb(dumps(obj))
    columns = msgpack.unpackb(header)
    assert version == "sparknet/1"
    assert crc == zlib.crc32(header)
    assert set(map(type, body[::2])) <= {type(None), bytes}
    assert not any(any(pad) for pad in body[::2] if pad)
    assert [len(payload) for payload in body[1::2]] == [t.nbytes for t in inspect(dumps(obj)).tensors]
    assert len(columns["dtypes"]) == len(columns["ndims"]) == len(body) // 2


def test_a_stranger_reads_names_shapes_and_values():
    _, header, _, body = msgpack.unpackb(dumps({"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.array(7, "<i2")}))
    columns = msgpack.unpackb(header)
    assert columns["names"].split("\0") == ["a", "b"]
    assert columns["dtypes"] == b"\x42\x21"
    assert list(columns["ndims"]) == [2, 0]
    assert list(columns["dims"]) == [2, 3]
    assert np.frombuffer(body[1], "<f4").tolist() == [0, 1, 2, 3, 4, 5]
    assert np.frombuffer(body[3], "<i2").tolist() == [7]


@given(mappings(max_size=6))
def test_every_payload_begins_at_a_multiple_of_64(mapping):
    for tensor in inspect(dumps(mapping)).tensors:
        assert tensor.offset % 64 == 0


@pytest.mark.parametrize("length", range(70))
def test_pads_of_every_size_are_written_and_read(length):
    message = dumps({"n" * length: np.arange(5), "b": np.arange(length, dtype="uint8"), "c": np.ones(2)})
    assert loads(message, verify=True)["c"].to_host().tolist() == [1, 1]


def test_a_message_costs_at_most_85_bytes_and_its_name_for_each_tensor():
    tensors = {f"layer_{i}/kernel": np.zeros(100 + i, "float32") for i in range(16)}
    overhead = len(dumps(tensors)) - sum(array.nbytes for array in tensors.values())
    assert overhead <= sum(len(name) + 85 for name in tensors)


def test_every_truncation_is_refused():
    message = dumps(SMALL)
    for length in range(len(message)):
        assert is_refused(message, message[:length])


def test_every_change_of_one_byte_is_detected():
    message = dumps(SMALL)
    for position, change in some(itertools.product(range(len(message)), range(1, 256))):
        changed = bytearray(message)
        changed[position] ^= change
        with pytest.raises(FormatError):
            loads(changed)


@pytest.mark.parametrize("copy", [False, True])
def test_a_changed_byte_of_a_large_tensor_is_detected(copy):
    message = bytearray(dumps(np.random.default_rng(0).standard_normal(40_000)))
    for position in np.random.default_rng(1).integers(256, len(message), 100):
        message[position] ^= 0x10
        with pytest.raises(FormatError, match="checksum does not match"):
            loads(message, copy=copy, verify=None if copy else True)
        message[position] ^= 0x10


def test_when_elements_are_verified():
    large, small = (bytearray(dumps(np.zeros(n))) for n in (decode.SMALL // 8, 5000))
    large[-1] ^= 1
    small[-1] ^= 1
    loads(large)
    loads(large, copy=True, verify=False)
    loads(small, verify=False)
    for message, options in (large, {"verify": True}), (large, {"copy": True}), (small, {}):
        with pytest.raises(FormatError, match="damaged"):
            loads(message, **options)


def test_verifying_a_message_without_checksums_is_refused():
    message = dumps(SMALL, checksum=False)
    assert loads(message, copy=True)["a"].shape == (2,)
    with pytest.raises(FormatError, match="carries no checksums"):
        loads(message, verify=True)


def test_a_newer_version_says_so():
    message = dumps(SMALL)
    with pytest.raises(FormatError, match=r"version '2'.*upgrade"):
        loads(message.replace(b"\xaasparknet/1", b"\xaasparknet/2"))
    with pytest.raises(FormatError, match="version '10'"):
        loads(message.replace(b"\xaasparknet/1", b"\xabsparknet/10"))


@pytest.mark.parametrize(
    ("begin", "text", "offset"),
    [
        (b"", "truncated message: it ends at byte 0, before the end of the version", 0),
        (b"\x94", "truncated message: it ends at byte 1, before the end of the version", 1),
        (b"\x94\xaasparknet/", "truncated message: it ends at byte 11, before the end of the version", 11),
        (b"\x94\xaasparknet/2", "the message has version '2', this reader knows up to 1; upgrade sparknet", 1),
        (b"\x94\xaesparknet/2/b/c", "the message has version '2/b/c', this reader knows up to 1; upgrade sparknet", 1),
        (b"\x93\xaasparknet/1", "not a sparknet message: it begins with b'\\x93\\xaasparknet/1', expected b'\\x94", 0),
        (b"\x94\xaaother/1/23", "not a sparknet message: it begins with b'\\x94\\xaaother/1/23', expected b'", 0),
        (b"\x94\xa8sparknet", "not a sparknet message: it begins with b'\\x94\\xa8sparknet', expected b'\\x94", 0),
        (b"\x95", "not a sparknet message: it begins with b'\\x95', expected b'\\x94", 0),
    ],
)
def test_what_does_not_begin_as_a_message_is_told_from_one_that_ends_and_from_a_newer_one(begin, text, offset):
    with pytest.raises(FormatError) as caught:
        loads(begin)
    assert str(caught.value).startswith(text)
    assert (caught.value.tensor, caught.value.offset) == (None, offset)


def test_an_error_says_which_tensor_and_where():
    message = bytearray(dumps(WeightCollection({"ip": [np.zeros(3), np.ones(3)]})))
    offset = inspect(message).tensors[1].offset
    message[offset] ^= 1
    with pytest.raises(FormatError, match=rf"tensor 'ip\[1\]' \(from byte {offset}\) is damaged") as caught:
        verify(message)
    assert (caught.value.tensor, caught.value.offset) == ("ip[1]", offset)


@pytest.fixture
def splits(monkeypatch):
    """Tensors over 128 bytes are split, instead of those over 4 GiB."""
    monkeypatch.setattr(layout, "MAX_BIN", 128)
    for plans_made in "_read", "_written":
        monkeypatch.setattr(plans, plans_made, deque(maxlen=4))


SPLIT = {
    "exact": np.arange(32, dtype="float64"),
    "rest": np.arange(33, dtype="float64"),
    "one": np.arange(16, dtype="float64"),
    "none": np.zeros((0, 9)),
    "fortran": np.asfortranarray(np.arange(400, dtype="int16").reshape(20, 20)),
    "big": np.arange(100, dtype=">f4")[::-1],
}


@pytest.mark.usefixtures("splits")
def test_a_split_tensor_comes_back_in_one_piece(tmp_path):
    message = dumps(SPLIT)
    payloads = msgpack.unpackb(message)[3][1::2]
    assert list(map(len, payloads)) == [128, 128, 128, 128, 8, 128, 0, *[128] * 6, 32, 128, 128, 128, 16]
    buffer = bytearray(len(message))
    dumps_into(SPLIT, buffer)
    save(tmp_path / "split.msg", SPLIT)
    assert b"".join(dump_parts(SPLIT)) == buffer == (tmp_path / "split.msg").read_bytes() == message
    for back in loads(message, verify=True), loads(message, copy=True), load(tmp_path / "split.msg", mmap=False):
        for name, array in SPLIT.items():
            assert np.array_equal(back[name].to_host(), array)
    assert not loads(message)["rest"].to_host().flags.writeable
    assert loads(message, copy=True)["rest"].to_host().flags.writeable


@pytest.mark.usefixtures("splits")
def test_every_truncation_and_change_of_a_split_message_is_detected():
    message = dumps({"a": np.arange(40, dtype="float64")})
    for position in range(len(message)):
        changed = bytearray(message)
        changed[position] ^= 0x21
        for damaged in message[:position], changed:
            assert is_refused(message, damaged, names=["loads", "verify"])


def test_the_limit_of_a_payload_keeps_what_follows_aligned_and_fits_a_bin_32():
    assert layout.MAX_BIN % 64 == 0
    assert layout.MAX_BIN < 2**32
    plan = layout.lay_out(100, [2**33 + 5])
    assert plan.lengths == [2**32 - 64, 2**32 - 64, 133]
    assert all(start % 64 == 0 for start in plan.starts)


def test_a_view_keeps_its_message_alive():
    array = loads(dumps(NDArray(np.full(1000, 7.0))))
    gc.collect()
    assert array.to_host().sum() == 7000


# ---- many neighbours of one dtype and shape, which are checked and handed out together


def assert_each_is_like(back, tensors):
    assert list(back) == list(tensors)
    for name, tensor in tensors.items():
        array = back[name].to_host()
        assert (array.dtype, array.shape, array.flags.c_contiguous) == (tensor.dtype, tensor.shape, True)
        assert array.tobytes() == tensor.tobytes()


@pytest.mark.parametrize("shape", [(), (0,), (3,), (16,), (2, 5), (3, 0, 2), (0, 2**60), (1,) * 63, (1,) * 64])
@pytest.mark.parametrize("count", [layout.MANY, layout.MANY + 1, 40])
def test_neighbours_of_one_dtype_and_shape_come_back_as_they_are(shape, count):
    alike = [np.full(shape, n, "float32") for n in range(count)]
    others = [np.arange(3, dtype="int8"), np.float32(0.5).reshape(1, 1)]
    tensors = {str(n): array for n, array in enumerate([others[0], *alike, *others, *alike])}
    message = dumps(tensors)
    for back in loads(message), loads(message, verify=True), loads(message, copy=True):
        assert_each_is_like(back, tensors)
    assert not any(array.to_host().flags.writeable for array in loads(bytearray(message)).values())
    assert all(
        np.shares_memory(array.to_host(), np.frombuffer(message, "u1"))
        for array in loads(message).values()
        if array.size
    )


@given(mappings(max_size=4), st.lists(st.integers(1, 2 * layout.MANY), min_size=4, max_size=4))
def test_runs_of_any_lengths_come_back_as_they_are(mapping, lengths):
    pairs = zip(mapping.values(), lengths, strict=False)
    hosts = [(NDArray(array).to_host(), length) for array, length in pairs]
    arrays = [np.array(host, host.dtype.newbyteorder("<"), order="C") for host, length in hosts for _ in range(length)]
    tensors = {str(n): array for n, array in enumerate(arrays)}
    assert_each_is_like(loads(dumps(tensors), verify=True), tensors)


@pytest.mark.parametrize("size", [1, 16, 17])
def test_every_change_of_a_byte_between_many_neighbours_is_refused_and_named(size):
    message = bytearray(dumps({f"t{n}": np.zeros(size, "float32") for n in range(20)}, checksum=False))
    ends = [tensor.offset for tensor in inspect(message).tensors]
    for n, (before, end) in enumerate(zip([ends[0] - 6, *(offset + 4 * size for offset in ends)], ends, strict=False)):
        for position in range(before, end):
            message[position] ^= 1
            with pytest.raises(FormatError, match=f"byte {position}, before tensor 't{n}'") as caught:
                loads(message)
            assert (caught.value.tensor, caught.value.offset) == (f"t{n}", position)
            message[position] ^= 1
    assert len(loads(message)) == 20


@pytest.mark.parametrize(
    ("largest", "width"), [(255, 1), (256, 2), (2**16 - 1, 2), (2**16, 4), (2**32 - 1, 4), (2**32, 8), (2**60, 8)]
)
def test_dims_are_written_in_the_smallest_width_that_fits(largest, width):
    message = dumps(np.zeros((0, largest), np.uint8))
    assert msgpack.unpackb(msgpack.unpackb(message)[1])["dim_width"] == width
    assert loads(message).shape == (0, largest)


def test_a_header_may_be_as_long_as_the_page_says():
    header = Header("array", [], [], b"B", [(1,)], None)
    assert over_limit(header, 64 << 20) == ""
    assert over_limit(header, (64 << 20) + 1) == (
        "a header of 67108865 bytes (names and metadata); the limit is 67108864"
    )
