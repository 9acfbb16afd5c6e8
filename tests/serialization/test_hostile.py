"""Whatever the bytes: a FormatError or a valid value, in memory bounded by the message. The 25 classes of attack."""

import io
import re
import tracemalloc

import msgpack
import numpy as np
import pytest
from fuzz.oracles import judged
from hypothesis import given
from hypothesis import strategies as st
from strategies import max_examples

from sparknet import FormatError, dumps, iter_load, load, loads
from sparknet.serialization import inspect, verify
from sparknet.serialization.message import layout

CORPUS = [
    dumps({"a": np.arange(3, dtype="float32"), "b": np.ones((2, 2), bool)}, metadata={"k": [1, {"x": None}]}),
    dumps(np.arange(40, dtype="int16")),
]


def refused(message, text, limit=2 << 20):
    """Every entry point refuses the message with this text, in little memory and time."""
    names = ("loads", "loads, copied", "inspect", "verify", "iter_load")
    for outcome in judged(CORPUS[0], message, names=names, traced=True).values():
        assert re.search(text, str(outcome.error))
        assert hasattr(outcome.error, "tensor")
        assert outcome.memory < limit + 4 * len(message)


def dims(*values, width=8):
    return {"dims": np.array(values, f"<u{width}").tobytes(), "ndims": bytes([len(values)]), "dim_width": width}


