"""From a text to a message of Caffe. A mistake is told by its place, and by what the text is if it is another kind."""

from pathlib import Path
from typing import Any

from sparknet.errors import NetError
from sparknet.formats.prototxt import outline
from sparknet.nets.caffe.runtime import messages, text_format

__all__ = ["parse"]

_KINDS = {"SolverParameter": "solver", "NetParameter": "net"}


def parse(text: str, kind: str, where: str) -> Any:
    """Return ``text`` as Caffe's message ``kind``; a NetError says line and column of a mistake."""
    message = getattr(messages(), kind)()
    try:
        text_format().Parse(text, message)
    except text_format().ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        reason = str(error).removeprefix(f"{line}:{column} : ")
        msg = f"{where}:{line}:{column}: not a prototxt of a {kind}: {reason}{_mistaken(text, kind, where)}"
        raise NetError(msg, path=where, line=line, column=column) from None
    return message


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
