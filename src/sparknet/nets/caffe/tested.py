"""The test nets of a solver: Caffe makes one for each ``test_net``, ``test_iter`` and ``test_state``, sparknet evaluates one.

Test nets that differ only in the data they read count as one, because the caller passes the data.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sparknet.data.preprocess import Preprocessor
from sparknet.errors import NetError
from sparknet.nets.caffe.carried import Carried
from sparknet.nets.caffe.inputs import inputs_of
from sparknet.nets.caffe.notes import note
from sparknet.nets.caffe.rows import RowRules

__all__ = ["Phase", "one_of", "test_nets"]

W = TypeVar("W")


class Phase(NamedTuple):
    """One phase of a Definition: its NetParameter, and the phase's attributes of the Definition."""

    net: Any
    transform: Preprocessor | None
    changes: Mapping[str, Sequence[str]]
    files: Carried
    rows: RowRules


def test_nets(param: Any, own: Sequence[W], generic: W, *, has_net: bool) -> list[tuple[W, Any]]:
    """Return the test nets of a solver, each with its ``test_state`` or None, in Caffe's order.

    Parameters
    ----------
    param
        The SolverParameter.
    own
        The nets that the solver names for testing.
    generic
        The net that the solver trains. It is tested too if ``net`` or ``net_param`` names it.
    has_net
        Whether one of these names it.

    Raises
    ------
    NetError
        There are ``test_state``s, but not one for each test net.
    """
    states = list(param.test_state)
    count = max(len(own), len(param.test_iter), len(states), 1) if has_net or not own else len(own)
    nets = [*own, *[generic] * (count - len(own))]
    if states and len(states) != len(nets):
        msg = f"the solver has {len(states)} test_state for {len(nets)} test nets; expected one for each, or none"
        raise NetError(msg)
    return list(zip(nets, states or [None] * len(nets), strict=True))


def one_of(nets: Sequence[tuple[W, Any]], made: Callable[[W, Any], Phase]) -> Phase:
    """Return the phase that all test nets have in common; a NetError if they differ in more than the data they read."""
    phases = [made(net, state) for net, state in nets]
    first = _compared(phases[0])
    for (_, state), phase in zip(nets[1:], phases[1:], strict=True):
        if _compared(phase) != first:
            stages = ", ".join(getattr(state, "stage", ()))
            msg = (
                f"the solver has {len(nets)} test nets, and they differ: {_difference(phases[0].net, phase.net)}"
                f"{f' (test_state {stages!r})' if stages else ''}. sparknet evaluates one; leave one test_net, test_state "
                "and test_iter in the solver, and evaluate the others with solvers of their own"
            )
            raise NetError(msg)
    if len(phases) > 1:
        note(
            f"the {len(phases)} test nets of the solver differ only in what they read: one is evaluated, on what is passed"
        )
    return phases[0]


def _compared(phase: Phase) -> bytes:
    """Return what is compared of a phase: its layers without batch sizes, and the changes to its images."""
    net = type(phase.net)()
    net.CopyFrom(phase.net)
    for layer in net.layer:
        for shape in layer.input_param.shape:
            shape.dim[0] = 0
    return bytes(net.SerializeToString(deterministic=True)) + pickle.dumps(phase.transform)


def _difference(one: Any, other: Any) -> str:
    """Return in words how two nets differ."""
    first, second = ({layer.name: layer for layer in net.layer} for net in (one, other))
    alone = [name for name in [*first, *second] if (name in first) != (name in second)]
    if alone:
        return f"only one has the layer{'s' if len(alone) > 1 else ''} {', '.join(map(repr, alone))}"
    changed = [name for name, layer in first.items() if layer != second[name]]
    if changed and inputs_of(one) == inputs_of(other):
        return f"in the layer{'s' if len(changed) > 1 else ''} {', '.join(map(repr, changed))}"
    return "in their inputs, or in what happens to their values"
