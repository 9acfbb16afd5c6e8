"""What of a prototxt is left out here, or means nothing here: logged, each thing once for each time a definition is read.

The log is that of ``sparknet.nets.caffe``: level WARNING where another result than Caffe's is possible, else INFO. The
command shows both.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["note", "noting"]

_LOG = logging.getLogger("sparknet.nets.caffe")
_SAID: ContextVar[set[str] | None] = ContextVar("_SAID", default=None)


@contextmanager
def noting() -> Iterator[None]:
    """Let no note be logged twice inside the block: the two phases of a net share most of their layers."""
    token = _SAID.set(set())
    try:
        yield
    finally:
        _SAID.reset(token)


def note(text: str, level: int = logging.INFO) -> None:
    """Log ``text``, unless the block of :func:`noting` has had it."""
    said = _SAID.get()
    if said is None or text not in said:
        _LOG.log(level, "%s", text)
    if said is not None:
        said.add(text)
