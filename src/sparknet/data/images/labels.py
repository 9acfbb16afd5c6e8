"""Labels of image files: reading a label file, and finding the label of an image by its path."""

import re
from collections.abc import Iterable, Mapping
from itertools import chain

from sparknet.errors import DataError

__all__ = ["label_of", "parse_labels"]

_LABEL_LINE = re.compile(r"(.*\S)\s+(-?\d{1,9})")


def parse_labels(lines: Iterable[str], path: str) -> dict[str, int]:
    """Return name -> label from the lines of a label file; each line is a name, white space and a whole number.

    A byte order mark at the start is ignored.

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
    for number, marked in enumerate(lines, 1):
        line = marked.removeprefix("\ufeff")  # editors on Windows begin a file with this byte order mark
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
    """Return the label of an image: that of its path, else of the longest end of the path, else of its folder's name.

    A tar file counts as a folder of its name without ``.tar``.

    Raises
    ------
    DataError
        None of these has a label.

    Examples
    --------
    >>> label_of("file:/data/n01440764.tar/n01440764_18.JPEG", {"n01440764/n01440764_18.JPEG": 0})
    0
    >>> label_of("hdfs://host/train/cat/7.png", {"cat": 3, "dog": 4})
    3
    """
    parts = path.replace(".tar/", "/").split("/")
    ends = ("/".join(parts[i:]) for i in range(len(parts)))
    for name in chain(ends, parts[-2:-1]):
        if name in labels:
            return labels[name]
    known = ", ".join(map(repr, [*labels][:3])) or "none"
    msg = (
        f"image {path!r} has no label: neither it, an end of it such as {parts[-1]!r}, nor its folder is among the "
        f"{len(labels)} names that have one ({known}, ...)"
    )
    raise DataError(msg)
