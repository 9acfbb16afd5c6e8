"""The images in a tar file, one after the other. The file may come from anywhere, so its headers are not trusted.

``tarfile`` parses the headers and does what they say: it reads a name of 20 GB, the same member of -512 bytes again and again, or
names that announce other names until Python's stack is full. So it gets a limited number of bytes for the headers of a member.
Headers with a very long number are refused, because ``tarfile`` begins anew at each of its digits: CVE-2024-6232.
"""

import logging
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from sparknet.data.images.decoder import MAX_PIXELS, SUFFIXES
from sparknet.errors import DataError

__all__ = ["images_of_tar"]

MAX_IMAGE = 4 * MAX_PIXELS  # bytes; the largest image that is decoded has so many uncompressed, with transparency
_HEADERS = 1 << 20  # bytes of the headers of a member: a name takes up to 4 KiB, attributes some more
_NAME = 4096  # characters of a name: no file system has longer ones, and a label is looked up for each end of it
_DIGITS = re.compile(rb"\d{256}")  # no file name has so many
_BLOCK = 512  # bytes; a tar file is a sequence of blocks and ends with one of zeros
_LOG = logging.getLogger(__name__)


class _Bounded:
    """A file that gives at most ``left`` more bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.left = file, _HEADERS
        self.seek, self.tell = file.seek, file.tell
        self.is_image = False  # whether an image is read; else headers are

    def read(self, size: int) -> bytes:
        """Return the next bytes; a ValueError if they are more than ``left``, or are headers with a number of 256 digits."""
        if not 0 <= size <= self.left:
            msg = f"its headers ask for more than {_HEADERS} bytes, or for {size}"
            raise ValueError(msg)
        self.left -= size
        data = self._file.read(size)
        if not self.is_image and _DIGITS.search(data):
            msg = "its headers have a number of 256 digits or more"
            raise ValueError(msg)
        return data


def images_of_tar(file: BinaryIO, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and contents of each image in an uncompressed tar file; one of them is in memory at a time.

    Bytes of a name that are not UTF-8 become U+FFFD; the log says so once for each tar file.

    Parameters
    ----------
    file
        The tar file; it must be seekable.
    name
        Name of the tar file; the paths begin with it.

    Raises
    ------
    DataError
        The file is damaged or truncated, has a link in place of an image, or an image of more than 256 MiB.
    """
    last = "before its first member"
    bounded, told = _Bounded(file), False
    try:
        length = file.seek(0, 2)
        file.seek(0)
        with tarfile.open(fileobj=bounded, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                tar.members.clear()  # tarfile would keep every header in memory
                _check_size(member)
                if member.offset_data + member.size > length:
                    break
                told = told or _tells(member.name, name)
                if _is_image(member, name):
                    bounded.left, bounded.is_image = 2 * MAX_IMAGE, True
                    contents = tar.extractfile(member)
                    assert contents is not None
                    yield f"{name}/{_shown(member.name).removeprefix('./')}", contents.read()
                bounded.left, bounded.is_image = _HEADERS, False
                last = f"after {_shown(member.name)!r}"
            # tarfile takes a damaged header for the end of the file
            file.seek(tar.offset)
            ended = member is None and file.read(_BLOCK) == bytes(_BLOCK)
    except DataError:
        raise
    except Exception as error:  # tarfile raises OverflowError, RecursionError and more
        msg = f"tar file {name!r} is damaged {last}: {error}"
        raise DataError(msg) from error
    if not ended:
        msg = f"tar file {name!r} is damaged or truncated {last}; is the copy complete?"
        raise DataError(msg)


def _check_size(member: tarfile.TarInfo) -> None:
    """Refuse a negative size: the next member would be this one again."""
    if member.size < 0:
        msg = f"{_shown(member.name)!r} has {member.size} bytes"
        raise ValueError(msg)


def _is_image(member: tarfile.TarInfo, name: str) -> bool:
    """Say whether a member of the tar file ``name`` is an image.

    Raises
    ------
    DataError
        It has the name of an image, but is too large, or is a link, a FIFO or a device, which has no contents here.
    """
    if not member.name.lower().endswith(SUFFIXES) or member.isdir():
        return False
    image = f"tar file {name!r}: the image {_shown(member.name)[:_NAME]!r}"
    if len(member.name) > _NAME:
        msg = f"{image}... has a name of {len(member.name)} characters, expected at most {_NAME}"
        raise DataError(msg)
    if member.islnk() or member.issym():
        msg = (
            f"{image} is a link to {_shown(member.linkname)!r} and has no contents of its own; make the file with tar "
            "--dereference --hard-dereference"
        )
        raise DataError(msg)
    if not member.isfile():
        msg = f"{image} is a FIFO, a device or the like (type {member.type!r}), expected a file"
        raise DataError(msg)
    if member.size > MAX_IMAGE:
        msg = f"{image} has {member.size} bytes, expected at most {MAX_IMAGE}"
        raise DataError(msg)
    return True


def _tells(member: str, name: str) -> bool:
    """Log a warning if a name is not UTF-8; say whether there was one."""
    if _shown(member) == member:
        return False
    _LOG.warning(
        "tar file %r: names are not UTF-8, %r is the first; what is not UTF-8 in the id of an image is written as U+FFFD, also "
        "where a label is looked for",
        name,
        _shown(member),
    )
    return True


def _shown(name: str) -> str:
    """Return a name without the surrogates that stand for bytes which are not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
