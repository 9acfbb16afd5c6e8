"""A writer of protobuf's wire format, written from its specification: files that no library had a hand in."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from fuzz.readers import wire as wire_format
from fuzz.readers.wire import LENGTH, varint


def field(number, value):
    """Return a field: an int as a varint, text and bytes with their length before them."""
    return wire_format.field(number, LENGTH, value.encode() if isinstance(value, str) else value)


def blob(array, *, old=False, shape=None):
    """Return a BlobProto with packed data, its shape in the old fields or in the new one."""
    shape = array.shape if shape is None else shape
    if old:
        head = b"".join(field(number, length) for number, length in enumerate(shape, start=1))
    else:
        head = field(7, field(1, b"".join(map(varint, shape))))
    return head + field(8 if array.dtype == np.float64 else 5, array.tobytes())


def unpacked_blob(array):
    """Return a BlobProto whose elements are single fields, each with its own tag."""
    tag, letter = (8 << 3 | 1, "d") if array.dtype == np.float64 else (5 << 3 | 5, "f")
    dims = b"".join(field(1, length) for length in array.shape)
    return field(7, dims) + b"".join(varint(tag) + struct.pack(f"<{letter}", x) for x in array.ravel())


def layer(name, *blobs, number=1, blobs_number=7):
    """Return a LayerParameter."""
    return field(number, name) + b"".join(field(blobs_number, one) for one in blobs)


@pytest.fixture(scope="session")
def wire():
    """The functions above, and layers of all three generations as entries of a NetParameter."""
    return SimpleNamespace(
        field=field,
        blob=blob,
        unpacked_blob=unpacked_blob,
        new=lambda name, *blobs: field(100, layer(name, *blobs)),
        v1=lambda name, *blobs: field(2, layer(name, *blobs, number=4, blobs_number=6)),
        v0=lambda name, *blobs: field(2, field(1, layer(name, *blobs, blobs_number=50))),
    )
