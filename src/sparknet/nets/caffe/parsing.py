"""Parsing a text to a message of Caffe. An error names the place of a mistake, or the kind of the text if it is another one.

One error names everything that this Caffe does not know; or all of it is dropped.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparknet.errors import NetError
from sparknet.formats.outline import outline
from sparknet.formats.prototxt import blanked
from sparknet.nets.caffe.inputs import DATA_LAYERS
from sparknet.nets.caffe.notes import note
from sparknet.nets.caffe.runtime import load, messages, text_format
from sparknet.nets.caffe.unknown import Unknown, described, forks_with, unknown_in

__all__ = ["parse"]

_KINDS = {"SolverParameter": "solver", "NetParameter": "net"}


def parse(text: str, kind: str, where: str, *, drop: bool = False) -> Any:
    """Return ``text`` as Caffe's message ``kind``.

    Parameters
    ----------
    text
        A prototxt.
    kind
        Name of the message, such as ``"NetParameter"``.
    where
        Name of the text in errors.
    drop
        True: leave out the fields that this Caffe does not know; the log names each once.

    Raises
    ------
    NetError
        The text has a mistake; the message gives line and column. Or it has unknown fields; the message gives all, with the forks
        of Caffe that know them.
    """
    message = getattr(messages(), kind)()
    try:
        text_format().Parse(text, message)
    except text_format().ParseError as error:
        mistaken, unknown = _mistaken(text, kind, where), unknown_in(text, message.DESCRIPTOR)
        if mistaken or not unknown:
            raise _misread(error, kind, where, mistaken) from None
        if not drop or not all(one.droppable for one in unknown):
            raise _not_known(text, unknown, kind, where) from None
        dropped = "; ".join(described(text, unknown))
        note(f"{where}: dropped what this Caffe does not know: {dropped}", logging.WARNING)
        return parse(blanked(text, ((one.start, one.end) for one in unknown)), kind, where)
    return message


def _misread(error: Any, kind: str, where: str, mistaken: str) -> NetError:
    line, column = error.GetLine(), error.GetColumn()
    reason = str(error).removeprefix(f"{line}:{column} : ").removesuffix(".")
    msg = f"{where}:{line}:{column}: not a prototxt of a {kind}: {reason}{mistaken}"
    return NetError(msg, path=where, line=line, column=column)


def _not_known(text: str, unknown: Sequence[Unknown], kind: str, where: str) -> NetError:
    """Return an error that names everything unknown, with the place of the first."""
    start = unknown[0].start
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    fix = "Take such fields out, or have them dropped: unknown_fields='drop', in the command --drop-unknown-fields"
    if not all(one.droppable for one in unknown):
        fix += ". A word that a known field is set to cannot be dropped"
    fix += _types_of_forks(text)
    msg = f"{where}:{line}:{column}: not a prototxt of a {kind}: {'; '.join(described(text, unknown))}. {fix}"
    return NetError(msg, path=where, line=line, column=column)


def _types_of_forks(text: str) -> str:
    """Return, for the end of a message, which layers only forks can compute: dropping fields would not be enough."""
    found = outline(text)
    types = dict.fromkeys(kind for _, kind in found.layers) if found else {}
    here = set(load().layer_type_list()) | DATA_LAYERS.keys()
    named = [f"{kind!r} ({forks_with(kind)})" for kind in types if kind not in here and forks_with(kind)]
    return f". It also has layers of types that this Caffe has not: {', '.join(named)}" if named else ""


def _mistaken(text: str, kind: str, where: str) -> str:
    """Return, for the end of a message, what a text of the wrong kind is; "" if that is unknown."""
    found = outline(text)
    if found is None or found.kind == _KINDS.get(kind):
        return ""
    if found.kind == "net":
        net = "net_param { ... }" if where == "solver" else f'net: "{Path(where).name}"'
        return (
            f". It is a net ({len(found.layers)} layers), as a deploy or train_val file holds it; give the solver that trains it. "
            f'A short one: {net} base_lr: 0.01 lr_policy: "fixed"'
        )
    net = found.fields.get("net") or found.fields.get("train_net") or "another file"
    return f". It is a solver; a solver names its net, and the net of this one is {net!r}"
