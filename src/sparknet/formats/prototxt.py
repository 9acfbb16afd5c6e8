"""The text format of protobuf, read without a schema: fields and their places. It knows no message of Caffe.

So it reads a text without Caffe, and a text with fields that no message has. It refuses only what protobuf refuses too, and
does not check values.
"""

import codecs
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sparknet.files.regular import read_regular

__all__ = ["MAX_TEXT", "Node", "Word", "blanked", "decoded", "parsed", "read_text"]

# Most bytes of a prototxt in a file. In memory it takes up to 90 times as many; that of ResNet-152 has 0.1 MB.
MAX_TEXT = 1 << 22

# Space and comments, then a token: a string, a word, a mark (also a quote without a second one on its line), or the end, empty.
_TOKEN = re.compile(
    r"""(?:\s|\#[^\n]*)* ( "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' | [^][\s,:;{}<>\#"']+ | [][,:;{}<>"'] | \Z )""",
    re.VERBOSE,
)
_MARKS = frozenset("[],:;{}<>\"'")
_QUOTES = ('"', "'")
_ENDS = {"{": "}", "<": ">"}
_DEEPEST = 100  # levels of messages in messages, protobuf's limit
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


class Word(NamedTuple):
    """A value that is no message: a string with its quotes, a number, a word of an enum.

    ``start`` and ``end`` are its place in the text. Of several strings side by side, ``text`` is the first, and the place is that of
    all.
    """

    text: str
    start: int
    end: int


class Node(NamedTuple):
    """A field as written.

    Parameters
    ----------
    name
        The field's name.
    words, messages
        Its values: those that are no messages, and the fields of each value that is a message. A list ``[...]`` has several values.
    start, value, value_end, end
        Places in the text: of the name, of the value, after the value, and after a comma or semicolon that follows.
    """

    name: str
    words: tuple[Word, ...]
    messages: tuple[tuple["Node", ...], ...]
    start: int
    value: int
    value_end: int
    end: int


def parsed(text: str) -> tuple[Node, ...]:
    """Return the fields at the top of ``text``, with the fields inside of them.

    Raises
    ------
    ValueError
        It is no prototxt, or has more than 100 levels of messages.

    Examples
    --------
    >>> [layer] = parsed('layer { name: "data" top: ["a", "b"] }')
    >>> [(field.name, [word.text for word in field.words]) for field in layer.messages[0]]
    [('name', ['"data"']), ('top', ['"a"', '"b"'])]
    """
    return _Reader(text).fields("", 0)


def blanked(text: str, places: Iterable[tuple[int, int]]) -> str:
    """Return ``text`` with spaces at each (start, end), given in order; all other text keeps its line and column."""
    pieces: list[str] = []
    at = 0
    for start, end in places:
        pieces += text[at:start], re.sub(r"[^\n]", " ", text[start:end])
        at = end
    return "".join(pieces) + text[at:]


def decoded(data: bytes) -> tuple[str, bool]:
    r"""Return the text of a prototxt, and whether it is UTF-8. Caffe takes any bytes in comments, and files have them.

    Text that is not UTF-8 is decoded as Latin-1, a character for each byte. A byte order mark at the start is ignored.

    Raises
    ------
    UnicodeDecodeError
        It is no text: it is not UTF-8 and has control characters.

    Examples
    --------
    >>> decoded(b"# caf\xe9")
    ('# café', False)
    """
    try:
        return data.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        if _CONTROL.search(data):
            raise
        return data.removeprefix(codecs.BOM_UTF8).decode("latin-1"), False


def read_text(path: Path) -> tuple[str, bool]:
    """Return the text in a file, as :func:`decoded` does.

    Raises
    ------
    FormatError
        It is larger than 4 MiB.
    UnicodeDecodeError
        As for :func:`decoded`.
    OSError
        It cannot be read, or is no regular file.
    """
    return decoded(read_regular(path, MAX_TEXT, "a prototxt"))


class _Reader:
    """Reads the tokens of a text, once."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.finditer(text)
        self._token = next(self._tokens)
        self._next = self._token[1]  # text of the next token, empty at the end
        self._end = 0  # where the last token that was taken ends

    def fields(self, end: str, depth: int) -> tuple[Node, ...]:
        """Take the fields of a message up to the token ``end``."""
        if depth > _DEEPEST:
            raise self._wrong(self._token, f"more than {_DEEPEST} messages in one another")
        found = []
        while self._next != end:
            found.append(self._field(depth))
        self._take()
        return tuple(found)

    def _field(self, depth: int) -> Node:
        name = self._take()
        if not name[1].isidentifier():
            raise self._wrong(name, "expected the name of a field")
        has_colon = self._skipped(":")
        words: list[Word] = []
        messages: list[tuple[Node, ...]] = []
        value = self._token
        if self._skipped("["):
            while not self._skipped("]"):
                self._value(words, messages, depth)
                self._skipped(",")
        else:
            self._value(words, messages, depth)
        if words and not has_colon:
            raise self._wrong(value, "expected a colon")
        value_end = self._end
        if not self._skipped(","):
            self._skipped(";")
        return Node(name[1], tuple(words), tuple(messages), name.start(1), value.start(1), value_end, self._end)

    def _value(self, words: list[Word], messages: list[tuple[Node, ...]], depth: int) -> None:
        token = self._take()
        text = token[1]
        if text in _ENDS:
            messages.append(self.fields(_ENDS[text], depth + 1))
            return
        if text in _MARKS or not text:
            raise self._wrong(token, "expected a value, a string with both of its quotes on one line")
        if text[0] in _QUOTES:
            while self._next[:1] in _QUOTES and len(self._next) > 1:
                self._take()
        words.append(Word(text, token.start(1), self._end))

    def _take(self) -> re.Match[str]:
        """Return the next token, and go on to the one after it."""
        token = self._token
        self._end = token.end()
        self._token = next(self._tokens, token)
        self._next = self._token[1]
        return token

    def _skipped(self, text: str) -> bool:
        """Take the next token if it is ``text``; return whether it was."""
        if self._next != text:
            return False
        self._take()
        return True

    def _wrong(self, token: re.Match[str], what: str) -> ValueError:
        return ValueError(f"no prototxt: character {token.start(1)}, {token[1][:20]!r}: {what}")
