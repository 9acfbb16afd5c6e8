"""How tensors lie in payloads: every dtype, encoding and compression, cut anywhere; bad bytes raise FormatErrors."""

import importlib
import sys
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import max_examples

from sparknet import FormatError
from sparknet.serialization.memory.cutting import recut
from sparknet.serialization.payload.codes import BFLOAT16, CHUNK, FLOAT16, INT8, RAW, chunk_lengths
from sparknet.serialization.payload.coding import compress, decode_payload, encode_elements, encoded_chunks
from sparknet.serialization.payload.dtypes import BOOL, NAMES, dtype_of
from sparknet.serialization.payload.form import Form, choose

FLOAT32, FLOAT64, INT16 = 0x42, 0x43, 0x21
METHODS = ["zstd", "lz4"]
SHAPES = [(), (0, 4), (1,), (3, 100), (2, CHUNK), (CHUNK + 1,), (5, 60_001)]


def elements_of(code, shape, seed=0):
    """Numbers of that type that compress, but not to nothing."""
    numbers = np.random.default_rng(seed).integers(0, 2 if code == BOOL else 50, shape)
    return np.array(numbers).astype(dtype_of(code))


def as_bytes(elements):
    return elements.reshape(-1).view(np.uint8)


def cut(data, *places):
    """The bytes in pieces, empty ones among them."""
    places = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in pairwise([0, *places, *places[-1:], len(data)])]


def payload_of(form, elements, method=None, places=()):
    pieces = cut(as_bytes(elements), *places)
    if method is None:
        return np.concatenate([np.empty(0, np.uint8), *(chunk.copy() for chunk in encoded_chunks(form, pieces))])
    return np.concatenate([np.empty(0, np.uint8), *compress(form, pieces, method)])


def restored(form, parts, method=None):
    elements = np.ones(form.shape, dtype_of(form.code))
    decode_payload(form, parts, method, elements, 128)
    decode_payload(form, parts, method, None, 128)
    return elements


def refused(form, payload, method, text):
    for elements in np.empty(form.shape, dtype_of(form.code)), None:
        with pytest.raises(FormatError, match=text) as caught:
            decode_payload(form, [payload], method, elements, 128)
        assert (caught.value.tensor, caught.value.offset) == (form.name, 128)
        assert str(caught.value).startswith(f"tensor {form.name!r} (from byte 128): ")


@pytest.mark.parametrize("code", NAMES, ids=NAMES.values())
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_elements_of_every_type_come_back_from_compression(code, method, shape):
    form, elements = Form("a", code, shape), elements_of(code, shape)
    payload = payload_of(form, elements, method)
    does_shrink = elements.size > 1 and (method == "zstd" or elements.itemsize > 1 or code == BOOL)
    assert len(payload) > 0 if does_shrink else len(payload) == 0 or method == "lz4"
    assert len(payload) < elements.nbytes or not elements.size
    if len(payload):
        assert (as_bytes(restored(form, [payload], method)) == as_bytes(elements)).all()


PLACES = st.lists(st.integers(0, 2**22), max_size=5)


@pytest.mark.parametrize("encoding", [FLOAT16, BFLOAT16, INT8])
@pytest.mark.parametrize("method", [None, *METHODS])
@max_examples(20)
@given(code=st.sampled_from([FLOAT32, FLOAT64]), places=PLACES, other=PLACES)
def test_where_bytes_are_cut_changes_nothing(code, encoding, method, places, other):
    shape = (CHUNK + 1000,)
    form, elements = Form("a", code, shape, encoding), elements_of(code, shape)
    payload = payload_of(form, elements)
    stored = payload_of(form, elements, method, places)
    assert method is not None or (stored == payload).all()
    back = restored(form, cut(stored, *other), method)
    assert (back == restored(form, [payload])).all()
    assert np.abs(back - elements).max() <= (0 if encoding != INT8 else 49 / 127 / 2 * (1 + 2**-13))  # 0 to 49


