"""The state of a Caffe solver in a ``.solverstate`` or ``.solverstate.h5`` file, read and written without Caffe.

It is read as the mapping that ``CaffeNet.get_state`` returns: ``"iteration"``, and ``"history/0"``, ... in the order of the net's
arrays. The rest of the file is metadata: ``learned_net``, the path of the weights that belong to the state, and
``current_step``, the number of rates of a "multistep" schedule that are done.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.errors import FormatError, SchemaError
from sparknet.files.replacing import replacing
from sparknet.formats.blobs import LIMIT, array_of, check_count, fill, parse, schema
from sparknet.formats.contents import Array, Contents, check_dtypes, flatten
from sparknet.formats.hdf5 import created, opened
from sparknet.ndarray import NDArray

__all__ = ["KEPT", "read", "read_h5", "write", "write_h5"]

KEPT = ("learned_net", "current_step")
_LAST = np.iinfo(np.int32).max  # Caffe counts in int32
_SUFFIX = ".solverstate"
_AROUND = 512  # most bytes around the elements of an array, and in the other fields


def read(path: Path, max_bytes: int | None) -> Contents:  # noqa: ARG001 - nothing in it is compressed
    """Return the iteration and the history of a state in protobuf's format; read-only."""
    state = parse("SolverState", path)
    if not (state.HasField("iter") or state.history):
        msg = f"there is neither an iteration nor a history; expected a {_SUFFIX} file, as Caffe writes it"
        raise FormatError(msg, tensor=None, offset=None)
    check_count(len(state.history))
    history = [array_of(blob, f"history/{i}") for i, blob in enumerate(state.history)]
    learned_net = state.learned_net.decode(errors="surrogateescape") if state.HasField("learned_net") else ""
    return _contents(state.iter, history, learned_net, state.current_step)


def read_h5(path: Path, max_bytes: int | None) -> Contents:
    """Return the iteration and the history of a state in HDF5."""
    with opened(path, max_bytes, f"{_SUFFIX}.h5") as root:
        if not {"iter", "history"} <= set(root.names()):
            msg = f"there are {', '.join(root.names())[:200] or 'no names'}; expected iter and history of a {_SUFFIX}.h5 file"
            raise FormatError(msg, tensor=None, offset=None)
        history = root.group("history")
        count = len(history.names())
        if set(history.names()) != set(map(str, range(count))):
            msg = f"the history has the arrays {', '.join(history.names())[:200]}; expected 0, 1, ..."
            raise FormatError(msg, tensor="history", offset=None)
        arrays = [history.array(str(i)) for i in range(count)]
        learned_net = root.text("learned_net") if "learned_net" in root else ""
        step = root.integer("current_step") if "current_step" in root else 0
        return _contents(root.integer("iter"), arrays, learned_net, step)


def _contents(iteration: int, history: Iterable[Array], learned_net: str, current_step: int) -> Contents:
    state = {"iteration": NDArray(np.asarray(iteration, np.int64))}
    state |= {f"history/{i}": NDArray(array) for i, array in enumerate(history)}
    return Contents(state, {"learned_net": learned_net, "current_step": current_step})


def write(path: Path, obj: Any, metadata: dict[str, Any]) -> None:
    """Write a state that Caffe can restore. Without ``learned_net``, Caffe leaves the weights as they are."""
    iteration, history, learned_net, current_step = _checked(obj, metadata, _SUFFIX)
    nbytes = sum(array.nbytes for array in history)
    if nbytes > LIMIT - _AROUND - _AROUND * len(history):
        msg = f"{nbytes} bytes of history; a message of protobuf has at most {LIMIT}: write a {_SUFFIX}.h5"
        raise SchemaError(msg, got=nbytes, expected=LIMIT)
    state = schema()["SolverState"](iter=iteration, current_step=current_step)
    if learned_net:
        state.learned_net = learned_net.encode(errors="surrogateescape")
    for array in history:
        fill(state.history.add(), array, old_shape=False)
    with replacing(path) as file:
        file.write(state.SerializeToString())


def write_h5(path: Path, obj: Any, metadata: dict[str, Any]) -> None:
    """Write a state as :func:`write` does, in HDF5."""
    iteration, history, learned_net, current_step = _checked(obj, metadata, f"{_SUFFIX}.h5")
    tree: dict[str, Any] = {"iter": np.array([iteration], np.int32)}
    if learned_net:
        tree["learned_net"] = learned_net
    tree |= {
        "current_step": np.array([current_step], np.int32),
        "history": {str(i): array for i, array in enumerate(history)},
    }
    with created(path) as fill_file:
        fill_file(tree)


def _checked(obj: Any, metadata: dict[str, Any], suffix: str) -> tuple[int, list[Array], str, int]:
    """Return the iteration, the history, the path of the weights and the step; a SchemaError if ``obj`` is no state."""
    arrays = flatten(obj)
    iteration = arrays.pop("iteration", None)
    expected = [f"history/{i}" for i in range(len(arrays))]
    if iteration is None or iteration.dtype.kind not in "iu" or iteration.shape != () or set(arrays) != set(expected):
        shown = (
            ", ".join(filter(lambda name: not re.fullmatch(r"history/\d+", name), arrays)) or f"{len(arrays)} arrays"
        )
        msg = (
            f"a {suffix} file holds a solver's state: 'iteration', a whole number, and 'history/0', 'history/1', ..., as "
            f"CaffeNet.get_state() returns it; got {shown[:200]}{'' if iteration is None else ' and an iteration'}"
        )
        raise SchemaError(msg, got=list(arrays))
    check_dtypes(arrays, ("float32", "float64"), suffix)
    step, learned_net = metadata.get("current_step", 0), metadata.get("learned_net", "")
    if not (0 <= int(iteration) <= _LAST and type(step) is int and 0 <= step <= _LAST):
        msg = f"iteration {int(iteration)}, current_step {step!r}; expected whole numbers from 0 to {_LAST}"
        raise SchemaError(msg, got=(int(iteration), step))
    if type(learned_net) is not str or "\0" in learned_net:
        msg = f"learned_net is {learned_net!r}, expected the path of a .caffemodel or .caffemodel.h5"
        raise SchemaError(msg, got=learned_net)
    return int(iteration), [arrays[name] for name in expected], learned_net, step
