"""Snapshots as Caffe's solvers write them: a file of weights, and a file with the solver's state."""

from pathlib import Path
from typing import Any

import numpy as np

from sparknet.errors import FormatError, NetError
from sparknet.formats import read as read_file
from sparknet.formats import write as write_file
from sparknet.formats.hdf5 import is_hdf5
from sparknet.ndarray import NDArray
from sparknet.nets.base import SolverState
from sparknet.nets.caffe.files import Places, is_there
from sparknet.nets.caffe.schedule import steps_passed

__all__ = ["names", "read", "write_state"]

_FORMATS = {"BINARYPROTO": "", "HDF5": ".h5"}
_OLD_AXES = 4


def names(prefix: str, iteration: int, snapshot_format: str) -> tuple[Path, Path]:
    """Return the paths of weights and state with Caffe's names; ``prefix`` may end with a folder and a slash."""
    if snapshot_format not in _FORMATS:
        msg = f"snapshot_format is {snapshot_format!r}, expected {' or '.join(map(repr, _FORMATS))}"
        raise NetError(msg)
    ends = (f"_iter_{iteration}{end}{_FORMATS[snapshot_format]}" for end in (".caffemodel", ".solverstate"))
    weights, state = (Path(f"{prefix}{end}") for end in ends)
    return weights, state


def write_state(path: Path, weights: Path, solver: Any, param: Any, state: SolverState) -> None:
    """Write a solver's state; it names its file of weights."""
    step = getattr(solver, "current_step", None)
    metadata = {
        "learned_net": str(weights),
        "current_step": steps_passed(param, int(state["iteration"])) if step is None else int(step),
    }
    write_file(path, dict(state), metadata=metadata)


def read(path: Path, state: SolverState) -> tuple[dict[str, NDArray], Path | None]:
    """Return the state in a file, and the path of its weights: as the file names it, or beside the state.

    Parameters
    ----------
    path
        A ``.solverstate``, in protobuf's format or in HDF5.
    state
        The present state of the solver; it has the shapes of the history.

    Raises
    ------
    NetError
        A file is missing (then a FileNotFoundError too) or damaged.
    """
    path = Places().find(str(path), "solver state")
    try:
        file_format = "solverstate.h5" if is_hdf5(path) else "solverstate"
        found, metadata = read_file(path, file_format=file_format)
    except FormatError as error:
        raise NetError(str(error), path=str(path)) from error
    fitting = {name: _as(array, state.get(name)) for name, array in found.items()}
    return fitting, _learned_net(path, metadata["learned_net"])


def _as(array: NDArray, mine: NDArray | None) -> NDArray:
    """Return an array of the history for Caffe: rounded to float32, and in today's shape if it has that of 2014."""
    if mine is None or array.dtype == np.int64:
        return array
    host = array.to_host().astype(np.float32, copy=False)
    old = (1,) * (_OLD_AXES - mine.ndim) + mine.shape
    return NDArray(host.reshape(mine.shape) if host.shape == old else host)


def _learned_net(state: Path, name: str) -> Path | None:
    if not name:
        return None
    paths = (Path(name), state.parent / Path(name).name)
    for path in paths:
        if is_there(path):
            return path
    return Places(state.parent).find(name, f"weights file of the solver state {str(state)!r} (learned_net)")
