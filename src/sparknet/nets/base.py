"""The Net protocol: all that training needs of a net, whatever framework it is built on.

A picklable *factory*, a callable ``factory(seed=...)``, makes the net on the worker. Only the weights and the solver state of a net
travel, and both are plain arrays.
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

    A net may have more methods than these. Workers call them, and so does the driver when it tries the net.

    ``reseed(seed)`` is called before the steps of a round, for a framework with its own random generator.
    ``prepare(batch, rng, train=True)`` is called for each minibatch, in another thread during the step before; ``step`` gets its
    result. ``total(name, value, rows)`` returns, for a scalar output of the last ``forward``, a sum and its divisor; without it,
    outputs are means over the rows. ``totals(outputs, rows)`` returns the same for all metrics, by name, if they are not just the
    scalar outputs. ``entering()`` returns the inputs of the last ``forward`` as the first layer that learns gets them, if the net
    itself changes them; ``input_changes(train=True)`` says in words how it changes each. ``lend()`` returns what ``get_weights()`` and
    ``get_state()`` do, in the net's own memory where that is possible: it is read before the net is used again. ``tensor_names`` maps the name of each
    array in the net's own framework to its layer and its number there; the command writes it beside the weights.

    Some nets do not take every batch. ``rehearse(batch, train=True)`` raises the error of a step (with ``train=False`` of
    ``forward``) on the batch, and leaves the net as it is. ``even(train=True)`` returns what happens to short minibatches, a
    :class:`~sparknet.data.ragged.Even`; ``padding(train=True)`` the values to pad them with, by input. ``batch_axes`` maps
    an input to its batch axis, if that is not the first. ``passes`` is the number of equal parts in which a step takes its batch.
    """

    @property
    def iteration(self) -> int:
        """Number of solver steps taken since the net was new; the learning-rate schedule depends on it."""
        ...

    def get_weights(self) -> WeightCollection:
        """Return a copy of the weights, in the net's own order of layers."""
        ...

    def set_weights(self, weights: WeightCollection) -> None:
        """Copy ``weights`` into the net; a SchemaError if names, shapes or dtypes differ."""
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
        """Set the solver's history and iteration, so that it continues like the solver that ``state`` came from."""
        ...


class NetFactory(Protocol):
    """Makes a net. It is picklable, and the same seed gives the same initial weights.

    A factory may have more methods than this. ``for_workers()`` returns the factory that is sent to workers, where weights are set
    before a net is used. ``for_driver()`` returns the factory of the net that the driver tries, which may need no GPU. ``device``
    is the device of the nets, such as ``"cuda"``: a worker makes its net anew if that becomes another GPU.
    """

    def __call__(self, *, seed: int = 0) -> Net:
        """Return a new net whose initial weights depend on ``seed`` alone."""
        ...


def driver_net(factory: NetFactory, seed: int = 0) -> Net:
    """Return the net that the driver tries before it sends out work, made by the factory's ``for_driver`` if it has one."""
    chosen: NetFactory = getattr(factory, "for_driver", lambda: factory)()
    return chosen(seed=seed)
