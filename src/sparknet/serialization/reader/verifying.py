"""Checks of the elements of a message: checksums, and bools that are neither 0 nor 1."""

from collections.abc import Iterable, Sequence

from sparknet.errors import FormatError
from sparknet.serialization.memory.checksum import Checksum, transfer
from sparknet.serialization.message.layout import START
from sparknet.serialization.message.plans import Plan
from sparknet.serialization.payload.dtypes import BOOL
from sparknet.serialization.reader.opening import OpenMessage

DAMAGED = "is damaged: its checksum does not match"
NO_BOOL = "holds a bool that is neither 0 nor 1"


def check_tensors(message: OpenMessage, tensors: Sequence[int], *, required: bool) -> None:
    """Read these tensors and refuse what is damaged; ``required``: a message without checksums is refused too."""
    if has_checksums(message, required=required):
        split = [tensor for tensor in tensors if message.plan.is_split(tensor)] if message.plan.has_splits else []
        whole = [tensor for tensor in tensors if not message.plan.is_split(tensor)] if split else tensors
        refuse_damaged(message, whole, transfer(list(map(message.payload, whole))))
        refuse_damaged(message, split, (_checksum_of_split(message, tensor) for tensor in split))
    refuse_bools(message, tensors)


def _checksum_of_split(message: OpenMessage, tensor: int) -> int:
    state = Checksum()
    for payload in message.payloads(tensor):
        state.update(payload)
    return state.value()


def has_checksums(message: OpenMessage, *, required: bool) -> bool:
    """Say whether the message carries checksums; refuse one that does not if they are ``required``."""
    if required and not message.plan.summed:
        msg = "verify=True, but the message carries no checksums: it was written with checksum=False"
        raise FormatError(msg, tensor=None, offset=START)
    return message.plan.summed


def refuse_damaged(message: OpenMessage, tensors: Iterable[int], sums: Iterable[int]) -> None:
    """Compare the checksums of tensors with those in the message."""
    expected = message.checksums
    for tensor, value in zip(tensors, sums, strict=True):
        if expected[tensor] != value:
            raise wrong(message.plan, tensor, DAMAGED)


def refuse_bools(message: OpenMessage, tensors: Sequence[int]) -> None:
    """Refuse bools that are neither 0 nor 1."""
    codes = message.plan.header.codes
    if BOOL in codes:
        for tensor in tensors:
            is_plain = codes[tensor] == BOOL and message.plan.is_raw(tensor)
            if is_plain and any(part.size and part.max() > 1 for part in message.payloads(tensor)):
                raise wrong(message.plan, tensor, NO_BOOL)


def wrong(plan: Plan, tensor: int, what: str) -> FormatError:
    """Return the error of a tensor whose bytes are not as they should be."""
    name, layout = plan.header.tensor_names()[tensor], plan.layout
    start = layout.starts[layout.first[tensor]]
    return FormatError(f"tensor {name!r} (from byte {start}) {what}", tensor=name, offset=start)
