"""The place of a scheduler, as a function of the iteration alone.

Workers may have taken different numbers of steps, a state may be reset, and one net works for several workers. In each case the
iteration count goes on, and the learning rate follows from it. So a scheduler is not carried as a state: it is put to an iteration, by
steps from the last place that was kept. That is the beginning of the round, or in a new process the beginning of the training.
"""

import logging
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.torch.runtime import load

__all__ = ["Schedule", "changed", "settings_of"]

_LOG = logging.getLogger(__name__)


def settings_of(optimizer: Any) -> list[dict[str, Any]]:
    """Return a copy of the settings of an optimizer's parameter groups: learning rate, momentum and so on."""
    return [
        {key: deepcopy(value) for key, value in group.items() if key != "params"} for group in optimizer.param_groups
    ]


def changed(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    """Return the names of the settings that differ; repr compares numbers, texts and tensors alike. A group more is "params"."""
    if len(before) != len(after):
        return ["params"]
    pairs = zip(before, after, strict=True)
    return [key for old, new in pairs for key in new if key not in old or repr(old[key]) != repr(new[key])]


@dataclass(frozen=True)
class _Place:
    """A scheduler and the settings of its optimizer after some steps."""

    iteration: int
    state: Any
    settings: list[dict[str, Any]]


class Schedule:
    """A scheduler that takes a step after each step of the optimizer. Without a scheduler, settings stay as they are.

    Parameters
    ----------
    scheduler
        A scheduler of torch whose ``step()`` needs no argument, or None.
    optimizer
        Its optimizer.
    """

    def __init__(self, scheduler: Any, optimizer: Any) -> None:
        needed = ("step", "state_dict", "load_state_dict")
        if scheduler is not None and not all(hasattr(scheduler, name) for name in needed):
            msg = f"TorchNet: scheduler() returned {type(scheduler).__name__}, expected a scheduler of torch.optim.lr_scheduler"
            raise NetError(msg)
        if isinstance(scheduler, load().optim.lr_scheduler.ReduceLROnPlateau):
            msg = (
                "TorchNet: a ReduceLROnPlateau follows a metric, which a step does not have; expected a scheduler that "
                "follows from the number of steps alone"
            )
            raise NetError(msg)
        self._scheduler, self._optimizer = scheduler, optimizer
        self._iteration, self._is_told = 0, False
        self._first = self._kept = self._here()

    def advance(self) -> None:
        """Take the scheduler's step after a solver step."""
        self._iteration += 1
        if self._scheduler is not None:
            # torch warns of a scheduler that steps before its optimizer; in a new process the optimizer's steps were taken elsewhere
            self._optimizer._opt_called = True
            self._scheduler.step()

    def go_to(self, iteration: int) -> None:
        """Put the scheduler where it is after so many solver steps, and keep that place."""
        if iteration < self._iteration:
            self._put(self._kept if self._kept.iteration <= iteration else self._first)
        while self._iteration < iteration:
            if self._scheduler is None:
                self._iteration = iteration
            else:
                self.advance()
        self._kept = self._here()

    def check(self) -> None:
        """Raise a NetError if the optimizer has more groups than at first. A warning is logged once if it has changed its own settings."""
        before, now = self._first.settings, settings_of(self._optimizer)
        if len(now) != len(before):
            msg = f"the optimizer has {len(now)} parameter groups, and had {len(before)}; expected that a training adds none"
            raise NetError(msg)
        names = changed(before, now) if self._scheduler is None and not self._is_told else []
        if names:
            self._is_told = True
            _LOG.warning(
                "TorchNet: %s has other values of %s than at first: parameter groups do not travel between workers, nor to a checkpoint; "
                "give a scheduler",
                *(type(self._optimizer).__name__, ", ".join(map(repr, dict.fromkeys(names)))),
            )

    def _here(self) -> _Place:
        state = None if self._scheduler is None else deepcopy(self._scheduler.state_dict())
        return _Place(self._iteration, state, settings_of(self._optimizer))

    def _put(self, place: _Place) -> None:
        if self._scheduler is not None:
            self._scheduler.load_state_dict(deepcopy(place.state))
            for group, settings in zip(self._optimizer.param_groups, place.settings, strict=True):
                group.update(deepcopy(settings))
        self._iteration = place.iteration
