"""Columns of a header that are changed: other dtypes, shapes, names, encodings, lengths, and values of other types.

Each way changes a header in place. One that does not go with the header raises whatever comes, and changes nothing that matters.
"""

import msgpack
import numpy as np
from fuzz.damage import BOUNDARIES

from sparknet.serialization.payload import dtypes

ODD = [None, True, -1, 1.5, float("nan"), "", "\0", "a" * 300, b"", b"\xff" * 9, [], [[[]]], {}, {"": {}}]
ODD += [2**64 - 1, -(2**63), msgpack.ExtType(5, b"x"), msgpack.Timestamp(0), {1: 2}, [0] * 1025]
_WIDTHS = {1: 1, 2: 2, 4: 4, 8: 8}  # of dims; KeyError for an odd one


def set_odd(chance, columns):
    columns[chance.choice(list(columns))] = chance.choice(ODD)


def drop(chance, columns):
    del columns[chance.choice(list(columns))]


def add_key(chance, columns):
    extra = (
        ("counts", bytes(4)),
        ("checksums", bytes(4)),
        ("offsets", b""),
        ("metadata", {"a": 1}),
        ("stored", bytes(8)),
    )
    key, value = chance.choice((*extra, ("encodings", bytes(len(columns.get("dtypes", b""))))))
    columns.setdefault(key, value)


def shuffle(chance, columns):
    """Another order, which a reader takes: checksums are no longer last."""
    entries = list(columns.items())
    chance.shuffle(entries)
    columns.clear()
    columns.update(entries)


def set_dtype(chance, columns):
    _set_entry(chance, columns, "dtypes", 1, [*dtypes.NAMES, 0, 0xFF])


def set_dim(chance, columns):
    width = _WIDTHS[columns["dim_width"]]
    _set_entry(chance, columns, "dims", width, [number for number in BOUNDARIES if number < 256**width])


def set_width(chance, columns):
    """Write the same dims with another width, which a reader takes, or misread them."""
    dims = np.frombuffer(columns["dims"], f"<u{_WIDTHS[columns['dim_width']]}")
    columns["dim_width"] = chance.choice((1, 2, 4, 8))
    if chance.random() < 0.8:
        columns["dims"] = dims.astype(f"<u{columns['dim_width']}").tobytes()


def set_ndim(chance, columns):
    _set_entry(chance, columns, "ndims", 1, [0, 1, 2, 3, 64, 65, 255])


def add_axis(chance, columns):
    """Give a tensor one more axis of length 0, 1 or 2."""
    tensor, width = chance.randrange(len(columns["ndims"])), _WIDTHS[columns["dim_width"]]
    ndims = bytearray(columns["ndims"])
    at = width * sum(ndims[:tensor])
    ndims[tensor] += 1
    axis = chance.choice((0, 1, 1, 2)).to_bytes(width, "little")
    columns["ndims"], columns["dims"] = bytes(ndims), columns["dims"][:at] + axis + columns["dims"][at:]


def set_names(chance, columns):
    names = columns["names"].split("\0")
    names[chance.randrange(len(names))] = chance.choice(("", "\0", "é\ud7ff", "a" * 200, *names))
    columns["names"] = "\0".join(names)


def set_kind(chance, columns):
    """Another kind, with what it needs."""
    columns["kind"] = chance.choice(("array", "mapping", "weights", "set"))
    tensors = len(columns["dtypes"])
    if columns["kind"] == "array":
        columns.pop("names", None)
    elif "names" not in columns:
        columns["names"] = "\0".join(map(str, range(tensors)))
    columns.pop("counts", None)
    if columns["kind"] == "weights":
        columns["counts"] = np.ones(columns["names"].count("\0") + 1, "<u4").tobytes()


def set_count(chance, columns):
    _set_entry(chance, columns, "counts", 4, [0, 1, 2, 3, 2**31, 2**32 - 1])


def set_encoding(chance, columns):
    columns.setdefault("encodings", bytes(len(columns["dtypes"])))
    _set_entry(chance, columns, "encodings", 1, [0, 1, 2, 3, 4, 0xFF])


def set_compression(chance, columns):
    columns["compression"] = chance.choice(("zstd", "lz4", "lz4", "gzip", ""))


def set_stored(chance, columns):
    _set_entry(chance, columns, "stored", 8, BOUNDARIES)


def set_checksum(chance, columns):
    _set_entry(chance, columns, "checksums", 4, [0, 1, 2**32 - 1])


def set_metadata(chance, columns):
    value = chance.choice(ODD)
    for _ in range(chance.randrange(7)):
        value = chance.choice(([value], {"a": value}, {"a": 0, "b": [1, value]}))
    columns["metadata"] = {"m": value, "n": chance.choice(BOUNDARIES)}


COLUMNS = (set_odd, drop, add_key, shuffle, set_dtype, set_dim, set_width, set_ndim, add_axis, set_names, set_kind)
COLUMNS += (set_count, set_encoding, set_compression, set_stored, set_checksum, set_metadata)


def _set_entry(chance, columns, key, width, values):
    """Set an entry of a column to one of these values, or near to what it was."""
    column = bytearray(columns[key])
    at = width * chance.randrange(len(column) // width)
    near = (int.from_bytes(column[at : at + width], "little") + chance.choice((-1, 1))) % 256**width
    value = near if chance.random() < 0.3 else chance.choice(values)
    column[at : at + width] = value.to_bytes(width, "little")
    columns[key] = bytes(column)
