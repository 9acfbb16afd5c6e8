"""Notes about parts of a prototxt that are left out or have no effect, logged once for each time a definition is read.

The logger is ``sparknet.nets.caffe``. The level is WARNING if the result may differ from Caffe's, else INFO. The command shows
both.
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
    """Log no note twice inside the block: the two phases of a net share most of their layers."""
    token = _SAID.set(set())
    try:
        yield
    finally:
        _SAID.reset(token)


def note(text: str, level: int = logging.INFO) -> None:
    """Log ``text``, unless it was logged in the same block of :func:`noting`."""
    said = _SAID.get()
    if said is None or text not in said:
        _LOG.log(level, "%s", text)
    if said is not None:
        said.add(text)