@pytest.mark.parametrize("encoding", [FLOAT16, BFLOAT16, INT8])
@pytest.mark.parametrize("code", [FLOAT32, FLOAT64])
@pytest.mark.parametrize("count", [1, CHUNK, 4 * CHUNK, 5 * CHUNK + 1, 17 * CHUNK + 300])
def test_several_cores_store_what_one_does(encoding, code, count):
    form, elements = Form("a", code, (count,), encoding), elements_of(code, (count,))
    stored = np.empty(form.size(count), np.uint8)
    encode_elements(form, as_bytes(elements), stored)
    assert (stored == payload_of(form, elements)).all()


@pytest.mark.parametrize("bad", [[0], [9 * CHUNK + 7], [CHUNK, 10 * CHUNK]])
def test_the_first_element_that_cannot_be_stored_is_named_whoever_finds_one_first(bad):
    elements = np.zeros(17 * CHUNK, np.float32)
    elements[bad] = np.nan
    form = Form("a", FLOAT32, elements.shape, INT8)
    with pytest.raises(ValueError, match=rf"holds nan at \({bad[0]},\)"):
        encode_elements(form, as_bytes(elements), np.empty(form.size(elements.size), np.uint8))


@pytest.mark.parametrize(
    ("encoding", "value", "fix"),
    [
        (INT8, 1e300, "use 'raw'$"),
        (INT8, np.inf, "use 'bfloat16', .*, or 'raw'$"),
        (FLOAT16, -3.4e38, "use 'raw'$"),
        (FLOAT16, 1e5, "use 'bfloat16', .*, or 'raw'$"),
    ],
)
def test_what_cannot_be_stored_gets_advice_that_can_be_followed(encoding, value, fix):
    form = Form("a", FLOAT64, (1,), encoding)
    with pytest.raises(ValueError, match=fix):
        encode_elements(form, as_bytes(np.array([value])), np.empty(form.size(1), np.uint8))


def test_raw_chunks_are_views():
    elements = elements_of(INT16, (CHUNK + 5,))
    chunks = list(encoded_chunks(Form("a", INT16, elements.shape), [as_bytes(elements)]))
    assert [len(chunk) for chunk in chunks] == [2 * CHUNK, 10]
    assert all(np.shares_memory(chunk, elements) for chunk in chunks)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_does_not_shrink_is_not_compressed(method):
    noise = np.frombuffer(np.random.default_rng(3).bytes(1 << 18), "<i2")
    assert compress(Form("a", INT16, noise.shape), [as_bytes(noise)], method) == []
    assert compress(Form("a", INT16, (0,)), [], method) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_chunk_that_does_not_shrink_is_kept_beside_those_that_do(method):
    noise = np.frombuffer(np.random.default_rng(3).bytes(CHUNK), np.uint8)
    elements = np.concatenate([noise, np.zeros(CHUNK, np.uint8), noise[:99]])
    form = Form("a", 0x30, elements.shape)
    payload = payload_of(form, elements, method)
    assert payload[:12].view("<u4").tolist() == [CHUNK, len(payload) - 12 - CHUNK - 99, 99]
    assert (payload[12 : 12 + CHUNK] == noise).all()
    assert (restored(form, [payload], method) == elements).all()


def test_encodings_are_chosen_for_floats_that_get_smaller():
    codes = bytes([FLOAT32, FLOAT64, INT16, 0x41, 0x51, 0x83, BOOL, FLOAT32, FLOAT32])
    shapes = [(2,)] * 7 + [(), (0,)]
    assert choose("raw", codes, shapes) == b""
    assert choose("int8", codes[2:7], shapes[2:7]) == b""
    assert choose("int8", codes, shapes) == bytes([INT8, INT8, 0, 0, 0, 0, 0, RAW, RAW])  # one float32: 5 bytes
    assert choose("bfloat16", codes, shapes) == bytes([BFLOAT16, BFLOAT16, 0, 0, 0, 0, 0, BFLOAT16, RAW])
    with pytest.raises(
        ValueError, match="encoding 'int4' is not known; expected one of 'raw', 'float16', 'bfloat16', 'int8'"
    ):
        choose("int4", codes, shapes)


