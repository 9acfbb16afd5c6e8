"""Messages with encodings and compression: read without options, by every way in, or refused before they cost anything."""

import io
import sys
import tracemalloc
import zlib

import lz4.block
import msgpack
import numpy as np
import pytest
from fuzz.mutations import framed
from fuzz.oracles import judged
from hypothesis import given
from hypothesis import strategies as st
from strategies import max_examples, messages_of

from sparknet import FormatError, MissingDependency, NDArray, WeightCollection
from sparknet.serialization import (
    Codec,
    dump,
    dump_parts,
    dumps,
    dumps_into,
    inspect,
    iter_load,
    load,
    load_into,
    loads,
    save,
    verify,
)
from sparknet.serialization.memory import cores
from sparknet.serialization.memory.buffers import as_memory
from sparknet.serialization.message import layout
from sparknet.serialization.payload.codes import CHUNK
from sparknet.serialization.payload.encodings import scratch_for
from sparknet.serialization.reader.opening import open_message
from sparknet.serialization.reader.views import check_stored

ENCODINGS = ["raw", "float16", "bfloat16", "int8"]
COMPRESSIONS = [None, "zstd", "lz4"]
WAYS = [(encoding, compression) for encoding in ENCODINGS for compression in COMPRESSIONS][1:]
RNG = np.random.default_rng(0)
OBJECT = {
    "large": RNG.standard_normal((700, 500)).astype("float32"),
    "double": RNG.standard_normal((3, 1000)),
    "zeros": np.zeros((4, CHUNK), "float32"),
    "counts": np.arange(300_000, dtype="int32"),
    "flags": np.arange(5000) % 3 == 0,
    "half": np.ones(7, "float16"),
    "empty": np.zeros((0, 3), "float32"),
    "bias": np.array(0.1, "float32"),
    "noise": RNG.integers(0, 256, 5000).astype("uint8"),
    "fortran": np.asfortranarray(RNG.standard_normal((300, 900)).astype(">f4")),
}


def arrays_of(obj):
    """Name -> numpy array of whatever a message gives."""
    if isinstance(obj, WeightCollection):
        return {f"{name}[{i}]": array.to_host() for name, layer in obj.items() for i, array in enumerate(layer)}
    if isinstance(obj, dict):
        return {name: array.to_host() if isinstance(array, NDArray) else array for name, array in obj.items()}
    return {"": obj.to_host()}


