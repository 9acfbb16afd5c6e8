"""The start of a training with a checkpoint: after its last round, if that fits the net.

With another number of workers, each gets another shard. Then the order of the data cannot go on, and all else does: the schedule, the
solver state, the rule's state, and about how many times the data has been gone through.
"""

import logging
from dataclasses import replace

from sparknet.checkpoint import Checkpoint, Position
from sparknet.errors import DataError, located
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net
from sparknet.training.states import next_states
from sparknet.weights import WeightCollection

__all__ = ["last_position"]

_LOG = logging.getLogger(__name__)


def last_position(
    checkpoint: Checkpoint, net: Net, start: Position, *, resume: bool, has_weights: bool, rounds: int
) -> Position:
    """Return the last position of the checkpoint, on the net's device; ``start`` if there is none.

    A position that does not fit the net is an error. ``has_weights`` says that the caller gave weights to start from: those of
    the checkpoint replace them, and the log says so. ``rounds`` is the number of rounds in all.
    """
    folders = checkpoint.folders()
    if not resume and folders:
        msg = (
            f"averaged_sgd(): got resume=False, and a checkpoint in {folders[-1]}; expected none: "
            "name another directory, or remove what is in this one"
        )
        raise DataError(msg)
    position = checkpoint.read()
    if position is None:
        return start
    last = folders[-1]
    with located(str(last)):
        _check_states(position)
        net.set_weights(position.weights)
        states = []
        for state in position.states:
            net.set_state(state)
            states.append(net.get_state())
    unused = "; weights= is not used, because the checkpoint has its own: name another directory to start from them"
    if position.rounds < rounds:
        _LOG.warning("goes on after round %d, from %s%s", position.rounds - 1, last, unused * has_weights)
    else:
        said = "the checkpoint in %s has %d rounds already, rounds=%d: nothing is left%s"
        _LOG.warning(said, checkpoint.directory, position.rounds, rounds, unused * has_weights)
    rule_state = {name: _placed(value, start.rule_state.get(name)) for name, value in position.rule_state.items()}
    position = replace(position, weights=net.get_weights(), states=states, rule_state=rule_state)
    return _dealt_anew(position, start, last)


def _placed(value: WeightCollection | NDArray, like: WeightCollection | NDArray | None) -> WeightCollection | NDArray:
    """Return a value of the rule's state on the device of ``like``, the value at the start; on the host if that is missing."""
    if isinstance(value, WeightCollection) and isinstance(like, WeightCollection) and value.keys() == like.keys():
        pairs = {layer: zip(arrays, like[layer], strict=False) for layer, arrays in value.items()}
        return WeightCollection({layer: [a.to_device(b.device) for a, b in each] for layer, each in pairs.items()})
    return value.to_device(like.device) if isinstance(value, NDArray) and isinstance(like, NDArray) else value


def _check_states(position: Position) -> None:
    """Raise a DataError unless there are steps of workers, and one solver state for all or one for each."""
    got, workers = len(position.states), len(position.steps)
    if not workers or got not in (1, workers):
        msg = f"got {got} solver states for the steps of {workers} workers, expected one, or one for each; remove this directory"
        raise DataError(msg)


def _dealt_anew(position: Position, start: Position, last: object) -> Position:
    """Return the position for as many workers as ``start`` has.

    Each is as far in its new shard as all were in the data. Where each worker had a solver state of its own, each gets their mean.
    """
    before, now = len(position.steps), len(start.steps)
    if before == now:
        return position
    step = sum(position.steps) // now
    states = next_states("average", position.states, [1.0] * len(position.states), start.states[0])
    _LOG.warning(
        "%s is of %d workers, and this training goes on with %d: each takes another shard, from its step %d on, so the data comes in "
        "another order than with %d. Schedule and solver states go on%s",
        last,
        before,
        now,
        step,
        before,
        ", with the mean of those of the workers" if len(position.states) > 1 else "",
    )
    return replace(position, states=states, steps=[step] * now)
