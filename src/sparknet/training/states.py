"""The solver states of the next round, made of those that the workers returned."""

from collections.abc import Sequence
from typing import Literal

from sparknet import nd
from sparknet.ndarray import NDArray
from sparknet.nets.base import SolverState
from sparknet.weights import WeightCollection

__all__ = ["StatePolicy", "names_kept", "next_states"]

StatePolicy = Literal["average", "local", "reset"]


def names_kept(policy: StatePolicy) -> tuple[str, ...]:
    """Return the names of the arrays of a state that the next round needs; empty: all of them."""
    return ("iteration",) if policy == "reset" else ()


def next_states(
    policy: StatePolicy, states: Sequence[SolverState], shares: Sequence[float], new_state: SolverState
) -> list[SolverState]:
    """Return the states at the start of the next round: one for all workers, or one for each.

    Parameters
    ----------
    policy
        As ``solver_state`` of :func:`averaged_sgd`.
    states
        The states that the workers returned, in their order.
    shares
        Each worker's weight in a mean, in any scale.
    new_state
        The state of a solver that has taken no step.
    """
    if policy == "local":
        return list(states)
    kept = names_kept(policy)
    names = dict.fromkeys(name for state in states for name in state if not kept or name in kept)
    return [{**new_state, **{name: _mean(name, states, shares) for name in names}}]


def _mean(name: str, states: Sequence[SolverState], shares: Sequence[float]) -> NDArray:
    """Return the mean of the arrays of this name.

    Some solvers make their history at the first step. A worker that took no step then counts with a history of zeros.
    """
    found = [state.get(name) for state in states]
    like = next(array for array in found if array is not None)
    arrays = [nd.zeros_like(like) if array is None else array for array in found]
    return WeightCollection.mean([WeightCollection({"": [a]}) for a in arrays], weights=shares)[""][0]
