"""Steps of solvers with an ``iter_size``: one update from the gradients of several passes.

Caffe's own step would ask a data layer for another batch in each pass. Inputs are filled from outside, so the passes are
made here, in the order of Caffe: clear, forward and backward for each part of the minibatch, then the update, which
divides the gradients by ``iter_size``. A net in one pass goes through Caffe's own step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sparknet.errors import DataError
from sparknet.ndarray import NDArray
from sparknet.nets.caffe.feed import Feeder
from sparknet.nets.caffe.state import set_iteration

__all__ = ["parts_of", "stepped"]

Part = Mapping[str, NDArray]


def parts_of(columns: Part, rows: int, passes: int) -> list[Part]:
    """Return the minibatch in ``passes`` parts of equally many rows, one after the other; views.

    Parts of different sizes would give some rows more weight than others, so they are refused.

    Raises
    ------
    DataError
        The number of rows is no multiple of ``passes``.

    Examples
    --------
    >>> import numpy as np
    >>> [part["x"].to_host().tolist() for part in parts_of({"x": NDArray(np.arange(4))}, 4, 2)]
    [[0, 1], [2, 3]]
    """
    if passes == 1 or not columns:  # a net may make its data itself
        return [columns] * passes
    if rows % passes:
        msg = (
            f"got a batch of {rows} rows, expected a multiple of {passes}: with iter_size {passes} a step is the mean of "
            f"{passes} passes of equally many rows. Choose a batch size that is such a multiple; ragged='drop' leaves a "
            "short last minibatch out"
        )
        raise DataError(msg, rows=rows, passes=passes)
    size = rows // passes
    return [{name: c[i : i + size] for name, c in columns.items()} for i in range(0, rows, size)]


def stepped(solver: Any, param: Any, feeder: Feeder, parts: Sequence[Part], seed: Callable[[], None]) -> Iterator[None]:
    """Take one solver step on the ``parts`` of a minibatch; yields after each forward and backward pass.

    All parts are looked at before the first pass, so that a refused batch leaves the net as it was.

    Parameters
    ----------
    solver, param
        A ``caffe.Solver`` and its SolverParameter, whose ``iter_size`` is the number of parts.
    feeder
        Of the solver's net.
    parts
        Columns for the inputs.
    seed
        Seeds Caffe's generator, once for the step.
    """
    for part in parts[1:]:
        feeder.feed(part)
    feeder.feed(parts[0])
    seed()
    if len(parts) == 1:
        solver.step(1)
        yield
        return
    net, before = solver.net, solver.iter
    net.clear_param_diffs()
    for number, part in enumerate(parts):
        if number:
            feeder.feed(part)
        net.forward()
        net.backward()
        yield
    solver.apply_update()
    if solver.iter == before:  # Caffe 1.0 leaves the count to its own step
        set_iteration(solver, param, before + 1)
