"""What a prototxt says that this Caffe does not know: every such field, with its line and the fork that has it.

protobuf names the first one only. Here the text is walked along Caffe's messages, and the walk stops where the text is
no prototxt at all, so that protobuf's own message says so.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["Unknown", "blanked", "described", "forks_with", "unknown_in"]

_TOKEN = re.compile(r"""(?:\s+|\#[^\n]*)|("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[\w.+-]+|.)""", re.DOTALL)
_ENDS = {"{": "}", "<": ">"}
_SHOWN_LINES = 4
_FREE = ("engine",)  # enum fields that choose how to compute, and not what: an unknown word in one can be dropped
# Forks' words for what Caffe says otherwise.
_OTHERWISE = {"ceil_mode": "say round_mode: CEIL for true, round_mode: FLOOR for false"}


@dataclass(frozen=True)
class Unknown:
    """A field, or the word that an enum field is set to, that this Caffe does not know.

    Parameters
    ----------
    message
        The message of Caffe that it stands in, as ``LayerParameter``.
    name
        What stands there.
    enum
        The field that is set to the word; empty for a field.
    known
        What could stand there.
    start, end
        Its place in the text, with its value.
    droppable
        Whether the text without it can mean the same.
    """

    message: str
    name: str
    enum: str
    known: tuple[str, ...]
    start: int
    end: int
    droppable: bool = True


def unknown_in(text: str, descriptor: Any) -> list[Unknown]:
    """Return what ``text``, a prototxt of the message of ``descriptor``, says that the message does not know."""
    walk = _Walk([(m.start(1), m.group(1)) for m in _TOKEN.finditer(text) if m.group(1)])
    try:
        walk.fields(descriptor, "")
    except (IndexError, ValueError):  # it ends in the middle, or is no prototxt
        return []
    return walk.found


def blanked(text: str, unknown: Iterable[Unknown]) -> str:
    """Return ``text`` with spaces in place of the unknown fields; lines and columns stay."""
    for one in unknown:
        text = text[: one.start] + re.sub(r"[^\n]", " ", text[one.start : one.end]) + text[one.end :]
    return text


def described(text: str, unknown: Sequence[Unknown]) -> list[str]:
    """Return for each unknown thing one phrase: its lines, what is not known, and the forks that know it."""
    lines: dict[tuple[str, str, str], list[int]] = {}
    first: dict[tuple[str, str, str], Unknown] = {}
    for one in unknown:
        key = (one.message, one.enum, one.name)
        lines.setdefault(key, []).append(text.count("\n", 0, one.start) + 1)
        first.setdefault(key, one)
    return [f"{_places(at)}: {_phrase(first[key])}" for key, at in lines.items()]


def forks_with(name: str, message: str = "type") -> str:
    """Return which forks have a field of this name in a message, or by default a type of layer: a phrase, or nothing."""
    kind = re.sub("Parameter$", "", message).replace("V1Layer", "Layer").replace("V0Layer", "Layer")
    found = [fork for fork, kinds in _forks().items() if name in kinds.get(kind, "").split()]
    return f"known to {', '.join(found)}" if found else ""


@cache
def _forks() -> dict[str, dict[str, str]]:
    return tomllib.loads(files(__package__).joinpath("forks.toml").read_text(encoding="utf-8"))


def _places(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - _SHOWN_LINES} more" if len(lines) > _SHOWN_LINES else ""
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines[:_SHOWN_LINES]))}{more}"


def _phrase(one: Unknown) -> str:
    what = f'{one.message} has no field named "{one.name}"'
    if one.enum:
        what = f'{one.message} has no {one.enum} "{one.name}"'
    forks = forks_with(one.name, "type" if one.enum == "type" else one.message)
    near = get_close_matches(one.name, one.known, 1, 0.8)
    hint = _OTHERWISE.get(one.name) or forks or (f'did you mean "{near[0]}"?' if near else "")
    return f"{what} ({hint})" if hint else what


class _Walk:
    """Goes through the tokens of a prototxt once, along the messages they belong to."""

    def __init__(self, tokens: list[tuple[int, str]]) -> None:
        self.found: list[Unknown] = []
        self._tokens = tokens
        self._at = 0

    def fields(self, descriptor: Any, end: str) -> None:
        """Go through the fields of a message up to the token ``end``; ``descriptor`` is None for an unknown message."""
        while self._at < len(self._tokens) or end:
            start, name = self._next()
            if name == end:
                return
            if not name.isidentifier():
                raise ValueError(name)
            field = descriptor.fields_by_name.get(name) if descriptor else None
            before = len(self.found)
            self._value(descriptor, field)
            if self._peek() in (",", ";"):
                self._next()
            if descriptor and not field:
                known = tuple(descriptor.fields_by_name)
                self.found.append(Unknown(descriptor.name, name, "", known, start, self._end()))
            elif name in _FREE and len(self.found) > before:
                self.found[before:] = [replace(self.found[before], start=start, end=self._end(), droppable=True)]

    def _value(self, descriptor: Any, field: Any) -> None:
        if self._peek() == ":":
            self._next()
        if self._peek() != "[":
            self._single(descriptor, field)
            return
        self._next()
        while self._peek() != "]":
            self._single(descriptor, field)
            if self._peek() == ",":
                self._next()
        self._next()

    def _single(self, descriptor: Any, field: Any) -> None:
        start, token = self._next()
        if token in _ENDS:
            self.fields(field.message_type if field else None, _ENDS[token])
        elif len(token) == 1 and not token.isalnum():
            raise ValueError(token)
        elif token[0] in "\"'":
            while self._peek()[:1] in ("'", '"'):  # strings side by side are one
                self._next()
        elif field and field.enum_type and not re.match(r"[-\d]", token):
            known = tuple(field.enum_type.values_by_name)
            if token not in known:
                self.found.append(
                    Unknown(descriptor.name, token, field.name, known, start, self._end(), droppable=False)
                )

    def _next(self) -> tuple[int, str]:
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _end(self) -> int:
        start, token = self._tokens[self._at - 1]
        return start + len(token)
