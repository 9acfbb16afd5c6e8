"""The limits of the format, to the last one that is allowed, and which ways of reading verify what."""

import io

import msgpack
import numpy as np
import pytest

from sparknet import FormatError, dumps, iter_load, load, load_into, loads
from sparknet.serialization import Codec, inspect, verify
from sparknet.serialization.message.header import Header, over_limit
from sparknet.serialization.reader import decode
from sparknet.serialization.reader.header_reading import decode_header

TENSORS, AXES, BYTES = 2**17, 2**20, 2**48  # as the page of the format says
INT8 = b"\x10"


def header(count=0, shapes=(), names=0):
    return Header("mapping", ["a"] * names, [], INT8 * count, list(shapes), None)


@pytest.mark.parametrize(
    ("last", "beyond", "said"),
    [
        (
            header(TENSORS, [(0,)] * TENSORS),
            header(TENSORS + 1, [(0,)] * TENSORS),
            "131073 tensors; a message holds at most 131072",
        ),
        (header(names=TENSORS), header(names=TENSORS + 1), "131073 names; a message holds at most 131072"),
        (
            header(shapes=[(1,) * 64] * (AXES // 64)),
            header(shapes=[(1,) * 64] * (AXES // 64) + [(1,)]),
            "1048577 axes; a message holds at most 1048576",
        ),
        (
            header(2, [(BYTES - 1,), (1,)]),
            header(2, [(BYTES - 1,), (2,)]),
            "281474976710657 bytes of tensors; a message holds at most 281474976710656",
        ),
    ],
    ids=["tensors", "names", "axes", "bytes"],
)
def test_no_message_is_over_a_limit_by_one(last, beyond, said):
    assert over_limit(last, 0) == ""
    assert over_limit(beyond, 0) == said


def raw(count, shape=(0,), **columns):
    """Return the header of so many tensors of one shape."""
    made = {"kind": "mapping", "names": "\0".join(map(str, range(count))), "dtypes": INT8 * count}
    made |= {"ndims": bytes([len(shape)]) * count, "dim_width": 8, "dims": np.array(shape * count, "<u8").tobytes()}
    return msgpack.packb(made | columns)


def test_a_reader_takes_as_many_tensors_names_and_axes_as_a_message_may_have():
    assert len(decode_header(raw(TENSORS)).names) == TENSORS
    assert decode_header(raw(AXES // 64, (1,) * 64)).shapes[-1] == (1,) * 64
    with pytest.raises(FormatError, match="131073 tensors"):
        decode_header(raw(TENSORS + 1))
    with pytest.raises(FormatError, match="131073 names"):
        decode_header(raw(1, names="\0".join(map(str, range(TENSORS + 1)))))
    with pytest.raises(FormatError, match="1048577 entries in 'dims'"):
        decode_header(raw(1, dims=bytes(8 * (AXES + 1))))
    with pytest.raises(FormatError, match="asks for 65 dims, at most 64 each"):
        decode_header(raw(1, (1,) * 65))


def test_the_other_lengths_of_an_empty_tensor_multiply_to_what_has_an_address():
    assert decode_header(raw(1, (0, 2**63 - 1))).shapes == [(0, 2**63 - 1)]
    with pytest.raises(FormatError, match="lengths multiply to 2\\*\\*63 bytes or more"):
        decode_header(raw(1, (0, 2**63)))
    with pytest.raises(FormatError, match="lengths multiply to"):
        decode_header(raw(1, (0, 2**62), dtypes=b"\x21"))  # of two bytes each


# ---- verify=
def test_up_to_a_mebibyte_is_verified_wherever_it_is_read():
    assert decode.SMALL == 1 << 20
    assert decode.ReadOptions().is_due(1 << 20)
    assert not decode.ReadOptions().is_due((1 << 20) + 1)


LARGE = {"a": np.arange(300_000, dtype="<i8"), "flags": np.array([True, False])}
WAYS = {
    "loads": loads,
    "loads, copied": lambda message, **options: loads(message, copy=True, **options),
    "Codec.loads": lambda message, **options: Codec(LARGE).loads(message, **options),
    "Codec.load_into": lambda message, **options: Codec(LARGE).load_into(_live(), message, **options),
    "load": lambda message, **options: load(io.BytesIO(message), **options),
    "iter_load": lambda message, **options: next(iter_load(io.BytesIO(message), **options)),
    "load_into": lambda message, **options: load_into(_live(), message, **options),
    "load_into, stream": lambda message, **options: load_into(_live(), io.BytesIO(message), **options),
}


def _live():
    return {name: np.zeros_like(array) for name, array in LARGE.items()}


def damaged(offset):
    """Return the message with another byte so far before its end, where the two flags are."""
    message = bytearray(dumps(LARGE))
    message[-1 - offset] = 7
    return bytes(message)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [0, 1000], ids=["flag", "number"])
def test_what_is_damaged_is_refused_by_verify_and_a_bool_that_is_none_by_every_reader_that_reads_it(way, at):
    with pytest.raises(FormatError, match="checksum does not match"):
        WAYS[way](damaged(at), verify=True)
    reads_flags = at == 0 and "load_into" in way
    if reads_flags:
        with pytest.raises(FormatError, match="neither 0 nor 1"):
            WAYS[way](damaged(at), verify=False)
    else:
        WAYS[way](damaged(at), verify=False)


@pytest.mark.parametrize("way", WAYS)
def test_a_large_message_is_verified_by_default_where_it_is_read_and_not_where_it_is_viewed(way):
    if way in {"loads", "Codec.loads"}:
        WAYS[way](damaged(1000))
    else:
        with pytest.raises(FormatError, match="checksum does not match"):
            WAYS[way](damaged(1000))


@pytest.mark.parametrize("way", WAYS)
def test_a_message_without_checksums_is_read_unless_verify_asks_for_them(way):
    message = dumps(LARGE, checksum=False)
    WAYS[way](message)
    WAYS[way](message, verify=False)
    with pytest.raises(FormatError, match="verify=True, but the message carries no checksums"):
        WAYS[way](message, verify=True)


@pytest.mark.parametrize("read", [verify, lambda message: inspect(message, verify=True)], ids=["verify", "inspect"])
def test_all_of_a_message_is_verified_where_that_is_what_is_asked(read):
    read(dumps(LARGE))
    for message in damaged(0), damaged(1000):
        inspect(message)
        with pytest.raises(FormatError, match="checksum does not match"):
            read(message)
    with pytest.raises(FormatError, match="carries no checksums"):
        read(dumps(LARGE, checksum=False))
