"""The header of a message: what it holds, as a MessagePack map of columns, one entry a tensor.

Columns instead of one object a tensor keep a header of 2,000 tensors at a few large values. A
header is read with tight limits, and every value that it may hold is checked before it is used.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, NoReturn

import msgpack
import numpy as np

from sparknet.errors import FormatError
from sparknet.serialization import encodings
from sparknet.serialization.compression import METHODS
from sparknet.serialization.dtypes import FLOATS, NAMES, itemsize
from sparknet.serialization.layout import MAX_DIMS, MAX_HEADER, MAX_PAYLOAD, MAX_TENSORS, START
from sparknet.serialization.metadata import MAX_ITEMS, check_metadata, metadata_problem
from sparknet.serialization.stored import Form

KINDS = ("array", "mapping", "weights")
MAX_NDIM = 64
_KEYS = set("kind names counts dtypes ndims dim_width dims encodings compression stored metadata checksums".split())
_LIMITS = {"strict_map_key": True, "max_array_len": MAX_ITEMS, "max_map_len": MAX_ITEMS, "max_ext_len": 0}


@dataclass(frozen=True)
class Header:
    """What a message holds. ``names`` are those of the tensors (mapping) or layers (weights)."""

    kind: str
    names: list[str]
    counts: list[int]  # arrays in each layer; weights only
    codes: bytes
    shapes: Sequence[tuple[int, ...]]
    checksums: Sequence[int] | None
    metadata: dict[str, Any] = field(default_factory=dict)
    sums_last: bool = field(default=True, compare=False)  # whether the header's last bytes are those of the checksums
    encodings: bytes = b""  # code of each tensor; none if all are raw
    compression: str | None = None
    stored: Sequence[int] = ()  # bytes of each tensor's payload; only with compression

    @cached_property
    def sizes(self) -> list[int]:
        """Size of each tensor in bytes, as it is handed out."""
        return list(map(_nbytes, self.codes, self.shapes))

    @cached_property
    def encoded_sizes(self) -> list[int]:
        """Size of each tensor's payload in bytes, if it is not compressed."""
        return [form.size(form.count) for form in self.forms()] if self.encodings else self.sizes

    @cached_property
    def payload_sizes(self) -> list[int]:
        """Size of each tensor's payload in bytes."""
        return list(self.stored) if self.compression else self.encoded_sizes

    @cached_property
    def is_raw(self) -> bool:
        """Whether every payload is the elements of its tensor."""
        return not self.compression and not any(self.encodings)

    def compression_of(self, tensor: int) -> str | None:
        """Return how a tensor is compressed: one whose payload is as large as without compression is not."""
        smaller = self.payload_sizes[tensor] < self.encoded_sizes[tensor]
        return self.compression if smaller else None

    def forms(self) -> list[Form]:
        """Return how the elements of each tensor lie in its payload."""
        encodings = self.encodings or bytes(len(self.codes))
        return list(map(Form, self.tensor_names(), self.codes, self.shapes, encodings))

    def tensor_names(self) -> list[str]:
        """Return one name for each tensor; the arrays of a layer are called ``layer[0]``, ``layer[1]``..."""
        if self.kind == "weights":
            return [f"{n}[{i}]" for n, count in zip(self.names, self.counts, strict=True) for i in range(count)]
        return list(self.names) if self.kind == "mapping" else [""]


@lru_cache(maxsize=4096)
def _nbytes(code: int, shape: tuple[int, ...]) -> int:
    """Return the size in bytes of a tensor."""
    return math.prod(shape) << (code & 15)


def encode_header(header: Header) -> bytes:
    """Return the header's bytes. The checksums come last: the last 4 bytes for each tensor.

    Raises
    ------
    ValueError
        A name holds a NUL, is no valid Unicode, or the header is over a limit of the format.
    TypeError
        The metadata holds something else than plain values.
    """
    most = max(map(len, header.shapes), default=0)
    if most > MAX_NDIM:
        msg = f"an array has {most} axes, the limit is {MAX_NDIM}; reshape it"
        raise ValueError(msg)
    columns: dict[str, Any] = {"kind": header.kind}
    if header.kind != "array":
        columns["names"] = _join(header.names)
    if header.kind == "weights":
        columns["counts"] = np.array(header.counts, "<u4").tobytes()
    dims = [dim for shape in header.shapes for dim in shape]
    largest = max(dims, default=0)
    width = next(width for width in (1, 2, 4, 8) if largest < 1 << 8 * width)
    columns["dtypes"] = header.codes
    columns["ndims"] = bytes(map(len, header.shapes))
    columns["dim_width"] = width
    columns["dims"] = np.array(dims, f"<u{width}").tobytes()
    if any(header.encodings):
        columns["encodings"] = header.encodings
    if header.compression:
        columns["compression"] = header.compression
        columns["stored"] = np.array(header.stored, "<u8").tobytes()
    if header.metadata:
        check_metadata(header.metadata)
        columns["metadata"] = header.metadata
    if header.checksums is not None:
        columns["checksums"] = np.array(header.checksums, "<u4").tobytes()
    raw: bytes = msgpack.packb(columns, use_bin_type=True)
    over = _over_limit(header, len(raw))
    if over:
        raise ValueError(over)
    return raw


