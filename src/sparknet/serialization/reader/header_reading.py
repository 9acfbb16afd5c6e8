"""Reading a header: with tight limits, and every value that it may hold checked before it is used."""

import math
from collections import Counter
from itertools import islice
from typing import Any, NoReturn

import msgpack
import numpy as np

from sparknet.errors import FormatError
from sparknet.serialization.message.header import MAX_NDIM, Header, over_limit
from sparknet.serialization.message.layout import MAX_DIMS, MAX_TENSORS, START
from sparknet.serialization.message.metadata import MAX_ITEMS, metadata_problem
from sparknet.serialization.payload.codes import NAMES as ENCODINGS
from sparknet.serialization.payload.compression import METHODS
from sparknet.serialization.payload.dtypes import FLOATS, NAMES, itemsize

KINDS = ("array", "mapping", "weights")
_KEYS = set("kind names counts dtypes ndims dim_width dims encodings compression stored metadata checksums".split())
_LIMITS = {"strict_map_key": True, "max_array_len": MAX_ITEMS, "max_map_len": MAX_ITEMS, "max_ext_len": 0}


def decode_header(raw: bytes) -> Header:
    """Return the header that is written in ``raw``; every value is checked.

    Raises
    ------
    FormatError
        It is not a header that this version reads.
    """
    columns = _unpack(raw)
    sums_last = "checksums" not in columns or next(reversed(columns)) == "checksums"
    kind = _take(columns, "kind", str)
    if kind not in KINDS:
        _refuse(f"kind {kind[:40]!r}, expected one of {', '.join(KINDS)}")
    codes = _take(columns, "dtypes", bytes)
    _at_most(MAX_TENSORS, len(codes), "tensors")
    names = [] if kind == "array" else _names(_take(columns, "names", str))
    counts = _uints(columns, "counts", 4, len(names)) if kind == "weights" else []
    sums = _uints(columns, "checksums", 4, len(codes)) if "checksums" in columns else None
    header = Header(
        *(kind, names, counts, codes, _shapes(columns, len(codes)), sums, _metadata(columns), sums_last),
        encodings=_encodings(columns, codes),
        compression=_take(columns, "compression", str) if "compression" in columns else None,
        stored_sizes=_uints(columns, "stored", 8, len(codes)) if "stored" in columns else (),
    )
    if columns:
        _refuse(f"it has no place for {', '.join(sorted(columns))} in a message of kind {kind!r}")
    _check(header, len(raw))
    return header


def _names(joined: str) -> list[str]:
    """Split the names. No name and one empty name look alike; :func:`_check` tells them apart."""
    _at_most(MAX_TENSORS, joined.count("\0") + 1, "names")
    names = joined.split("\0")
    if len(set(names)) != len(names):
        twice, _ = Counter(names).most_common(1)[0]
        _refuse(f"the name {twice[:200]!r} occurs twice")
    return names


def _unpack(raw: bytes) -> dict[str, Any]:
    try:
        columns = msgpack.unpackb(raw, object_pairs_hook=_unique, **_LIMITS)
    except FormatError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        _refuse(f"{type(error).__name__}: {error}" if str(error) else "it is no MessagePack", error)
    if type(columns) is not dict:
        _refuse(f"it is a {type(columns).__name__}, expected a map")
    unknown = sorted(set(columns) - _KEYS)
    if unknown:
        _refuse(f"unknown keys {', '.join(map(repr, unknown))[:200]}; the message needs a newer version of sparknet")
    return columns


def _unique(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs) or not all(type(key) is str for key in found):
        _refuse("a map has a key twice, or one that is not a string")
    return found


def _take(columns: dict[str, Any], key: str, kind: type) -> Any:
    """Remove a column and return it, if it is of the type expected."""
    value = columns.pop(key, None)
    if type(value) is not kind:
        got = "nothing" if value is None else type(value).__name__
        _refuse(f"{key!r}: got {got}, expected {kind.__name__}")
    return value


