"""Warnings about the values that a net gets: a very small range, or the same change by the preprocessor and by the net."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from sparknet.data.preprocess import Preprocessor
from sparknet.data.preprocess.base import steps_of
from sparknet.data.ranges import implausible
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net

__all__ = ["warn_of_values"]

_LOG = logging.getLogger(__name__)
_COMPUTING = ("x ", "- ", "+ ")  # the descriptions of a scale, a mean and a shift begin so


def warn_of_values(net: Net, batch: Mapping[str, NDArray], preprocessor: Preprocessor | None) -> None:
    """Log a warning for each input that the net can hardly learn from, or that is scaled or centred twice.

    Parameters
    ----------
    net
        A net that has just run forward on ``batch``.
    batch
        The first minibatch, as the ``preprocessor`` leaves it.
    preprocessor
        Of the data; None if there is none.
    """
    for warning in (*_twice(net, preprocessor), *_narrow(net, batch)):
        _LOG.warning("%s", warning)


def _narrow(net: Net, batch: Mapping[str, NDArray]) -> Iterator[str]:
    entering = getattr(net, "entering", None)  # the values behind what the net itself does to them
    for name, array in (batch if entering is None else entering()).items():
        warning = implausible(name, array)
        if warning is not None:
            yield warning


def _twice(net: Net, preprocessor: Any) -> Iterator[str]:
    changes = getattr(net, "input_changes", None)
    if changes is None:
        return
    of_net = changes()
    for step in steps_of(preprocessor):
        describe = getattr(step, "describe", None)
        said = describe() if describe is not None else ""
        again = [word for word in of_net.get(getattr(step, "field", ""), ()) if word.startswith(_COMPUTING)]
        if said.startswith(_COMPUTING) and again:
            yield (
                f"input {step.field!r}: the preprocessor of the data computes {said}, and the net then {', '.join(again)}; "
                "leave one of them out unless both are meant"
            )
