"""Planning a message: the bytes of its header, and where its payloads will lie."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np

from sparknet.serialization.message import plans
from sparknet.serialization.message.header import MAX_NDIM, Header, over_limit
from sparknet.serialization.message.layout import lay_out
from sparknet.serialization.message.metadata import check_metadata
from sparknet.serialization.message.plans import Plan, keep, recurs


def plan_to_write(header: Header) -> Plan:
    """Return the plan of messages with this header, whose checksums are None or empty."""
    if recurs(header):
        for known in tuple(plans._written):
            if known.header == header:
                return known
    sums = 0 if header.checksums is None else len(header.codes)
    raw = encode_header(replace(header, checksums=[0] * sums) if sums else header)
    plan = Plan(raw[: len(raw) - 4 * sums], header, lay_out(len(raw), header.payload_sizes))
    keep(plan, plans._written)
    return plan


def encode_header(header: Header) -> bytes:
    """Return the header's bytes. The checksums come last: the last 4 bytes for each tensor.

    Raises
    ------
    ValueError
        A name holds a NUL, is no valid Unicode, the metadata holds something else than plain values, or the header is over a
        limit of the format.
    TypeError
        The metadata is no dict.
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
        columns["stored"] = np.array(header.stored_sizes, "<u8").tobytes()
    check_metadata(header.metadata)
    if header.metadata:
        columns["metadata"] = header.metadata
    if header.checksums is not None:
        columns["checksums"] = np.array(header.checksums, "<u4").tobytes()
    raw: bytes = msgpack.packb(columns, use_bin_type=True)
    over = over_limit(header, len(raw))
    if over:
        raise ValueError(over)
    return raw


def _join(names: Sequence[str]) -> str:
    bad = next((name for name in names if "\0" in name), None)
    if bad is not None:
        msg = f"the name {bad!r} holds a NUL character, which separates names; rename it"
        raise ValueError(msg)
    return "\0".join(names)
