"""Image files by their names: what a tar file holds, what a label file says, which label an image has."""

import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from sparknet.data.images import SUFFIXES
from sparknet.errors import DataError

__all__ = ["images_of_tar", "label_of", "parse_labels"]

_BLOCK = 512  # bytes; a tar file is made of them, and ends with one of zeros
_LABEL_LINE = re.compile(r"(.*\S)\s+(-?\d{1,9})")


def images_of_tar(file: BinaryIO, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and contents of each image in an uncompressed tar file; one of them is in memory at a time.

    Parameters
    ----------
    file
        The tar file; it has to be seekable.
    name
        What it is called; the first part of the paths.

    Raises
    ------
    DataError
        The file is damaged or truncated, or has a link in place of an image.
    """
    last = "before its first member"
    try:
        length = file.seek(0, 2)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="replace") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined] # else every header stays in memory
                if member.offset_data + member.size > length:
                    break
                is_image = member.name.lower().endswith(SUFFIXES)
                if is_image:
                    _check_no_link(member, name)
                if is_image and member.isfile():
                    contents = tar.extractfile(member)
                    assert contents is not None
                    yield f"{name}/{member.name.removeprefix('./')}", contents.read()
                last = f"after {member.name!r}"
            # tarfile takes a damaged header for the end, without a word
            file.seek(tar.offset)
            ended = member is None and file.read(_BLOCK) == bytes(_BLOCK)
    except DataError:
        raise
    except (tarfile.TarError, OSError, ValueError) as error:
        msg = f"tar file {name!r} is damaged {last}: {error}"
        raise DataError(msg) from error
    if not ended:
        msg = f"tar file {name!r} is damaged or truncated {last}; is the copy complete?"
        raise DataError(msg)


def _check_no_link(member: tarfile.TarInfo, name: str) -> None:
    """Raise a DataError if an image in the tar file ``name`` is a link: its contents are elsewhere, if anywhere."""
    if member.islnk() or member.issym():
        msg = (
            f"tar file {name!r}: the image {member.name!r} is a link to {member.linkname!r} and has no contents of its own; "
            "make the file with tar --dereference --hard-dereference"
        )
        raise DataError(msg)


def parse_labels(lines: Iterable[str], path: str) -> dict[str, int]:
    """Return name -> label from the lines of a label file: a name, white space and a whole number each.

    Raises
    ------
    DataError
        A line is of another form, or contradicts an earlier one.

    Examples
    --------
    >>> parse_labels(["n01440764/n01440764_18.JPEG 0", "n01443537/a b.JPEG 1"], "train.txt")
    {'n01440764/n01440764_18.JPEG': 0, 'n01443537/a b.JPEG': 1}
    """
    labels: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        found = _LABEL_LINE.fullmatch(line.strip())
        if found is None and line.strip():
            msg = f"{path}, line {number}: got {line[:80]!r}, expected a name and a whole number"
            raise DataError(msg)
        if found is None:
            continue
        name, label = found[1].removeprefix("./"), int(found[2])
        if labels.setdefault(name, label) != label:
            msg = f"{path}, line {number}: {name!r} has the label {label}, and {labels[name]} on an earlier line"
            raise DataError(msg)
    return labels


def label_of(path: str, labels: Mapping[str, int]) -> int:
    """Return the label of an image: that of its path or the longest end of it that has one, else that of its folder.

    A tar file counts as a folder of its name without ``.tar``.

    Raises
    ------
    DataError
        There is none.

    Examples
    --------
    >>> label_of("file:/data/n01440764.tar/n01440764_18.JPEG", {"n01440764/n01440764_18.JPEG": 0})
    0
    >>> label_of("hdfs://host/train/cat/7.png", {"cat": 3, "dog": 4})
    3
    """
    parts = path.replace(".tar/", "/").split("/")
    ends = ["/".join(parts[i:]) for i in range(len(parts))]
    for name in (*ends, *parts[-2:-1]):
        if name in labels:
            return labels[name]
    known = ", ".join(map(repr, [*labels][:3])) or "none"
    msg = (
        f"image {path!r} has no label: neither it, an end of it such as {parts[-1]!r}, nor its folder is among the "
        f"{len(labels)} names that have one ({known}, ...)"
    )
    raise DataError(msg)