@pytest.mark.parametrize(
    "first", [b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"]
)
def test_01_a_huge_declared_string_bin_array_or_map(forge, first):
    refused(forge(raw=first), "unusable header")
    refused(forge(raw=b"\x86\xa4kind" + first), "unusable header")
    refused(first, "not a sparknet message")


@pytest.mark.parametrize("size", [2**26 + 1, 2**32 - 1])
def test_02_a_huge_header_length(size):
    refused(layout.MAGIC + b"\xc6" + size.to_bytes(4, "big") + bytes(100), "the limit is 67108864 bytes")


def test_02_a_header_longer_than_the_message():
    refused(layout.MAGIC + b"\xc6" + (2**26).to_bytes(4, "big") + bytes(100), "truncated")


def test_03_nested_arrays_that_allocate_before_they_are_filled(forge):
    nested = msgpack.packb("kind").join([b"\x81", b""]) + b"\xdc\x04\x00" * 500
    refused(forge(raw=nested), "unusable header", limit=1 << 24)
    refused(forge(raw=nested.replace(b"\xdc\x04\x00", b"\xdc\xff\xff")), "unusable header")


def test_04_depth(forge):
    refused(forge(raw=b"\x91" * 100_000), "unusable header")
    refused(forge(raw=b"\x81\xa8metadata" + b"\x81\xa1a" * 100_000), "unusable header")
    deep = {"a": [[[[[[0]]]]]]}
    refused(forge(metadata=deep), "deeper than 4")


@pytest.mark.parametrize("code", [0x00, 0x80, 0xFF, ord("O"), ord("V")])
def test_05_and_09_object_void_and_unknown_dtypes(forge, code):
    refused(forge(dtypes=bytes([code])), "unknown dtype code 0x.*newer version")


@pytest.mark.parametrize("value", ["<f4", 66, ["<f4"], None, "O8"])
def test_05_a_dtype_as_text(forge, value):
    refused(forge(dtypes=value), "'dtypes': got")


@pytest.mark.parametrize("value", [[-1], [2.0], [True], -1, "2"])
def test_06_and_22_negative_float_and_bool_dims(forge, value):
    refused(forge(dims=value), "'dims': got")
    refused(forge(ndims=value), "'ndims': got")


def test_07_a_product_that_overflows(forge):
    refused(forge(**dims(2**32, 2**32)), "a message holds at most")
    refused(forge(**dims(2**63, 2)), "a message holds at most")


def test_08_zero_times_huge(forge):
    refused(forge(sizes=(0,), **dims(0, 2**62)), "lengths multiply to")
    assert loads(forge(sizes=(0,), **dims(0, 2**40)))["a"].shape == (0, 2**40)


def test_10_a_shape_smaller_than_the_data(forge):
    refused(forge(sizes=(8,), dims=b"\x01"), "4 more bytes follow|got 0x08, expected 0x04")


def test_10_a_shape_larger_than_the_data(forge):
    refused(forge(sizes=(8,), dims=b"\x03"), "truncated")


def test_11_holes_and_overlaps(forge):
    message = forge()
    for position in range(layout.START + layout.header_size(message[: layout.START]) + 10, len(message) - 8):
        changed = bytearray(message)
        changed[position] ^= 0xFF
        for enter in loads, verify:
            with pytest.raises(FormatError, match=f"byte {position}, before tensor 'a'"):
                enter(changed)


def test_11_more_payloads_than_the_header_says(forge):
    refused(forge(count=7), "an array 32 of 2 pads and payloads")


def test_12_duplicate_names(forge):
    refused(forge(sizes=(4, 4), names="a\0a", dtypes=b"\x42\x42", ndims=b"\0\0", dims=b""), "the name 'a' occurs twice")
    refused(
        forge(sizes=(4, 4), kind="weights", names="a\0a", counts=bytes(8), dtypes=b"", ndims=b"", dims=b""),
        "occurs twice",
    )


def test_12_duplicate_keys(forge):
    refused(forge(raw=b"\x82\xa4kind\xa5array\xa4kind\xa5array"), "a key twice")
    refused(forge(raw=b"\x81\xa8metadata\x82\xa1a\x01\xa1a\x02"), "a key twice")


@pytest.mark.parametrize("key", [b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\x05", b"\x92\x01\x02", b"\xc0", b"\xc4\x01a"])
def test_13_and_14_keys_that_are_no_strings(forge, key):
    refused(forge(raw=b"\x81" + key + b"\x01"), "unusable header")
    refused(forge(raw=b"\x81\xa8metadata\x81" + key + b"\x01"), "unusable header")


def test_14_many_keys(forge):
    refused(forge(metadata={str(i): 0 for i in range(1025)}), "unusable header")


def test_15_truncation(forge):
    message = forge()
    for length in range(len(message)):
        with pytest.raises(FormatError):
            loads(message[:length])


def test_16_trailing_bytes(forge):
    for enter in loads, verify, inspect:
        with pytest.raises(FormatError, match="1 more bytes follow"):
            enter(forge() + b"\0")
    good = msgpack.packb({"kind": "array"})
    refused(forge(raw=good + b"\xc0"), "unusable header")


def test_17_a_bomb(forge):
    dims = (2**40).to_bytes(8, "little")
    bomb = forge((9,), dims=dims, dim_width=8, compression="zstd", stored=b"\x09" + bytes(7))
    for enter in loads, lambda data: list(iter_load(io.BytesIO(data))):
        with pytest.raises(
            FormatError, match=f"inflate to {2**42} bytes, from a message of {len(bomb)}; the limit is {2**30}"
        ):
            enter(bomb)
    refused(forge(compression="zip", stored=bytes(8)), "unknown compression 'zip'; the message needs a newer version")
    refused(forge(encodings=b"\x09"), "unknown encoding 0x09; the message needs a newer version")


def test_18_a_name_that_is_not_utf_8(forge):
    refused(forge(raw=b"\x81\xa4kind\xa2\xff\xfe"), "unusable header.*UnicodeDecodeError")


def test_19_there_is_no_byte_order_to_flip(forge):
    assert loads(forge())["a"].dtype == np.dtype("<f4")
    refused(forge(byteorder=">"), "unknown keys")


def test_20_a_dtype_bomb(forge):
    refused(forge(dtypes="f4," * 200_000), "'dtypes': got str")


def test_21_a_nested_structured_dtype(forge):
    nested = "f4"
    for _ in range(450):
        nested = [["a", nested]]
    refused(forge(dtypes=nested), "'dtypes': got list")


def test_22_too_many_axes(forge):
    refused(forge(sizes=(4,), ndims=b"\x64", dims=b"\x01" * 100), "at most 64 each")
    refused(forge(ndims=b"\x02"), "asks for 2 dims")
    refused(forge(dim_width=3), "'dim_width' is 3")
    refused(forge(dim_width=True), "'dim_width': got bool")
    refused(forge(dim_width=2), "not a multiple of 2")


@pytest.mark.parametrize("ext", [b"\xd4\x05\x01", b"\xc7\x00\x05", b"\xd6\xff\0\0\0\0", b"\xc9\xff\xff\xff\xff\x05"])
def test_23_extension_types(forge, ext):
    refused(forge(raw=b"\x81\xa4kind" + ext), "unusable header")
    refused(forge(raw=b"\x81\xa8metadata\x81\xa1a" + ext), "unusable header")


def test_24_a_million_empty_tensors():
    n = 10**6
    honest = {"kind": "array", "dtypes": b"\x42", "ndims": b"\x01", "dim_width": 1, "dims": b"\x02"}
    columns = {"kind": "mapping", "names": "\0".join(map(str, range(n))), "dtypes": b"\x42" * n}
    raw = msgpack.packb(columns | {"ndims": b"\x01" * n, "dim_width": 1, "dims": bytes(n)})
    refused(layout.head(raw, n), "1000000 tensors; there may be at most 131072")
    names = msgpack.packb(columns | {"dtypes": b"", "ndims": b"", "dim_width": 1, "dims": b""})
    refused(layout.head(names, 0), "1000000 names; there may be at most 131072")
    refused(layout.head(msgpack.packb(honest | {"dims": bytes(n * 2)}), 1), "2000000 entries in 'dims'")
    refused(layout.head(msgpack.packb(honest | {"ndims": bytes(n)}), 1), "1000000 entries in 'ndims'")
    refused(layout.head(msgpack.packb(honest | {"checksums": bytes(4 * n)}), 1), "1000000 entries in 'checksums'")


def test_25_a_bool_that_is_neither_0_nor_1(forge):
    message = bytearray(forge(sizes=(2,), dtypes=b"\x10"))
    message[-1] = 0xFF
    for enter in (lambda data: loads(data, copy=True), lambda data: list(iter_load(io.BytesIO(data)))):
        with pytest.raises(FormatError, match="neither 0 nor 1") as caught:
            enter(message)
        assert caught.value.tensor == "a"


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"kind": "pickle"}, "kind 'pickle', expected one of array, mapping, weights"),
        ({"kind": None}, "'kind': got nothing, expected str"),
        ({"kind": "array"}, "it has no place for names"),
        ({"counts": b"\0\0\0\0"}, "it has no place for counts"),
        ({"names": "a\0b"}, "'dtypes' has 1 entries, expected 2"),
        ({"names": None}, "'names': got nothing"),
        ({"ndims": b"\x01\0"}, "2 entries in 'ndims'; there may be at most 1"),
        ({"checksums": b""}, "'checksums' has 0 entries"),
        ({"checksums": b"\0"}, "not a multiple of 4"),
        ({"kind": "weights"}, "'counts': got nothing"),
        ({"kind": "weights", "counts": b"\xff\xff\xff\xff"}, "'dtypes' has 1 entries, expected 4294967295"),
        ({"kind": "weights", "counts": b""}, "1 names and 0 counts"),
        ({"metadata": [1]}, "'metadata': got list"),
    ],
)
def test_columns_that_do_not_fit_one_another(forge, columns, text):
    refused(forge(**columns), text)


def test_a_stream_that_promises_more_than_it_holds_costs_no_memory(forge):
    message = forge(**dims(2**44), count=2**14 + 1)[:4096]
    tracemalloc.start()
    with pytest.raises(FormatError, match="truncated"):
        list(iter_load(io.BytesIO(message)))
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_files_are_refused_like_messages(tmp_path, forge):
    path = tmp_path / "bad.msg"
    for content in b"", b"\x94", forge()[:-1], forge() + b"\0", b"PK\x03\x04" * 100:
        path.write_bytes(content)
        for options in {}, {"mmap": False}, {"keys": ["a"]}:
            with pytest.raises(FormatError):
                load(path, **options)


@max_examples(500)
@given(st.sampled_from(CORPUS), st.data())
def test_a_mutated_message_raises_a_format_error_or_is_a_message(message, data):
    changed = bytearray(message)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(changed)))
        changed[position : position + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    judged(message, changed)


@max_examples(500)
@given(st.binary(max_size=80))
def test_any_header_raises_a_format_error_or_is_a_header(raw):
    plan = layout.lay_out(len(raw), [])
    judged(CORPUS[0], layout.head(raw, len(plan.lengths)))
