"""Fields and words of a prototxt that this Caffe does not know: all of them, with their lines and the forks that have them.

protobuf names the first one only. This module compares the text with Caffe's messages. In a text that is no prototxt it finds
nothing; protobuf's own message is the better one then.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any

from sparknet.formats.prototxt import Node, parsed

__all__ = ["Unknown", "described", "forks_with", "unknown_in"]

_SHOWN_LINES = 4
_SHOWN_PHRASES = 50
_FREE = ("engine",)  # enum fields that choose how to compute, not what: an unknown word in them can be dropped
# Forks' words for what Caffe says otherwise.
_OTHERWISE = {"ceil_mode": "say round_mode: CEIL for true, round_mode: FLOOR for false"}


@dataclass(frozen=True)
class Unknown:
    """A field, or a word as the value of an enum field, that this Caffe does not know.

    Parameters
    ----------
    message
        Caffe's message around it, such as ``LayerParameter``.
    name
        The unknown field or word.
    enum
        The enum field with the word; empty for an unknown field.
    known
        The known fields or words in its place.
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
    """Return all that is unknown in ``text``, a prototxt of the message of ``descriptor``."""
    try:
        return list(_unknown(parsed(text), descriptor))
    except ValueError:
        return []


def described(text: str, unknown: Sequence[Unknown]) -> list[str]:
    """Return a phrase for each unknown thing, at most 50: its lines, its name, and the forks that know it."""
    lines: dict[tuple[str, str, str], list[int]] = {}
    first: dict[tuple[str, str, str], Unknown] = {}
    line = at = 0
    for one in unknown:  # in the order of the text
        key = (one.message, one.enum, one.name)
        line, at = line + text.count("\n", at, one.start), one.start
        lines.setdefault(key, []).append(line + 1)
        first.setdefault(key, one)
    phrases = [f"{_places(lines[key])}: {_phrase(one)}" for key, one in islice(first.items(), _SHOWN_PHRASES)]
    more = len(first) - len(phrases)
    return phrases + [f"and {more} more such things"] * (more > 0)


def forks_with(name: str, message: str = "type") -> str:
    """Return a phrase that names the forks with this field in a message, or with this type of layer; "" if there are none."""
    kind = re.sub("Parameter$", "", message).replace("V1Layer", "Layer").replace("V0Layer", "Layer")
    found = [fork for fork, kinds in _forks().items() if name in kinds.get(kind, "").split()]
    return f"known to {', '.join(found)}" if found else ""


@cache
def _forks() -> dict[str, dict[str, str]]:
    return tomllib.loads(files(__package__).joinpath("forks.toml").read_text(encoding="utf-8"))


@cache
def _fields(descriptor: Any) -> tuple[str, ...]:
    return tuple(descriptor.fields_by_name)


def _unknown(nodes: Sequence[Node], descriptor: Any) -> Iterator[Unknown]:
    known = _fields(descriptor)
    for node in nodes:
        field = descriptor.fields_by_name.get(node.name)
        if field is None:
            yield Unknown(descriptor.name, node.name, "", known, node.start, node.end)
            continue
        if field.enum_type:
            yield from _unknown_words(node, descriptor.name, tuple(field.enum_type.values_by_name))
        if field.message_type:
            for message in node.messages:
                yield from _unknown(message, field.message_type)


def _unknown_words(node: Node, message: str, known: tuple[str, ...]) -> Iterator[Unknown]:
    """Yield the values of an enum field that are not ``known`` words; numbers are allowed."""
    words = [word for word in node.words if word.text not in known and not re.match(r"[-\d\"']", word.text)]
    if words and node.name in _FREE:
        yield Unknown(message, words[0].text, node.name, known, node.start, node.end)
        return
    for word in words:
        yield Unknown(message, word.text, node.name, known, word.start, word.end, droppable=False)


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