def decode_header(raw: bytes) -> Header:
    """Return the header that is written in ``raw``; every value is checked.

    Raises
    ------
    FormatError
        It is not a header that this version reads.
    """
    columns = _unpack(raw)
    sums_last = next(reversed(columns), "") == "checksums"
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
        stored=_uints(columns, "stored", 8, len(codes)) if "stored" in columns else (),
    )
    if columns:
        _refuse(f"it has no place for {', '.join(sorted(columns))} in a message of kind {kind!r}")
    _check(header, len(raw))
    return header


def _join(names: Sequence[str]) -> str:
    bad = next((name for name in names if "\0" in name), None)
    if bad is not None:
        msg = f"the name {bad!r} holds a NUL character, which separates names; rename it"
        raise ValueError(msg)
    return "\0".join(names)


def _names(joined: str) -> list[str]:
    """Split names; none and one empty name look alike, see ``_check``."""
    _at_most(MAX_TENSORS, joined.count("\0") + 1, "names")
    names = joined.split("\0")
    if len(set(names)) != len(names):
        twice, _ = Counter(names).most_common(1)[0]
        _refuse(f"the name {twice[:200]!r} occurs twice")
    return names


def _over_limit(header: Header, size: int) -> str:
    """Say which limit of the format is exceeded, or nothing."""
    counts = {"tensors": len(header.codes), "names": len(header.names), "axes": sum(map(len, header.shapes))}
    for what, count in counts.items():
        limit = MAX_DIMS if what == "axes" else MAX_TENSORS
        if count > limit:
            return f"{count} {what}; a message holds at most {limit}"
    if size > MAX_HEADER:
        return f"a header of {size} bytes (names and metadata); the limit is {MAX_HEADER}"
    total = sum(header.sizes)
    return f"{total} bytes of tensors; a message holds at most {MAX_PAYLOAD}" if total > MAX_PAYLOAD else ""


def _unpack(raw: bytes) -> dict[str, Any]:
    try:
        columns = msgpack.unpackb(raw, object_pairs_hook=_unique, **_LIMITS)
    except FormatError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        _refuse(f"{type(error).__name__}: {error}", error)
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
    remaining = iter(dims)
    if len(set(ndims)) == 1 and ndims[0]:  # the one case of many tensors; a sixth of the time
        return list(zip(*[remaining] * ndims[0], strict=True))
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
        if encoding not in encodings.NAMES:
            _refuse(f"unknown encoding 0x{encoding:02x}; the message needs a newer version of sparknet")
        if encoding and code not in FLOATS:
            _refuse(
                f"the encoding {encodings.NAMES[encoding]!r} is for float32 and float64, not for dtype code 0x{code:02x}"
            )
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
    optional = {"checksums": header.checksums, "stored": header.stored if header.compression else None}
    lengths |= {column: len(values) for column, values in optional.items() if values is not None}
    for column, length in lengths.items():
        if length != expected:
            _refuse(f"{column!r} has {length} entries, expected {expected}")
    for code in set(header.codes) - set(NAMES):
        _refuse(f"unknown dtype code 0x{code:02x}; the message needs a newer version of sparknet")
    over = _over_limit(header, size)
    if over:
        _refuse(over)
    _check_stored(header)
    if 0 in header.sizes:
        _check_empty(header)


def _check_stored(header: Header) -> None:
    """Refuse a compression that there is not, and payloads that it has made larger."""
    if header.stored and not header.compression:
        _refuse("'stored' without 'compression'")
    if header.compression and header.compression not in METHODS:
        _refuse(f"unknown compression {header.compression[:40]!r}; the message needs a newer version of sparknet")
    if any(stored > size for stored, size in zip(header.stored, header.encoded_sizes, strict=False)):
        _refuse("'stored': a compressed tensor takes more bytes than one that is not")


def _check_empty(header: Header) -> None:
    """Refuse an empty tensor whose other lengths no address space could hold."""
    for code, shape in zip(header.codes, header.shapes, strict=True):
        if 0 in shape and math.prod(dim or 1 for dim in shape) * itemsize(code) >= 1 << 63:
            _refuse(f"an empty tensor has the shape {shape}: its lengths multiply to 2**63 bytes or more")


def _refuse(what: str, cause: Exception | None = None) -> NoReturn:
    msg = f"unusable header (from byte {START}): {what}"
    raise FormatError(msg, tensor=None, offset=START) from cause