def same(first, second):
    first, second = arrays_of(first), arrays_of(second)
    assert list(first) == list(second)
    for one, other in zip(first.values(), second.values(), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


def held(obj):
    """The object's arrays, if every encoding has a place for them: values small, none of them NaN or infinite."""
    return {name: small(array) if array.dtype.kind == "f" else array for name, array in arrays_of(obj).items()}


def small(array):
    with np.errstate(all="ignore"):
        return np.asarray(np.clip(np.nan_to_num(array, nan=0, posinf=1, neginf=-1), -100, 100)).astype(array.dtype)


@pytest.mark.parametrize(("encoding", "compression"), WAYS)
@max_examples(20)
@given(messages_of())
def test_every_way_out_and_every_way_in_gives_the_same(encoding, compression, obj):
    every_way_gives_the_same(held(obj), {"encoding": encoding, "compression": compression})


@pytest.mark.parametrize(("encoding", "compression"), WAYS)
def test_every_way_gives_the_same_of_large_tensors_and_of_files(encoding, compression, tmp_path):
    options = {"encoding": encoding, "compression": compression}
    every_way_gives_the_same(OBJECT, options)
    message, path = dumps(OBJECT, **options), tmp_path / "a.msg"
    save(path, OBJECT, **options)
    assert path.read_bytes() == message
    for again in load(path), load(path, mmap=False), load(path, keys=list(OBJECT)), load(path, verify=True):
        same(again, loads(message))


def every_way_gives_the_same(obj, options):
    message = dumps(obj, **options)
    back = loads(message, verify=True)
    assert dumps(obj, **options) == message
    assert b"".join(dump_parts(obj, **options)) == message
    buffer = np.empty(len(message) + 3, np.uint8)
    assert dumps_into(obj, buffer, **options) == len(message)
    assert buffer[:-3].tobytes() == message
    stream = io.BytesIO()
    assert dump(obj, stream, **options) == len(message)
    assert stream.getvalue() == message
    for again in loads(message, copy=True), next(iter_load(io.BytesIO(message))):
        same(again, back)
    live = {name: np.empty(array.shape, array.dtype) for name, array in obj.items()}
    for source in message, io.BytesIO(message):
        load_into(live, source)
        same({name: array.astype(array.dtype.newbyteorder("=")) for name, array in live.items()}, back)


@pytest.mark.parametrize(("encoding", "compression"), WAYS)
def test_what_comes_back_is_what_was_written_as_exactly_as_the_encoding_says(encoding, compression):
    back = loads(dumps(OBJECT, encoding=encoding, compression=compression), verify=True)
    for name, array in OBJECT.items():
        got = back[name].to_host()
        assert got.dtype == array.dtype.newbyteorder("=")
        assert got.shape == array.shape
        if array.dtype.itemsize < 4 or array.dtype.kind != "f" or encoding == "raw":
            assert (got == array).all()
        elif encoding == "int8":
            assert np.abs(got - array).max(initial=0) <= np.abs(array).max(initial=0) / 127 / 2 * (1 + 2**-13)
        else:
            digits = {"float16": 11, "bfloat16": 8}[encoding]
            assert (np.abs(got - array) <= np.maximum(np.abs(array) * 2.0**-digits, 2.0**-25)).all()


def test_the_kind_of_object_stays_and_weights_are_encoded_too():
    weights = WeightCollection({"conv": [np.ones((3, 300), "f4"), np.arange(3.0)], "relu": []})
    back = loads(dumps(weights, encoding="bfloat16", compression="lz4"))
    assert type(back) is WeightCollection
    assert back == weights
    assert loads(dumps(np.ones(100, "f4"), encoding="int8")).shape == (100,)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_tensors_that_are_split_come_back(monkeypatch, compression):
    obj = {"a": RNG.standard_normal(CHUNK + 999).astype("f4"), "b": np.zeros(9000, "i8"), "c": np.ones(40, bool)}
    for encoding in ENCODINGS:
        monkeypatch.setattr(layout, "MAX_BIN", 2**32 - 64)
        expected = loads(dumps(obj, encoding=encoding))
        monkeypatch.setattr(layout, "MAX_BIN", 64 * 999)
        message = dumps(obj, encoding=encoding, compression=compression)
        assert b"".join(dump_parts(obj, encoding=encoding, compression=compression)) == message
        for copy in False, True:
            same(loads(message, copy=copy, verify=True), expected)
        verify(message)


def test_what_needs_no_encoding_is_written_as_without():
    whole = {"a": np.arange(9), "b": np.zeros(0, "f4"), "c": RNG.integers(0, 256, 999).astype("u1")}
    for encoding, compression in WAYS:
        assert dumps({"c": whole["c"]}, encoding=encoding, compression=compression) == dumps({"c": whole["c"]})
    for encoding in ENCODINGS:
        assert dumps(whole, encoding=encoding) == dumps(whole)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_decoded_arrays_are_the_readers_own_and_as_read_only_as_views(encoding):
    message = bytearray(dumps(OBJECT, encoding=encoding, compression="lz4"))
    view, copy = loads(message), loads(message, copy=True)
    assert not any(array.to_host().flags.writeable for array in view.values())
    assert all(array.to_host().flags.writeable and array.to_host().flags.owndata for array in copy.values())
    before = view["zeros"].to_host().copy()
    message[-len(message) // 2 :] = bytes(len(message[-len(message) // 2 :]))
    assert (view["zeros"].to_host() == before).all()


# ------------------------------------------------------------------------------------------ the format


def test_a_message_is_read_by_the_page_that_describes_it():
    weights = np.resize(RNG.standard_normal(999).astype("f4"), CHUNK + 300)
    version, header, crc, body = msgpack.unpackb(dumps({"w": weights}, encoding="int8", compression="lz4"))
    columns = msgpack.unpackb(header)
    assert (version, crc) == ("sparknet/1", zlib.crc32(header))
    assert list(columns)[5:] == ["dims", "encodings", "compression", "stored", "checksums"]
    assert (columns["encodings"], columns["compression"]) == (b"\x03", "lz4")
    assert int.from_bytes(columns["stored"], "little") == len(body[1])
    values, at = [], 8
    for length, count in zip(np.frombuffer(body[1], "<u4", 2), (CHUNK, 300), strict=True):
        chunk, size, at = body[1][at : at + length], count + 4 * -(-count // 256), at + int(length)
        chunk = chunk if length == size else lz4.block.decompress(chunk, uncompressed_size=size)
        scales = np.frombuffer(chunk, "<f4", -(-count // 256))
        codes = np.frombuffer(chunk, "i1", count, scales.nbytes)
        values.append(codes.astype("f4") * np.repeat(scales, 256)[:count])
    assert at == len(body[1])
    same({"w": np.concatenate(values)}, loads(dumps({"w": weights}, encoding="int8")))


@pytest.mark.parametrize(("encoding", "compression"), WAYS)
def test_inspect_tells_how_tensors_are_stored(encoding, compression):
    message = dumps(OBJECT, encoding=encoding, compression=compression)
    info = inspect(message, verify=True)
    tensors = {tensor.name: tensor for tensor in info.tensors}
    assert tensors["zeros"].encoding == encoding
    assert tensors["zeros"].compression == compression
    assert tensors["zeros"].nbytes == 16 * CHUNK
    assert tensors["zeros"].stored_nbytes <= 16 * CHUNK
    assert (tensors["noise"].encoding, tensors["noise"].compression) == ("raw", None)
    assert tensors["noise"].stored_nbytes == tensors["noise"].nbytes
    ways = " + ".join(way for way in (encoding, compression) if way not in ("raw", None))
    assert f"{tensors['zeros'].stored_nbytes:,} as {ways}" in str(info)
    assert (encoding in {tensor.encoding for tensor in info.tensors}) or encoding == "raw"


# ------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"encoding": "int4"}, ValueError, "encoding 'int4' is not known; expected one of 'raw', 'float16'"),
        (
            {"compression": "gzip"},
            ValueError,
            "compression 'gzip' is not known; expected one of 'zstd', 'lz4', or None",
        ),
    ],
)
def test_unknown_encodings_are_refused(options, error, text):
    for obj in {}, np.zeros(1):
        with pytest.raises(error, match=text):
            dumps(obj, **options)


def test_an_element_that_cannot_be_encoded_is_named_and_nothing_is_written(tmp_path):
    bad = {"fine": np.ones(3), "w": np.float32([[0, 1], [np.inf, 2]])}
    for write in (
        lambda: dumps(bad, encoding="int8"),
        lambda: dump_parts(bad, encoding="int8"),
        lambda: save(tmp_path / "a.msg", bad, encoding="int8"),
        lambda: dumps(bad, encoding="int8", compression="lz4"),
    ):
        with pytest.raises(
            ValueError, match=r"tensor 'w' holds inf at \(1, 0\), which the encoding 'int8' has no place for"
        ):
            write()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"the array holds 70000.0 at \(1,\).*use 'bfloat16'"):
        dumps(np.float64([1, 7e4]), encoding="float16")


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"encodings": b"\x04"}, "unknown encoding 0x04; the message needs a newer version"),
        ({"encodings": b"\x01\x01"}, "'encodings' has 2 entries, expected 1"),
        ({"encodings": b""}, "'encodings' has 0 entries, expected 1"),
        ({"encodings": 1}, "'encodings': got int"),
        ({"encodings": b"\x01", "dtypes": b"\x22"}, "the encoding 'float16' is for float32 and float64"),
        ({"compression": "zstd"}, "'stored' has 0 entries, expected 1"),
        ({"compression": b"zstd", "stored": bytes(8)}, "'compression': got bytes"),
        (
            {"compression": "brotli", "stored": bytes(8)},
            "unknown compression 'brotli'; the message needs a newer version",
        ),
        ({"stored": bytes(8)}, "'stored' without 'compression'"),
        ({"compression": "zstd", "stored": bytes(16)}, "2 entries in 'stored'; there may be at most 1"),
        ({"compression": "zstd", "stored": bytes(7)}, "not a multiple of 8"),
        (
            {"compression": "zstd", "stored": b"\x09" + bytes(7)},
            "a compressed tensor takes more bytes than one that is not",
        ),
        ({"compression": "zstd", "stored": b"\xff" * 8}, "a compressed tensor takes more bytes"),
    ],
)
def test_headers_that_do_not_fit_are_refused(forge, columns, text):
    for enter in loads, inspect, verify, lambda message: list(iter_load(io.BytesIO(message))):
        with pytest.raises(FormatError, match=text):
            enter(forge(**columns))


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_message_inflates_to_max_bytes_and_no_further(compression, tmp_path):
    obj = {"a": np.zeros(1 << 20, "f4"), "b": RNG.integers(0, 256, 99).astype("u1")}  # the second does not shrink
    message = dumps(obj, compression=compression)
    save(tmp_path / "a.msg", obj, compression=compression)
    ways = {
        "loads": lambda limit: loads(message, max_bytes=limit),
        "copy": lambda limit: loads(message, copy=True, max_bytes=limit),
        "load": lambda limit: load(tmp_path / "a.msg", max_bytes=limit),
        "owned": lambda limit: load(tmp_path / "a.msg", mmap=False, max_bytes=limit),
        "stream": lambda limit: next(iter_load(io.BytesIO(message), max_bytes=limit)),
    }
    for way in ways.values():
        same(way(1 << 22), obj)
        tracemalloc.start()
        with pytest.raises(
            FormatError, match=f"inflate to {1 << 22} bytes, from a message of {len(message)}; the limit is 1000"
        ):
            way(1000)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(message) + (1 << 20)
        tracemalloc.stop()
    load_into(obj, message)  # the arrays are the limit


