"""Inputs: files that a reader is given, made of valid ones by changes that know the format, and by others that know none."""

import os
import shutil
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.damage import change_bytes

MOST = 1 << 16  # bytes of a file
# Whatever is wrong with a file that a change takes apart: it is damaged already, and stays as it is.
_APART = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    EOFError,
    OSError,
    RuntimeError,
    StopIteration,
)
_APART += (struct.error, zlib.error, zipfile.BadZipFile)


class Link(NamedTuple):
    """A symbolic link, in the place of a file."""

    target: str


class Fifo(NamedTuple):
    """A FIFO, in the place of a file."""


Files = dict[str, Any]  # name, with folders in it -> bytes, or one of the two above


def often(chance: Any, counts: tuple[int, ...], size: int) -> int:
    """Return how often something of ``size`` bytes is to be repeated, at most until a file is full."""
    return min(chance.choice(counts), MOST // max(1, size) + 1)


def put(folder: Path, files: Files) -> None:
    """Write files to a folder, in the place of all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in files.items():
        path = os.path.join(folder, name)  # noqa: PTH118 - a name may be no UTF-8
        with suppress(OSError, ValueError):  # a name that no file has, or that is there as another thing
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            if isinstance(data, Link):
                os.symlink(data.target, path)  # noqa: PTH211
            elif isinstance(data, Fifo):
                os.mkfifo(path)
            else:
                with Path(path).open("xb") as file:  # not through a link to a FIFO, which would wait for a reader
                    file.write(data)


def made(reader: Any, chance: Any) -> Files:
    """Return an input for a reader: a built one, or a seed with one of its files changed."""
    if reader.builders and chance.random() < 0.15:
        built = chance.choice(reader.builders)(chance)
        files = built if isinstance(built, dict) else {reader.file: built}
        if chance.random() < 0.7:
            return {name: data[:MOST] if isinstance(data, bytes) else data for name, data in files.items()}
    else:
        files = dict(chance.choice(reader.inputs()))
    other = chance.choice(reader.inputs())
    names = [name for name, data in files.items() if isinstance(data, bytes)]
    if len(files) > 1 and chance.random() < 0.1:
        _change_files(chance, files, other)
    elif names:
        name = chance.choice(names)
        rest = chance.choice([data for data in other.values() if isinstance(data, bytes)] or [b""])
        files[name] = changed(chance, files[name], rest, reader.ways)
    return files


def changed(chance: Any, data: bytes, other: bytes, ways: Any) -> bytes:
    """Return bytes after one to four changes; most are of ``ways``, which take ``(chance, data, other)`` and know the format."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if ways and chance.random() < 0.65:
            with suppress(*_APART):
                data = chance.choice(ways)(chance, data, other)[:MOST]
        else:
            data = change_bytes(chance, data, other)[0]
    return data[:MOST]


def _change_files(chance: Any, files: Files, other: Files) -> None:
    """Leave out a file, take one of another seed, or exchange two."""
    one, two = chance.choice(sorted(files)), chance.choice(sorted(files))
    way = chance.randrange(3)
    if way == 0:
        del files[one]
    elif way == 1:
        files[one] = chance.choice(sorted(other.items(), key=repr))[1] if other else b""
    else:
        files[one], files[two] = files[two], files[one]
