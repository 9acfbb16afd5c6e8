"""What happens if results of a round are not finite: an error, an average of the others, or a warning."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sparknet.averaging import first_nonfinite
from sparknet.checkpoint import Position
from sparknet.errors import DataError, TrainingError
from sparknet.worker import Facts

__all__ = ["Divergence", "OnNonfinite"]

OnNonfinite = Literal["error", "leave_out", "warn"]

_LOG = logging.getLogger(__name__)
_ADVICE = "A smaller learning rate, or a look at the values of the data, is what helps most often"
_OTHERS = (
    "on_nonfinite='leave_out' averages the results of the other workers, on_nonfinite='warn' goes on with what there is"
)


@dataclass(frozen=True)
class Divergence:
    """The policy of a run (``on_nonfinite`` of :func:`averaged_sgd`), and the directory of its checkpoint, if any."""

    policy: OnNonfinite
    checkpoint: str | None

    def counts(self, nonfinite: str | None) -> bool:
        """Say whether a result is one of those that are enough, of what is not finite in it: one that will be left out is not."""
        return nonfinite is None or self.policy != "leave_out"

    def taking_part(self, index: int, outcomes: Sequence[Facts]) -> list[int]:
        """Return the places of the outcomes that are averaged; log what is wrong with the others.

        Raises
        ------
        TrainingError
            An outcome is not finite and the policy is "error"; or none is finite and it is "leave_out".
        """
        bad = [outcome for outcome in outcomes if outcome.nonfinite is not None]
        if not bad:
            return list(range(len(outcomes)))
        first, *more = bad
        others = f", and so are results of {len(more)} of the other workers" if more else ""
        what = f"round {index}: worker {first.worker}: {first.nonfinite}{others}"
        if self.policy == "error":
            msg = f"{what}. {self._last_finite(index)} {_ADVICE}; {_OTHERS}"
            raise TrainingError(msg, round=index, worker=first.worker)
        if self.policy == "warn":
            _LOG.warning("%s; goes on with it, as on_nonfinite='warn' says", what)
            return list(range(len(outcomes)))
        if len(bad) == len(outcomes):
            msg = f"{what}: no worker is left to average. {self._last_finite(index)} {_ADVICE}"
            raise TrainingError(msg, round=index, worker=first.worker)
        left_out = ", ".join(str(outcome.worker) for outcome in bad)
        _LOG.warning("%s; left out of the average: worker %s, of %d", what, left_out, len(outcomes))
        return [place for place, outcome in enumerate(outcomes) if outcome.nonfinite is None]

    def is_finite(self, position: Position) -> bool:
        """Say whether weights and states are finite after a round; log what is not, if it stays out of the checkpoint.

        Raises
        ------
        TrainingError
            They are not, and the policy is not "warn": the rule made numbers that are not finite of finite results.
        """
        found = first_nonfinite(position.weights, position.states, position.rule_state)
        if found is None:
            return True
        index = position.rounds - 1
        if self.policy != "warn":
            msg = f"round {index}: after averaging, {found}. {self._last_finite(index)} {_ADVICE}"
            raise TrainingError(msg, round=index, worker=None)
        if self.checkpoint is not None:
            _LOG.warning("round %d: %s; not written to the checkpoint, %s", index, found, self._last_finite(index))
        return False

    def check_start(self, position: Position) -> None:
        """Refuse to start from NaN or infinities, unless the policy is "warn".

        Raises
        ------
        DataError
            The position has such a number.
        """
        found = first_nonfinite(position.weights, position.states, position.rule_state)
        if found is None:
            return
        what = f"averaged_sgd(): before the first step {found}"
        if self.policy != "warn":
            msg = f"{what}, expected finite numbers to start from; look at weights=, the factory or the checkpoint"
            raise DataError(msg, layer=found.layer, index=found.index)
        _LOG.warning("%s", what)

    def _last_finite(self, index: int) -> str:
        """Return a sentence that says where the weights from before the round are."""
        if not index:
            return "It is the first round."
        where = "" if self.checkpoint is None else f"; the checkpoint in {self.checkpoint} has the last finite ones"
        return f"The weights before it are those that the loop had from round {index - 1}{where}."
