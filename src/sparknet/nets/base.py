"""The Net protocol: all that training asks of a net, whatever framework it is built on.

A net is made on the worker by a picklable *factory*, a callable ``factory(seed=...)``. Nothing of a
net travels but its weights and its solver state, and both are plain arrays.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from sparknet.ndarray import NDArray
from sparknet.weights import WeightCollection

__all__ = ["Batch", "Net", "NetFactory", "SolverState", "driver_net"]

Batch = Mapping[str, NDArray]
"""Input name -> array whose first axis is the batch; every array has the same first length."""

SolverState = Mapping[str, NDArray]
"""Solver history (momentum, ...) and ``"iteration"``, a 0-d int64; ready for ``sparknet.dumps``."""


@runtime_checkable
class Net(Protocol):
    """A net with its solver.

    A worker, and the driver before it sends out work, also call methods of nets that have them.

    ``reseed(seed)`` comes before the steps of a round, for a framework with a generator of its own.
    ``prepare(batch, rng, train=True)`` comes before each step, in another thread and while the step before is taken; what it
    returns is what ``step`` gets. ``total(name, value, rows)`` returns, for a scalar output of the last ``forward``, a sum and
    what to divide it by; without it, outputs are means over the rows.
    ``totals(outputs, rows)`` returns that for all metrics, by name, where they are not just the scalar outputs.
    ``entering()`` returns the inputs of the last ``forward`` as they reach the first layer that learns from them, where the
    net itself scales them, and ``input_changes(train=True)`` says in words what it does to each.

    For nets that do not take every batch: ``rehearse(batch, train=True)`` raises what a step (or, without ``train``, ``forward``)
    on the batch would, and leaves the net as it is. ``even(train=True)`` returns what becomes of short minibatches, a
    :class:`~sparknet.data.ragged.Even`; ``padding(train=True)`` what to pad them with, input -> value. ``batch_axes`` are inputs
    that have the batch elsewhere than first, name -> axis; ``passes`` into how many equal parts a step takes its batch.
    """

    @property
    def iteration(self) -> int:
        """Solver steps taken since the net was new; the learning-rate schedule follows it."""
        ...

    def get_weights(self) -> WeightCollection:
        """Return a copy of the weights, in the net's own order of layers."""
        ...

    def set_weights(self, weights: WeightCollection) -> None:
        """Copy ``weights`` into the net; a SchemaError where names, shapes or dtypes differ."""
        ...

    def step(self, batch: Batch) -> float:
        """Take one solver step on ``batch`` and return its loss before the step."""
        ...

    def forward(self, batch: Batch, outputs: Sequence[str] | None = None) -> dict[str, NDArray]:
        """Run the net in its test phase and return the named blobs, by default the net's outputs.

        The arrays are copies. Scalar outputs (loss, accuracy) are means over the batch.
        """
        ...

    def get_state(self) -> dict[str, NDArray]:
        """Return a copy of the solver's history and of ``"iteration"``."""
        ...

    def set_state(self, state: SolverState) -> None:
        """Continue as the solver that ``state`` was taken from: same history, same iteration."""
        ...


class NetFactory(Protocol):
    """Makes a net: picklable, and the same seed gives the same initial weights.

    Methods of factories that have them: ``for_workers()`` returns the factory that is sent out, for nets whose weights are set before
    they are used; ``for_driver()`` the one of the net that the driver tries, which may need no GPU. ``device`` is where the nets are, such as ``"cuda"``:
    a net that a worker keeps is made anew where that becomes another GPU.
    """

    def __call__(self, *, seed: int = 0) -> Net:
        """Return a new net whose initial weights depend on ``seed`` alone."""
        ...


def driver_net(factory: NetFactory, seed: int = 0) -> Net:
    """Return the net that the driver tries before it sends out work: by the factory's ``for_driver``, if it has one."""
    chosen: NetFactory = getattr(factory, "for_driver", lambda: factory)()
    return chosen(seed=seed)
