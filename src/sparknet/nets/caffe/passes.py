"""Steps of solvers with an ``iter_size``: one update from the gradients of several passes.

Caffe's own step asks a data layer for another batch in each pass. Here inputs are filled from outside, so this module makes the
passes, in Caffe's order: clear the gradients, run forward and backward for each part of the minibatch, then update, which divides the
gradients by ``iter_size``. With a single pass, Caffe's own step is called.
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
    """Return the minibatch in ``passes`` parts with equal numbers of rows; views.

    Parts of different sizes are refused, because some rows would count more than others.

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
    if passes == 1 or not columns:  # a net without columns makes its data itself
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
    """Take one solver step on the ``parts`` of a minibatch; yield after each forward and backward pass.

    All parts are checked before the first pass, so a refused batch does not change the net.

    Parameters
    ----------
    solver, param
        A ``caffe.Solver`` and its SolverParameter, whose ``iter_size`` is the number of parts.
    feeder
        The Feeder of the solver's net.
    parts
        Columns for the inputs.
    seed
        Seeds Caffe's generator once, before the first pass.
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
    if solver.iter == before:  # in Caffe 1.0, only its own step counts
        set_iteration(solver, param, before + 1)
