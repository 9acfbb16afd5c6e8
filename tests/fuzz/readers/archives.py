"""Zip and tar: entries with other headers, sizes, methods and names. The checksums of tar's headers stay right."""

import io
import struct
import zipfile
import zlib
from typing import Any

from fuzz.damage import BOUNDARIES
from fuzz.readers.inputs import often

_NAMES = (
    b"a.npy",
    b"../a.npy",
    b"/etc/x.npy",
    b"a\0b.npy",
    b"\xff\xfe.npy",
    b"archive/data.pkl",
    b"",
    b"x" * 3000 + b".npy",
    b"\x1b[2J.npy",
    b"a/0.npy",
)
_METHODS = (0, 8, 9, 12, 14, 93, 95, 99, 65535)
_FLAGS = (0, 1, 8, 0x20, 0x40, 0x800, 0x2000, 0xFFFF)


def change_zip(chance: Any, data: bytes, other: bytes) -> bytes:
    """Take an archive apart, change fields of its headers, and write it anew with places that are right."""
    entries = _entries(data)
    way = chance.randrange(6)
    if way == 0:
        entries.append(chance.choice(_entries(other)))
    elif way == 1 and entries:
        entries *= often(chance, (2, 2, 100, 400), sum(len(entry["data"]) + 100 for entry in entries))
    elif way == 2 and entries:
        del entries[chance.randrange(len(entries))]
    elif entries:
        _set_field(chance, chance.choice(entries))
    end: dict[str, int] = {}
    if chance.random() < 0.15:
        end[chance.choice(("disk", "count", "total", "size", "offset"))] = chance.choice(BOUNDARIES)
    return zipped(entries, end, comment=chance.choice((b"",) * 5 + (b"PK\5\6" * 9,)))


def change_entry(change: Any) -> Any:
    """Return the change of an archive that changes what is in one of its entries."""

    def way(chance: Any, data: bytes, other: bytes) -> bytes:
        entries = _entries(data)
        entry = chance.choice(entries)
        contents = change(chance, entry["contents"], chance.choice(_entries(other))["contents"])
        entry |= _of(entry["name"], contents, entry["method"])
        return zipped(entries, {})

    return way


def zipped(entries: list[dict[str, Any]], end: dict[str, int], comment: bytes = b"") -> bytes:
    """Return an archive of these entries, whose fields may be anything."""
    out, directory = io.BytesIO(), b""
    for entry in entries:
        at = out.tell()
        shared = [entry[key] % 65536 for key in ("version", "flags", "method")] + [0, 33]
        sizes = [entry[key] % 2**32 for key in ("crc", "stored", "size")]
        name, extra = entry["name"], entry["extra"]
        out.write(
            struct.pack("<4s5H3I2H", b"PK\3\4", *shared, *sizes, len(name), len(extra)) + name + extra + entry["data"]
        )
        lengths = len(name), len(extra), 0, 0, 0, 0, (at + entry["shift"]) % 2**32
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, *shared, *sizes, *lengths) + name + extra
    count, at = len(entries), out.tell()
    said = {"disk": 0, "count": count, "total": count, "size": len(directory), "offset": at} | end
    words = (
        said["disk"] % 65536,
        0,
        said["count"] % 65536,
        said["total"] % 65536,
        said["size"] % 2**32,
        said["offset"] % 2**32,
    )
    return out.getvalue() + directory + struct.pack("<4s4H2IH", b"PK\5\6", *words, len(comment)) + comment


def _of(name: bytes, contents: bytes, method: int) -> dict[str, Any]:
    data = contents
    if method == zipfile.ZIP_DEFLATED:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = packer.compress(contents) + packer.flush()
    fields = {
        "version": 20,
        "flags": 0,
        "method": method,
        "crc": zlib.crc32(contents),
        "stored": len(data),
        "size": len(contents),
    }
    return {"name": name, "contents": contents, "data": data, "extra": b"", "shift": 0, **fields}


