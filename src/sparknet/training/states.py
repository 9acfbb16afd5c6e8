"""What becomes of the workers' solver states between two rounds."""

from collections.abc import Sequence
from typing import Literal

from sparknet import nd
from sparknet.ndarray import NDArray
from sparknet.nets.base import SolverState
from sparknet.weights import WeightCollection

__all__ = ["StatePolicy", "next_states"]

StatePolicy = Literal["average", "local", "reset"]


def next_states(
    policy: StatePolicy, states: Sequence[SolverState], shares: Sequence[float], new_state: SolverState
) -> list[SolverState]:
    """Return the states that the next round starts from: one for all workers, or one for each.

    Parameters
    ----------
    policy
        As ``solver_state`` of :func:`averaged_sgd`.
    states
        What the workers brought back, in their order.
    shares
        Each worker's part in a mean, in any scale.
    new_state
        That of a solver that took no step.
    """
    if policy == "local":
        return list(states)
    names = ["iteration"] if policy == "reset" else dict.fromkeys(name for state in states for name in state)
    return [{**new_state, **{name: _mean(name, states, shares) for name in names}}]


def _mean(name: str, states: Sequence[SolverState], shares: Sequence[float]) -> NDArray:
    """Return the mean of the arrays of this name.

    Some solvers make their history at the first step; a worker that took none then counts as one whose history is zero.
    """
    found = [state.get(name) for state in states]
    like = next(array for array in found if array is not None)
    arrays = [nd.zeros_like(like) if array is None else array for array in found]
    return WeightCollection.mean([WeightCollection({"": [a]}) for a in arrays], weights=shares)[""][0]