def test_a_header_that_promises_more_than_1_gib_is_refused_by_default(forge):
    dims = (2**30).to_bytes(8, "little")
    message = forge((9,), dims=dims, dim_width=8, compression="zstd", stored=b"\x09" + bytes(7))
    tracemalloc.start()
    for enter in loads, lambda data: list(iter_load(io.BytesIO(data))):
        with pytest.raises(FormatError, match=f"inflate to {2**32} bytes.*Pass max_bytes={2**32} if you trust"):
            enter(message)
    with pytest.raises(FormatError, match="the lengths of its compressed chunks do not fit"):
        check_stored(open_message(as_memory(message, "")))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


CORPUS = [
    dumps(
        {"a": np.arange(300, dtype="f4"), "b": np.arange(40) % 2 == 0, "c": np.arange(90.0)}, encoding=e, compression=c
    )
    for e, c in WAYS
]


@max_examples(300)
@given(st.sampled_from(CORPUS), st.data())
def test_a_mutated_message_raises_a_format_error_or_is_a_message(message, data):
    changed = bytearray(message)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(changed)))
        changed[position : position + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    judged(message, changed)


@max_examples(300)
@given(st.sampled_from(CORPUS), st.data())
def test_mutated_payloads_and_columns_raise_a_format_error_without_their_checksums(message, data):
    _, header, _, body = msgpack.unpackb(message)
    columns = msgpack.unpackb(header)
    del columns["checksums"]
    for key in ("encodings", "stored", "dims"):
        if key in columns and data.draw(st.booleans()):
            raw = bytearray(columns[key])
            raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
            columns[key] = bytes(raw)
    header = msgpack.packb(columns)
    payloads = [bytearray(payload) for payload in body[1::2]]
    for payload in payloads:
        if payload and data.draw(st.booleans()):
            payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    judged(message, framed(header, [bytes(payload) for payload in payloads]))


def test_every_byte_of_a_stored_payload_is_covered_by_its_checksum():
    message = bytearray(dumps({"a": np.arange(50, dtype="f4")}, encoding="int8", compression=None))
    start = inspect(message).tensors[0].offset
    for position in range(start, len(message)):
        message[position] ^= 1
        with pytest.raises(FormatError, match=r"tensor 'a' .* is damaged: its checksum does not match"):
            loads(message)
        message[position] ^= 1


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_without_its_library_a_compressed_message_is_inspected_and_not_read(compression, monkeypatch):
    message = dumps(np.zeros(9999), compression=compression)
    for name in ["compression.zstd", "backports.zstd", "lz4.block"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match=r"pip install 'sparknet\[compression\]'"):
        loads(message)
    with pytest.raises(MissingDependency, match=r"pip install 'sparknet\[compression\]'"):
        dumps({}, compression=compression)
    assert inspect(message).tensors[0].compression == compression


def test_a_codec_writes_and_reads_encoded_messages_of_one_size():
    example = {"a": np.ones((300, 7), "f4"), "b": np.arange(4)}
    codec = Codec(example, encoding="int8")
    obj = {"a": np.full((300, 7), 0.5, "f4"), "b": np.arange(4)}
    message = codec.dumps(obj)
    assert message == dumps(obj, encoding="int8")
    assert len(message) == codec.nbytes
    same(codec.loads(message), loads(message))
    live = {"a": np.zeros((300, 7), "f4"), "b": np.zeros(4, int)}
    codec.load_into(live, message)
    same(live, loads(message))


@pytest.mark.parametrize("encoding", ENCODINGS[1:])
def test_encoding_into_a_buffer_or_a_file_takes_no_memory_of_the_size_of_the_weights(encoding, tmp_path):
    obj = {"a": np.ones((64, CHUNK), "f4")}  # 32 MiB
    buffer = np.empty(1 << 25, np.uint8)
    room = cores._cores() * scratch_for(1 << 23).nbytes + (
        1 << 20
    )  # what each core works in, and the objects themselves
    for write in (
        lambda: dumps_into(obj, buffer, encoding=encoding),
        lambda: save(tmp_path / "a", obj, encoding=encoding),
    ):
        tracemalloc.start()
        write()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < room
    tracemalloc.start()
    loads(buffer[: dumps_into(obj, buffer, encoding=encoding)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (1 << 25) + room