@pytest.mark.parametrize(
    ("encoding", "value", "text"),
    [
        (
            FLOAT16,
            1e5,
            r"tensor 'conv1\[0\]' holds 100000.0 at \(1, 70000\), which the encoding 'float16' has no place for",
        ),
        (INT8, np.nan, r"tensor 'conv1\[0\]' holds nan at \(1, 70000\).*use 'bfloat16'"),
    ],
)
def test_what_cannot_be_encoded_is_named_with_its_place(encoding, value, text):
    elements = np.ones((2, 80_000), np.float32)
    elements[1, 70_000] = value
    form = Form("conv1[0]", FLOAT32, elements.shape, encoding)
    with pytest.raises(ValueError, match=text):
        payload_of(form, elements)
    with pytest.raises(ValueError, match=text):
        compress(form, [as_bytes(elements)], "lz4")
    with pytest.raises(ValueError, match=r"^the array holds .* at \(\)"):
        payload_of(Form("", FLOAT32, (), encoding), np.array(value, np.float32))


# ------------------------------------------------------------------------------------- hostile bytes


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("change", [[1, -1, 0], [-1, 1, 0], [0, 0, 200], [0, 0, -1], [2**31, -(2**31), 0]], ids=str)
def test_lengths_of_chunks_that_do_not_fit_are_refused(method, change):
    form, payload = three_chunks(method)
    payload[:12].view("<u4")[:] += np.array(change, "<i8").astype("<u4")
    refused(form, payload, method, "lengths of its compressed chunks do not fit|cannot be inflated")


@pytest.mark.parametrize("method", METHODS)
def test_a_chunk_of_no_bytes_is_refused(method):
    form, payload = three_chunks(method)
    table = payload[:12].view("<u4")
    table[:] = 0, table[0] + table[1], table[2]
    refused(form, payload, method, "lengths of its compressed chunks do not fit")


@pytest.mark.parametrize("method", METHODS)
def test_a_compressed_chunk_that_is_larger_than_the_chunk_is_refused(method):
    form, payload = three_chunks(method)
    table = payload[:12].view("<u4")
    payload = np.append(payload[: len(payload) - table[2]], np.zeros(201, np.uint8))
    payload[8:12] = 201, 0, 0, 0
    refused(form, payload, method, "lengths of its compressed chunks do not fit")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [0, 3, 11, 12, 13, -1])
def test_a_payload_that_ends_early_is_refused(method, size):
    form, payload = three_chunks(method)
    refused(form, payload[:size], method, "lengths of its compressed chunks do not fit")


@pytest.mark.parametrize("method", METHODS)
def test_bytes_after_the_last_chunk_are_refused(method):
    form, payload = three_chunks(method)
    refused(form, np.append(payload, np.uint8(0)), method, "lengths of its compressed chunks do not fit")


def three_chunks(method):
    form = Form("a", INT16, (2 * CHUNK + 100,))
    return form, payload_of(form, elements_of(INT16, form.shape), method)


@pytest.mark.parametrize("method", METHODS)
def test_a_payload_without_room_for_its_chunks_costs_no_memory(method):
    form = Form("a", FLOAT64, (2**20, 2**20))
    tracemalloc.start()
    with pytest.raises(FormatError, match="lengths of its compressed chunks"):
        decode_payload(form, [np.zeros(1000, np.uint8)], method, None, 128)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20  # the scratch memory of a chunk
    tracemalloc.stop()


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
def test_changed_payloads_are_refused_or_restored(method, data):
    shape = data.draw(st.sampled_from([(40, 30), (CHUNK + 9,)]))
    encoding = data.draw(st.sampled_from([RAW, FLOAT16, INT8]))
    form = Form("a", FLOAT32, shape, encoding)
    payload = payload_of(form, elements_of(FLOAT32, shape), method)
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    expected = as_the_page_says(form, payload.tobytes(), method)
    if expected is None:
        for elements in np.empty(form.shape, dtype_of(form.code)), None:
            with pytest.raises(FormatError):
                decode_payload(form, [payload], method, elements, 128)
    else:
        assert restored(form, [payload], method).tobytes() == expected.tobytes()