def _entries(data: bytes) -> list[dict[str, Any]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [
            _of(info.filename.encode(errors="replace"), archive.read(info), info.compress_type)
            for info in archive.infolist()
        ]


def _set_field(chance: Any, entry: dict[str, Any]) -> None:
    key = chance.choice(
        ("name", "method", "flags", "crc", "stored", "size", "size", "extra", "shift", "version", "data")
    )
    sizes = struct.pack("<HHQQQ", 1, 24, *(chance.choice(BOUNDARIES) % 2**64 for _ in range(3)))  # as Zip64 has them
    entry[key] = {
        "name": chance.choice(_NAMES),
        "method": chance.choice(_METHODS),
        "flags": chance.choice(_FLAGS),
        "extra": chance.choice((sizes, sizes[:9], b"\1\0", b"\x75\x70\xff\xff")),
        "shift": chance.choice((-1, 1, *BOUNDARIES)),
        "data": _ZEROS,
    }.get(key, entry.get(key, 0) + 1 if chance.random() < 0.3 and key != "data" else chance.choice(BOUNDARIES))
    if key == "extra" and chance.random() < 0.6:
        entry["size"] = entry["stored"] = 2**32 - 1


# ---- tar
_FIELDS = {
    "name": (0, 100),
    "mode": (100, 108),
    "uid": (108, 116),
    "size": (124, 136),
    "mtime": (136, 148),
    "type": (156, 157),
}
_FIELDS |= {"linkname": (157, 257), "magic": (257, 265), "device": (329, 345), "prefix": (345, 500)}
_TYPES = b"\x0001234567xgLKSVDMNA"
_NUMBERS = (
    b"77777777777\0",
    b"\x80" + b"\xff" * 11,
    b"\xff" * 12,
    b"\xff" * 11 + b"\xfe",
    b"-1\0",
    b"           \0",
    b"9999\0",
    b"00000001000\0",
    b"\x80" + bytes(7) + b"\x40\0\0\0",
    b"\0" * 12,
)
_TEXTS = (
    b"",
    b"a.jpg",
    b"../../a.png",
    b"/etc/a.jpg",
    b"\xff\xfe.jpg",
    b"\x1b[2J.png",
    b"d/" * 45 + b"a.gif",
    b"x" * 100,
)
_RECORDS = (
    b"size=-512",
    b"size=99999999999999999999",
    b"path=\xff\xfe.jpg",
    b"path=a.jpg",
    b"size=1e3",
    b"GNU.sparse.major=1",
    b"GNU.sparse.minor=0",
)
_RECORDS += (
    b"GNU.sparse.map=0,99999999999",
    b"GNU.sparse.size=9999999",
    b"GNU.sparse.realsize=-1",
    b"hdrcharset=BINARY",
    b"mtime=nan",
    b"uid=inf",
    b"linkpath=x",
    b"1" * 9000,
)
_BLOCK = 512
_ZEROS = zlib.compress(bytes(1 << 20), 9)[2:-4]


def change_tar(chance: Any, data: bytes, other: bytes) -> bytes:
    """Change a field of a header, or put a member before it."""
    at = chance.choice(_headers(data))
    if chance.random() < 0.3:
        return data[:at] + _member(chance) + data[at:]
    if chance.random() < 0.1:
        start = chance.choice(_headers(other))
        return data[:at] + other[start:]
    header = bytearray(data[at : at + _BLOCK])
    _set_tar_field(chance, header)
    return data[:at] + _summed(header) + data[at + _BLOCK :]


def tar(chance: Any) -> bytes:
    """Return members that follow one another by the thousand, or none."""
    members = _member(chance) * chance.choice((1, 30, 60)) + _member(chance)
    return members + bytes(chance.choice((0, _BLOCK, 2 * _BLOCK)))


def _headers(data: bytes) -> list[int]:
    return [at for at in range(0, len(data), _BLOCK) if data[at + 257 : at + 262] == b"ustar"]


def _member(chance: Any) -> bytes:
    kind = chance.choice(_TYPES)
    contents = chance.choice((b"", b"x" * 40, _records(chance), _records(chance)))
    header = bytearray(_BLOCK)
    header[:100] = chance.choice(_TEXTS).ljust(100, b"\0")[:100]
    header[100:124] = b"0000644\0" * 3
    header[124:136] = b"%011o\0" % len(contents)
    header[136:148] = b"00000000000\0"
    header[156] = kind
    header[257:265] = chance.choice((b"ustar\x0000", b"ustar  \0"))
    if chance.random() < 0.4:
        _set_tar_field(chance, header)
    return _summed(header) + contents + bytes(-len(contents) % _BLOCK)


def _records(chance: Any) -> bytes:
    out = b""
    for record in chance.choices(_RECORDS, k=chance.choice((1, 2, 5))):
        size = len(record) + 2
        size += len(str(size + len(str(size))))
        out += b"%d %s\n" % (chance.choice((size, size, size, 0, -1, 10**9)), record)
    return out


def _set_tar_field(chance: Any, header: bytearray) -> None:
    name = chance.choice(sorted(_FIELDS))
    start, end = _FIELDS[name]
    if name == "type":
        header[start] = chance.choice(_TYPES)
        return
    value = chance.choice(_TEXTS if name in ("name", "linkname", "prefix", "magic") else _NUMBERS)
    header[start:end] = value[: end - start].ljust(end - start, b"\0")


def _summed(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)
