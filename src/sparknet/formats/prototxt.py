"""What a prototxt is, a net or a solver, told from its text: without Caffe, whose messages name every field.

So a text is known for what it is also where it does not parse: a net given as a solver, a net with fields of a fork.
"""

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Outline", "cut", "decoded", "outline", "walk"]

_GAP = r"(?:\s|\#[^\n]*(?:\n|$))*"
_TEXT = r""" "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' """
# The end of a message, the beginning of one, or a plain field; what is none of them is in `other`.
_ITEM = re.compile(
    rf"""[,;] | (?P<end>[}}>]) | (?P<begin>[A-Za-z_]\w*) {_GAP} :? {_GAP} [{{<]
    | (?P<field>[A-Za-z_]\w*) {_GAP} : {_GAP} (?P<value> {_TEXT} | \[[^]]*\] | [^][\s,;{{}}<>\#"']+ ) (?: {_GAP} (?:{_TEXT}) )*
    | (?P<other>\S)""",
    re.VERBOSE,
)
_SPACE = re.compile(_GAP)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
# Fields of one kind that the other does not have.
_NET = {"layer", "layers", "input", "input_dim", "input_shape", "state", "force_backward", "name"}
_SOLVER = {
    *("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param", "base_lr", "lr_policy"),
    *("max_iter", "solver_mode", "solver_type", "momentum", "weight_decay", "test_iter", "test_interval", "snapshot"),
    *("snapshot_prefix", "gamma", "power", "stepsize", "stepvalue", "random_seed", "display", "type", "weights"),
}


class Outline(NamedTuple):
    """What a prototxt is.

    Parameters
    ----------
    kind
        ``"net"`` or ``"solver"``.
    fields
        Name of each plain field at the top -> its last value as it is written, without quotes.
    layers
        Name and type of each layer.
    """

    kind: str
    fields: dict[str, str]
    layers: tuple[tuple[str, str], ...]


def decoded(data: bytes) -> tuple[str, bool]:
    r"""Return the text of a prototxt, and whether it is UTF-8: Caffe takes any bytes in comments, and people wrote them.

    Other bytes become characters one by one, as in Latin-1. A mark of the byte order at the start is passed over.

    Raises
    ------
    UnicodeDecodeError
        It is no text: not UTF-8, and with control characters.

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


def outline(text: str) -> Outline | None:
    """Return what a text is; None if it is no prototxt of Caffe.

    Examples
    --------
    >>> outline('net: "lenet.prototxt" base_lr: 0.01').fields["net"]
    'lenet.prototxt'
    >>> outline('layer { name: "data" type: "Input" top: "x" }').layers
    (('data', 'Input'),)
    >>> outline("Dear reader,") is None
    True
    """
    fields: dict[str, str] = {}
    names = set()
    layers: list[dict[str, str]] = []
    try:
        for path, value, _ in walk(text):
            names.add(path[0])
            if len(path) == 1 and value is None and path[0] in ("layer", "layers"):
                layers.append({})
            elif len(path) == 1 and value is not None:
                fields[path[0]] = value
            elif value is not None and path[0] in ("layer", "layers") and path[1:] in _OF_LAYER:
                layers[-1].setdefault(path[-1], value)
    except ValueError:
        return None
    kind = "solver" if names & _SOLVER else "net" if names & _NET else None
    found = tuple((layer.get("name", ""), layer.get("type", "")) for layer in layers)
    return None if kind is None else Outline(kind, fields, found)


_OF_LAYER = (("name",), ("type",), ("layer", "name"), ("layer", "type"))  # the latter two in files of 2013


def cut(text: str, name: str) -> tuple[str, list[str]]:
    """Return a text without the plain fields ``name`` at its top, and what they were set to, as it was written.

    All else keeps its line and column. A text that is no prototxt is returned as it is.

    Examples
    --------
    >>> cut('net: "a" weights: "b" type: "SGD"', "weights")
    ('net: "a"              type: "SGD"', ['"b"'])
    """
    try:
        found = [item for path, value, item in walk(text) if path == (name,) and value is not None]
    except ValueError:
        return text, []
    for item in found:
        text = text[: item.start()] + re.sub(r"[^\n]", " ", item[0]) + text[item.end() :]
    return text, [item[0][item.start("value") - item.start() :] for item in found]


def walk(text: str) -> Iterator[tuple[tuple[str, ...], str | None, re.Match[str]]]:
    """Yield path, value and match of each plain field, and None where a message begins; a ValueError for no prototxt."""
    stack: list[str] = []
    place = _SPACE.match(text).end()  # type: ignore[union-attr] # it may be empty
    while found := _ITEM.match(text, place):
        if found["other"] or (found["end"] and not stack):
            raise ValueError(found[0])
        if found["begin"]:
            stack.append(found["begin"])
            yield tuple(stack), None, found
        elif found["field"]:
            yield (*stack, found["field"]), found["value"].strip("\"'"), found
        elif found["end"]:
            stack.pop()
        place = _SPACE.match(text, found.end()).end()  # type: ignore[union-attr]
    if stack:
        raise ValueError(stack[-1])