def as_the_page_says(form, payload, method):
    """The elements of float32 in a compressed payload, by the library's own function and numpy; None if it is to be refused."""
    counts = list(chunk_lengths(form.count))
    lengths, rest = np.frombuffer(payload, "<u4", len(counts)).tolist(), payload[4 * len(counts) :]
    if sum(lengths) != len(rest) or 0 in lengths:
        return None
    found = []
    for count, length in zip(counts, lengths, strict=True):
        size, chunk, rest = form.size(count), rest[:length], rest[length:]
        if length < size:
            planes = plainly_inflated(method, chunk, size)
            chunk = b"" if planes is None else np.frombuffer(planes, np.uint8).reshape(form.width, -1).T.tobytes()
        if len(chunk) != size:
            return None
        found.append(decoded_by_numpy(form.encoding, chunk, count))
    return None if any(values is None for values in found) else np.concatenate(found)


def plainly_inflated(method, stored, size):
    """What the library makes of a chunk of so many bytes; None where it refuses it, or gives another number of bytes."""
    if method == "lz4":
        lz4 = importlib.import_module("lz4.block")
        inflate, error = lambda: lz4.decompress(stored, uncompressed_size=size), lz4.LZ4BlockError
    else:
        zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
        frame = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 21})
        inflate, error = lambda: frame.decompress(stored, size + 1), zstd.ZstdError
    try:
        planes = inflate()
    except error:
        return None
    is_whole = method == "lz4" or (frame.eof and not frame.unused_data)
    return planes if is_whole and len(planes) == size else None


def decoded_by_numpy(encoding, stored, count):
    """The float32 values in a chunk; None where a scale or code is none that is written."""
    if encoding == RAW:
        return np.frombuffer(stored, "<f4")
    if encoding == FLOAT16:
        return np.frombuffer(stored, "<f2").astype("<f4")
    blocks = -(-count // 256)
    scales, codes = np.frombuffer(stored, "<f4", blocks), np.frombuffer(stored, np.int8, count, 4 * blocks)
    bits, least, most = scales.view("<u4"), 1 << 23, int(np.float32(float.fromhex("0x1.020406p+121")).view("<u4"))
    if ((bits != 0) & ((bits < least) | (bits > most))).any() or (codes == -128).any():
        return None
    return codes * np.repeat(scales, 256)[:count]


@pytest.mark.parametrize("method", [None, *METHODS])
def test_a_bool_that_is_neither_0_nor_1_is_refused(method):
    elements = np.ones(5000, np.uint8)
    elements[-1] = 2
    payload = payload_of(Form("a", 0x30, (5000,)), elements, method)
    refused(Form("a", BOOL, (5000,)), payload, method, "a bool is neither 0 nor 1")


def test_bad_scales_are_refused():
    elements = elements_of(FLOAT32, (CHUNK + 5,))
    form = Form("a", FLOAT32, elements.shape, INT8)
    payload = payload_of(form, elements)
    payload[-9:-5] = 0xFF  # the scale of the last chunk, before its 5 codes
    refused(form, payload, None, "a scale is nan")


@given(st.lists(st.integers(0, 9), max_size=8), st.lists(st.integers(1, 9), max_size=8))
def test_recut_bytes_are_the_same_bytes(have, want):
    total = min(sum(have), sum(want))
    data = np.arange(sum(have), dtype=np.uint8)
    pieces = np.split(data, np.cumsum(have)[:-1]) if have else []
    sizes = [size for size, end in zip(want, np.cumsum(want), strict=True) if end <= total]
    runs = list(recut(pieces, sizes))
    assert [len(run) for run in runs] == sizes
    assert b"".join(run.tobytes() for run in runs) == data.tobytes()[: sum(sizes)]


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_chunks_are_full_but_for_the_last(count):
    found = list(chunk_lengths(count))
    assert sum(found) == count
    assert all(length == CHUNK for length in found[:-1])
    assert all(0 < length <= CHUNK for length in found)
