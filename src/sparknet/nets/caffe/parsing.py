"""From a text to a message of Caffe. A mistake is told by its place, and by what the text is if it is another kind.

All that this Caffe does not know is named in one error, or dropped.
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
        Name of the message, as ``"NetParameter"``.
    where
        What errors call the text.
    drop
        Leave out the fields that this Caffe does not know; the log names each once.

    Raises
    ------
    NetError
        Line and column of a mistake; of what is not known all, with the forks of Caffe that know it.
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
    """Return the error for all that Caffe does not know, at the place of the first."""
    start = unknown[0].start
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    fix = "Take such fields out, or have them dropped: unknown_fields='drop', in the command --drop-unknown-fields"
    if not all(one.droppable for one in unknown):
        fix += ". A word that a known field is set to cannot be dropped"
    fix += _types_of_forks(text)
    msg = f"{where}:{line}:{column}: not a prototxt of a {kind}: {'; '.join(described(text, unknown))}. {fix}"
    return NetError(msg, path=where, line=line, column=column)


def _types_of_forks(text: str) -> str:
    """Return which layers of a net only forks can compute, for the end of a message: to drop fields would not be enough."""
    found = outline(text)
    types = dict.fromkeys(kind for _, kind in found.layers) if found else {}
    here = set(load().layer_type_list()) | DATA_LAYERS.keys()
    named = [f"{kind!r} ({forks_with(kind)})" for kind in types if kind not in here and forks_with(kind)]
    return f". It also has layers of types that this Caffe has not: {', '.join(named)}" if named else ""


def _mistaken(text: str, kind: str, where: str) -> str:
    """Return what a text is that was given in the place of another kind, for the end of a message; or nothing."""
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