def _uints(columns: dict[str, Any], key: str, width: int, limit: int) -> list[int]:
    """Return a column of little-endian unsigned integers, ``limit`` of them at most."""
    raw = _take(columns, key, bytes)
    if len(raw) % width:
        _refuse(f"{key!r} has {len(raw)} bytes, not a multiple of {width}")
    _at_most(limit, len(raw) // width, f"entries in {key!r}")
    return np.frombuffer(raw, f"<u{width}").tolist()  # type: ignore[no-any-return]


def _at_most(limit: int, count: int, what: str) -> None:
    """Refuse a column before a list of its entries is made."""
    if count > limit:
        _refuse(f"{count} {what}; there may be at most {limit}")


def _shapes(columns: dict[str, Any], tensors: int) -> list[tuple[int, ...]]:
    ndims = _take(columns, "ndims", bytes)
    _at_most(tensors, len(ndims), "entries in 'ndims'")
    width = _take(columns, "dim_width", int)
    if width not in (1, 2, 4, 8):
        _refuse(f"'dim_width' is {width}, expected 1, 2, 4 or 8")
    dims = _uints(columns, "dims", width, MAX_DIMS)
    if sum(ndims) != len(dims) or max(ndims, default=0) > MAX_NDIM:
        _refuse(f"'ndims' asks for {sum(ndims)} dims, at most {MAX_NDIM} each; there are {len(dims)}")
    ndim = ndims[0] if ndims else 0
    if ndim and ndims.count(ndim) == len(ndims):  # as most of many tensors are; a sixth of the time
        if dims[:ndim] * len(ndims) == dims:
            return [tuple(dims[:ndim])] * len(ndims)
        return list(zip(*[iter(dims)] * ndim, strict=True))
    remaining = iter(dims)
    return [tuple(islice(remaining, ndim)) for ndim in ndims]


def _metadata(columns: dict[str, Any]) -> dict[str, Any]:
    if "metadata" not in columns:
        return {}
    metadata: dict[str, Any] = _take(columns, "metadata", dict)
    problem = metadata_problem(metadata)
    if problem:
        _refuse(problem)
    return metadata


def _encodings(columns: dict[str, Any], codes: bytes) -> bytes:
    if "encodings" not in columns:
        return b""
    column: bytes = _take(columns, "encodings", bytes)
    if len(column) != len(codes):
        _refuse(f"'encodings' has {len(column)} entries, expected {len(codes)}")
    for code, encoding in set(zip(codes, column, strict=True)):
        if encoding not in ENCODINGS:
            _refuse(f"unknown encoding 0x{encoding:02x}; the message needs a newer version of sparknet")
        if encoding and code not in FLOATS:
            _refuse(f"the encoding {ENCODINGS[encoding]!r} is for float32 and float64, not for dtype code 0x{code:02x}")
    return column


def _check(header: Header, size: int) -> None:
    """Refuse a header whose columns do not fit one another, or with values out of range."""
    tensors = len(header.codes)
    expected = {"array": 1, "mapping": len(header.names), "weights": sum(header.counts)}[header.kind]
    entries = len(header.counts) if header.kind == "weights" else tensors
    if header.names == [""] and entries == 0:  # no names at all
        header.names.clear()
        expected = 0
    if header.kind == "weights" and len(header.counts) != len(header.names):
        _refuse(f"{len(header.names)} names and {len(header.counts)} counts")
    lengths = {"dtypes": tensors, "ndims": len(header.shapes)}
    optional = {"checksums": header.checksums, "stored": header.stored_sizes if header.compression else None}
    lengths |= {column: len(values) for column, values in optional.items() if values is not None}
    for column, length in lengths.items():
        if length != expected:
            _refuse(f"{column!r} has {length} entries, expected {expected}")
    for code in set(header.codes) - set(NAMES):
        _refuse(f"unknown dtype code 0x{code:02x}; the message needs a newer version of sparknet")
    over = over_limit(header, size)
    if over:
        _refuse(over)
    _check_stored(header)
    if 0 in header.sizes:
        _check_empty(header)


def _check_stored(header: Header) -> None:
    """Refuse a compression that there is not, and payloads that it has made larger."""
    if header.stored_sizes and not header.compression:
        _refuse("'stored' without 'compression'")
    if header.compression and header.compression not in METHODS:
        _refuse(f"unknown compression {header.compression[:40]!r}; the message needs a newer version of sparknet")
    if any(stored > size for stored, size in zip(header.stored_sizes, header.encoded_sizes, strict=False)):
        _refuse("'stored': a compressed tensor takes more bytes than one that is not")


def _check_empty(header: Header) -> None:
    """Refuse an empty tensor whose other lengths no address space could hold."""
    for code, shape in zip(header.codes, header.shapes, strict=True):
        if 0 in shape and math.prod(dim or 1 for dim in shape) * itemsize(code) >= 1 << 63:
            _refuse(f"an empty tensor has the shape {shape}: its lengths multiply to 2**63 bytes or more")


def _refuse(what: str, cause: Exception | None = None) -> NoReturn:
    msg = f"unusable header (from byte {START}): {what}"
    raise FormatError(msg, tensor=None, offset=START) from cause
