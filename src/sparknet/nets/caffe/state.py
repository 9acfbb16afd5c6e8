"""The state of a Caffe solver as arrays: its history (such as momentum) and its iteration."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.errors import NetError, SchemaError
from sparknet.ndarray import NDArray
from sparknet.nets.caffe.runtime import messages, translated
from sparknet.nets.caffe.schedule import steps_passed

__all__ = ["get_state", "set_iteration", "set_state"]

_LAST = np.iinfo(np.int32).max  # Caffe counts in int32


def get_state(solver: Any, *, copy: bool = True) -> dict[str, NDArray]:
    """Return the history, copied or in Caffe's own memory, and the iteration of a ``caffe.Solver``."""
    state = {"iteration": NDArray(np.asarray(solver.iter, np.int64))}
    history = enumerate(_history(solver))
    return state | {f"history/{i}": NDArray(view.copy() if copy else view) for i, view in history}


def set_state(solver: Any, param: Any, state: Mapping[str, NDArray]) -> None:
    """Set the solver's state, so that it continues like the solver that ``state`` came from; ``param`` is the SolverParameter.

    Raises
    ------
    SchemaError
        The state belongs to another net or another type of solver; nothing is changed.
    """
    history = _history(solver)
    _check(state, history, param.type)
    for i, view in enumerate(history):
        view[...] = state[f"history/{i}"].to_host()
    set_iteration(solver, param, int(state["iteration"]))


def set_iteration(solver: Any, param: Any, iteration: int) -> None:
    """Set the solver's number of steps, and so its place in the schedule."""
    if type(solver).iter.fset is not None:
        solver.iter = iteration
        solver.current_step = steps_passed(param, iteration)
    elif solver.iter != iteration:
        _restore(solver, iteration, steps_passed(param, iteration), _history(solver))


def _history(solver: Any) -> list[Any]:
    """Return views of the history blobs."""
    if not hasattr(solver, "history"):
        msg = (
            "this Caffe does not show its solver's history (momentum), so its state can be neither read nor set; "
            "install the one that nox -s pycaffe builds"
        )
        raise NetError(msg)
    return [blob.data for blob in solver.history]


def _check(state: Mapping[str, NDArray], history: list[Any], kind: str) -> None:
    expected = {f"history/{i}": (view.shape, "float32") for i, view in enumerate(history)}
    got = {name: (array.shape, str(array.dtype)) for name, array in state.items()}
    iteration = got.pop("iteration", None)
    if (
        iteration is None
        or iteration[0] != ()
        or "int" not in iteration[1]
        or not 0 <= int(state["iteration"]) <= _LAST
    ):
        shown = "none" if iteration is None else f"{iteration[1]} {iteration[0]}, {state['iteration']}"
        msg = f"set_state(): 'iteration' must be a 0-d integer from 0 to {_LAST}; got {shown}"
        raise SchemaError(msg, got=shown)
    if got.keys() != expected.keys():
        msg = (
            f"set_state(): the state has {len(got)} history arrays ({', '.join(got) or 'none'}); this {kind} solver needs "
            f"{len(expected)} ('history/0' ... 'history/{len(expected) - 1}'). Does it come from another type of solver?"
        )
        raise SchemaError(msg, got=list(got), expected=list(expected))
    for name, form in expected.items():
        if got[name] != form:
            msg = (
                f"set_state(): {name!r} is {got[name][1]} of shape {got[name][0]}; this net needs {form[1]} of shape {form[0]}. "
                "The state probably comes from another prototxt"
            )
            raise SchemaError(msg, index=name, got=got[name], expected=form)


def _restore(solver: Any, iteration: int, current_step: int, history: list[Any]) -> None:
    """Set the iteration by a solverstate file, for a Caffe with no other way; weights do not change."""
    message = messages().SolverState(iter=iteration, current_step=current_step)
    for view in history:
        blob = message.history.add()
        blob.shape.dim.extend(view.shape)
        blob.data.extend(view.ravel())
    with tempfile.TemporaryDirectory(prefix="sparknet-") as folder, translated("set_state()"):
        path = Path(folder) / "state.solverstate"
        path.write_bytes(message.SerializeToString())
        solver.restore(str(path))
