"""The manifest of a saved data set: its contents, and the check that minibatches belong to it. This module knows no Spark.

Every message has the digest of the manifest's text in its metadata, and the text has a random part. So a changed manifest, or
minibatches of another data set, are found however similar they are. Messages of older versions have no digest. Names, shapes,
dtypes and numbers of rows are compared in any case.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sparknet.data.fields import Field, check_fields
from sparknet.data.layout import Layout, is_whole
from sparknet.data.ragged import check_ragged
from sparknet.errors import DataError, located
from sparknet.serialization import dumps, inspect, loads

__all__ = ["FORMAT", "Manifest"]

FORMAT = "sparknet packed data set, version 1"

_KEY = "data_set"  # of the digest, in the metadata of the messages
_LARGEST = 2**63  # of padding that is a whole number
_MOST = 2**31  # minibatches; the files have 32 bits for their numbers


@dataclass(frozen=True)
class Manifest:
    """The contents of a manifest.

    Parameters
    ----------
    fields, layout
        Of the minibatches as they are stored.
    choice
        ``ragged`` and ``padding``.
    digest
        Of the text; None for a set of an older version, whose minibatches carry none.

    Examples
    --------
    >>> made = Manifest((Field("x"),), Layout(3, 2, 1), {"ragged": None, "padding": None})
    >>> text, manifest = made.written()
    >>> Manifest.parsed(text) == manifest, manifest.digest != made.written()[1].digest
    (True, True)
    """

    fields: tuple[Field, ...]
    layout: Layout
    choice: Mapping[str, Any]
    digest: str | None = None

    def written(self) -> tuple[str, "Manifest"]:
        """Return the text, one line that differs each time, and the manifest with the digest of it."""
        text = json.dumps(
            {
                "format": FORMAT,
                "fields": [[f.name, f.shape, f.dtype, *([f.batch_axis] if f.batch_axis else [])] for f in self.fields],
                "examples": self.layout.total,
                "batch_size": self.layout.batch_size,
                "shards": self.layout.shards,
                **self.choice,
                "identity": secrets.token_hex(16),
            },
            default=float,  # of numpy
        )
        return text, replace(self, digest=_digest(text))

    @classmethod
    def parsed(cls, text: str) -> "Manifest":
        """Return the manifest of a text; a DataError if it is none."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            msg = f"it is no JSON: {error}"
            raise DataError(msg) from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            msg = "it names another format, or none"
            raise DataError(msg)
        fields = _fields(found.get("fields"))
        batch_size = _whole(found, "batch_size", _MOST)
        layout = Layout(_whole(found, "examples", _MOST * batch_size), batch_size, _whole(found, "shards", _MOST))
        choice = {name: found.get(name) for name in ("ragged", "padding")}
        _check_choice(choice, fields)
        return cls(fields, layout, choice, _digest(text) if "identity" in found else None)

    def signed(self, item: tuple[int, bytes]) -> tuple[int, bytes]:
        """Return a (minibatch number, message) pair with the digest in the message; a copy."""
        number, message = item
        return number, dumps(loads(message), metadata={_KEY: self.digest})

    def checked(self, item: tuple[Any, Any]) -> tuple[int, bytes]:
        """Return the pair if it belongs to this data set. Only the header of the message is read, not its payload.

        Raises
        ------
        DataError, FormatError
            It belongs to another data set, the manifest describes it otherwise, or the message is damaged.
        """
        number, message = item
        if not is_whole(number, 0) or not isinstance(message, bytes | bytearray):
            msg = f"got a pair of {type(number).__name__} and {type(message).__name__}, expected the number of a minibatch and its bytes"
            raise DataError(msg)
        with located(f"minibatch {number}"):
            self._check(number, inspect(message))
        return number, bytes(message)

    def _check(self, number: int, info: Any) -> None:
        total, size = self.layout.total, self.layout.batch_size
        if number >= self.layout.num_batches:
            msg = f"the manifest says that there are {self.layout.num_batches:,}; expected a smaller number"
            raise DataError(msg)
        rows = min(size, total - number * size)
        expected = [f"{f.name!r} {f.dtype} {(rows, *f.shape)}" for f in self.fields]
        got = [f"{t.name!r} {t.dtype} {tuple(t.shape)}" for t in info.tensors]
        if sorted(got) != sorted(expected):
            msg = f"it holds {', '.join(got):.200}; expected {', '.join(expected):.200}, as the manifest says"
            raise DataError(msg)
        if info.metadata.get(_KEY) != self.digest:
            msg = "it was not saved with this manifest: it is of another data set, or the manifest was changed"
            raise DataError(msg)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _whole(found: Mapping[str, Any], name: str, most: int) -> int:
    value: Any = found.get(name)
    if not is_whole(value, 1) or value > most:
        msg = f"{name} is {value!r:.60}, expected a whole number from 1 to {most}"
        raise DataError(msg)
    return int(value)


def _fields(found: Any) -> tuple[Field, ...]:
    if not isinstance(found, list):
        msg = f"fields is {found!r:.60}, expected a list"
        raise DataError(msg)
    return check_fields([_field(each) for each in found])


def _field(found: Any) -> Field:
    match found:
        case [str(name), list(shape), str(dtype), *axis] if len(axis) <= 1 and all(is_whole(n, 0) for n in shape):
            return Field(name, tuple(shape), dtype, batch_axis=axis[0] if axis else 0)
    msg = f"a field is {found!r:.80}, expected name, shape, dtype and perhaps the batch axis"
    raise DataError(msg)


def _check_choice(choice: Mapping[str, Any], fields: tuple[Field, ...]) -> None:
    ragged, padding = choice["ragged"], choice["padding"]
    if not isinstance(ragged, str | None) or not isinstance(padding, dict | None):
        msg = f"ragged and padding are {ragged!r:.60} and {padding!r:.60}, expected a text and names with numbers, or null"
        raise DataError(msg)
    for name, value in (padding or {}).items():
        if not (isinstance(value, float) or (is_whole(value, -_LARGEST) and value <= _LARGEST)):
            msg = f"padding of {name!r} is {value!r:.60}, expected a number"
            raise DataError(msg)
    check_ragged(ragged, padding, [field.name for field in fields])
