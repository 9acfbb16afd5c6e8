"""The start of a training with a checkpoint: after its last round, if that fits the net."""

import logging
from dataclasses import replace

from sparknet.checkpoint import Checkpoint, Position
from sparknet.errors import DataError, located
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net
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
    if not resume and checkpoint.folders():
        msg = (
            f"averaged_sgd(): got resume=False, and a checkpoint in {checkpoint.folders()[-1]}; expected none: "
            "name another directory, or remove what is in this one"
        )
        raise DataError(msg)
    position = checkpoint.read()
    if position is None:
        return start
    last = checkpoint.folders()[-1]
    with located(str(last)):
        _check_workers(position, len(start.steps))
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
        _LOG.warning(said, last.parent, position.rounds, rounds, unused * has_weights)
    rule_state = {name: _placed(value, start.rule_state.get(name)) for name, value in position.rule_state.items()}
    return replace(position, weights=net.get_weights(), states=states, rule_state=rule_state)


def _placed(value: WeightCollection | NDArray, like: WeightCollection | NDArray | None) -> WeightCollection | NDArray:
    """Return a value of the rule's state on the device of ``like``, the value at the start; on the host if that is missing."""
    if isinstance(value, WeightCollection) and isinstance(like, WeightCollection) and value.keys() == like.keys():
        pairs = {layer: zip(arrays, like[layer], strict=False) for layer, arrays in value.items()}
        return WeightCollection({layer: [a.to_device(b.device) for a, b in each] for layer, each in pairs.items()})
    return value.to_device(like.device) if isinstance(value, NDArray) and isinstance(like, NDArray) else value


def _check_workers(position: Position, workers: int) -> None:
    """Raise a DataError unless there is a step count for each worker, and one solver state for all or one for each."""
    for what, got, expected in (
        ("numbers of steps", len(position.steps), (workers,)),
        ("solver states", len(position.states), (1, workers)),
    ):
        if got not in expected:
            msg = f"got {got} {what}, expected {' or '.join(map(str, expected))} for {workers} workers; remove this directory"
            raise DataError(msg)
