"""HDF5: files with all that the format has room for, and damaged ones whose metadata have the right checksums again."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.damage import BYTES, change_bytes

CANARY = 12345.678  # the elements of the file that others lead to: no reader may show them


@functools.cache
def seeds(kind: str) -> list[bytes]:
    """Return files of weights (``"data"``) or of a solver's state (``"history"``), in the ways that h5py writes."""
    import h5py

    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        for build in (_plain, _packed, _strange, _links, _dtypes):
            for version in ("earliest", "latest"):
                with h5py.File(path, "w", libver=version, track_order=build is _packed) as file:
                    _base(file, kind)
                    build(h5py, file, file[kind] if kind == "history" else file["data/ip"])
                found.append(path.read_bytes())
        with h5py.File(path, "w", userblock_size=512) as file:
            _base(file, kind)
        found.append(path.read_bytes())
    return found


def _base(file: Any, kind: str) -> None:
    if kind == "history":
        file["iter"], file["current_step"] = np.int32(7), np.int32(1)
        file["learned_net"] = np.array(b"a.caffemodel.h5", "S16")
    group = file.create_group("data/ip" if kind == "data" else "history")
    group["0"] = np.arange(6, dtype="f4").reshape(2, 3)


def _plain(_: Any, __: Any, group: Any) -> None:
    group["1"] = np.ones(3)


def _packed(_: Any, __: Any, group: Any) -> None:
    group.create_dataset("1", data=np.zeros((40, 30), "f4"), chunks=(7, 8), compression="gzip", shuffle=True)
    group.create_dataset("2", data=np.arange(50.0), chunks=(10,), fletcher32=True)


def _strange(h5py: Any, _: Any, group: Any) -> None:
    """Data sets that promise what they do not hold."""
    group.create_dataset("1", (1 << 40,), "f4", chunks=(1 << 10,), compression="gzip")
    group.create_dataset("2", (1 << 34,), "f8")
    group["3"] = h5py.Empty("f4")
    group.create_dataset("4", (3, 0, 5), "f4", maxshape=(None, None, None))
    group["5"] = np.float32(2)


def _links(h5py: Any, _: Any, group: Any) -> None:
    """What leads elsewhere: within the file, to others, and round in circles."""
    group["1"] = h5py.SoftLink(f"{group.name}/0")
    group["2"] = h5py.ExternalLink("other.h5", "/canary")
    group["3"] = group["0"]
    group["self"] = group
    group.create_dataset("5", (4,), "f8", external=[("other.bin", 0, 32)])
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "canary", (4,))
    group.create_virtual_dataset("6", layout)


def _dtypes(h5py: Any, file: Any, group: Any) -> None:
    group["1"] = np.array([("a", 1)], [("x", "S3"), ("y", "i4")])
    group["2"] = np.array(["a", "bc"], h5py.string_dtype())
    group["3"] = np.ones(2, ">i2")
    group["4"] = np.ones(2, "f2")
    group.create_dataset("5", data=np.array([True]))
    group.create_dataset("6", (2,), h5py.ref_dtype)
    group.attrs["note"] = "x" * 500
    file["kind"] = np.dtype("f4")


def damage(chance: Any, data: bytes, other: bytes) -> bytes:
    """Change bytes, and give the metadata their checksums again."""
    ways = [way for way in BYTES if way.__name__ not in ("insert", "delete", "duplicate", "truncate")]
    return summed(change_bytes(chance, data, other, ways)[0])


def change_number(chance: Any, data: bytes, _: bytes) -> bytes:
    """Put a place or length of this file, or an extreme, where one of eight bytes may be."""
    changed = bytearray(data)
    at = chance.randrange(len(data) - 8)
    width = chance.choice((1, 2, 4, 8))
    value = chance.choice((8 * chance.randrange(len(data) // 8), 0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, len(data)))
    changed[at : at + width] = (value % 256**width).to_bytes(width, "little")
    return summed(bytes(changed))


def summed(data: bytes) -> bytes:
    """Return a file whose object headers and superblock, of the kinds with checksums, have the right ones."""
    out = bytearray(data)
    if out[8:9] in (b"\2", b"\3"):
        out[44:48] = _lookup3(bytes(out[:44])).to_bytes(4, "little")
    at = out.find(b"OHDR")
    while at >= 0:
        flags = out[at + 5]
        start = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        end = start + width + int.from_bytes(out[start : start + width], "little")
        if end + 4 <= len(out) and end - at < 5000:
            out[end : end + 4] = _lookup3(bytes(out[at:end])).to_bytes(4, "little")
        at = out.find(b"OHDR", at + 4)
    return bytes(out)


def _lookup3(data: bytes) -> int:
    """Return Jenkins' hash, with which HDF5 guards its metadata."""
    mask = 0xFFFFFFFF
    a = b = c = (0xDEADBEEF + len(data)) & mask

    def rot(x: int, k: int) -> int:
        return (x << k | x >> (32 - k)) & mask

    while len(data) > 12:
        a, b, c = (value + int.from_bytes(data[i : i + 4], "little") & mask for value, i in ((a, 0), (b, 4), (c, 8)))
        data = data[12:]
        a, b, c = _mixed(a, b, c, rot, mask)
    if not data:
        return c
    data = data.ljust(12, b"\0")
    a, b, c = (value + int.from_bytes(data[i : i + 4], "little") & mask for value, i in ((a, 0), (b, 4), (c, 8)))
    c = ((c ^ b) - rot(b, 14)) & mask
    a = ((a ^ c) - rot(c, 11)) & mask
    b = ((b ^ a) - rot(a, 25)) & mask
    c = ((c ^ b) - rot(b, 16)) & mask
    a = ((a ^ c) - rot(c, 4)) & mask
    b = ((b ^ a) - rot(a, 14)) & mask
    return ((c ^ b) - rot(b, 24)) & mask


def _mixed(a: int, b: int, c: int, rot: Any, mask: int) -> tuple[int, int, int]:
    a = (a - c & mask) ^ rot(c, 4)
    c = c + b & mask
    b = (b - a & mask) ^ rot(a, 6)
    a = a + c & mask
    c = (c - b & mask) ^ rot(b, 8)
    b = b + a & mask
    a = (a - c & mask) ^ rot(c, 16)
    c = c + b & mask
    b = (b - a & mask) ^ rot(a, 19)
    a = a + c & mask
    c = (c - b & mask) ^ rot(b, 4)
    b = b + a & mask
    return a, b, c
