"""The weights and the solver state of a CaffeNet, in memory and in files."""

from pathlib import Path
from typing import Any

import numpy as np

from sparknet.errors import NetError
from sparknet.ndarray import NDArray
from sparknet.nets.base import SolverState
from sparknet.nets.caffe import model_file, snapshots
from sparknet.nets.caffe import state as solver_state
from sparknet.weights import WeightCollection
from sparknet.weights.given import given_weights
from sparknet.weights.schema import check_same_schema

__all__ = ["HoldsWeights"]


class HoldsWeights:
    """Holds weights and solver state of a ``caffe.Solver`` and its net; a subclass makes both."""

    _solver: Any
    _net: Any  # of the solver, in the training phase
    _param: Any  # the SolverParameter

    @property
    def iteration(self) -> int:
        """Number of solver steps taken since the net was new; the learning-rate schedule depends on it."""
        return int(self._solver.iter)

    # ---- weights
    def _weights(self) -> WeightCollection:
        """Return views of the weights; do not keep them, because Caffe may move the memory."""
        return WeightCollection({name: [blob.data for blob in blobs] for name, blobs in self._net.params.items()})

    def get_weights(self) -> WeightCollection:
        """Return a copy of the weights, layer name -> arrays, float32, in the net's order."""
        return self._weights().copy()

    def set_weights(self, weights: WeightCollection) -> None:
        """Copy ``weights`` into the net, for training and test alike.

        Raises
        ------
        SchemaError
            Names, shapes or dtypes differ; nothing is changed.
        """
        mine, weights = self._weights(), given_weights(weights, "set_weights()")
        check_same_schema(mine, weights, "set_weights()")
        for target, source in zip(mine.arrays(), weights.arrays(), strict=True):
            np.copyto(target.to_host(), source.to_host())

    def copy_trained_layers_from(self, path: str | Path) -> None:
        """Copy the layers of a file into the layers of the same names; other layers stay.

        Parameters
        ----------
        path
            A ``.caffemodel``, a ``.caffemodel.h5``, or any other file of layers. The contents decide which, not the name.

        Raises
        ------
        NetError
            The file is missing, holds no layers, has no layer of this net, or has a layer of another shape; nothing is changed.
        """
        model_file.put(model_file.by_layer(self._net), model_file.read(Path(path)), repr(str(path)))

    def save_weights(self, path: str | Path, *, follow_links: bool = True) -> None:
        """Write the weights atomically, by a temporary file that is renamed.

        Parameters
        ----------
        path
            The suffix decides the format, as for :func:`sparknet.formats.write`. With any other suffix it is a
            ``.caffemodel``, which has the net's definition too.
        follow_links
            Whether a symbolic link at ``path`` is followed, or refused.

        Raises
        ------
        OSError
            The file cannot be written, because the disk is full for example. The file that was there stays.
        """
        model_file.save(self._net, Path(path), self._weights(), follow_links=follow_links)

    # ---- the solver
    def get_state(self) -> dict[str, NDArray]:
        """Return a copy of the solver's state.

        Returns
        -------
        dict
            ``"iteration"`` (0-d int64) and ``"history/0"``, ... (float32): one of the shape of each learned array, for Adam
            and AdaDelta two.
        """
        return solver_state.get_state(self._solver)

    def lend(self) -> tuple[WeightCollection, dict[str, NDArray]]:
        """Return weights and state in Caffe's own memory, to be read before the net is used again."""
        return self._weights(), solver_state.get_state(self._solver, copy=False)

    def snapshot(self, prefix: str | Path, *, snapshot_format: str = "BINARYPROTO") -> tuple[Path, Path]:
        """Write weights and solver state as Caffe's own solvers do, so that plain Caffe can go on from them.

        Parameters
        ----------
        prefix
            The beginning of the names of both files, like a solver's ``snapshot_prefix``; the folder must exist.
        snapshot_format
            ``"BINARYPROTO"`` or ``"HDF5"``, as in a solver prototxt.

        Returns
        -------
        tuple
            Paths: ``<prefix>_iter_<n>.caffemodel`` and ``<prefix>_iter_<n>.solverstate``; HDF5 adds ``.h5``. The second file
            names the first by the path given here, and Caffe's ``solver.restore`` looks for it there.
        """
        weights, state = snapshots.names(str(prefix), self.iteration, snapshot_format)
        self.save_weights(weights)
        snapshots.write_state(state, weights, self._solver, self._param, self.get_state())
        return weights, state

    def restore(self, path: str | Path) -> None:
        """Go on from a ``.solverstate`` that Caffe or :meth:`snapshot` wrote, with the same bits.

        Parameters
        ----------
        path
            A file in protobuf's format or in HDF5. If it names a file of weights, these are loaded too, from that path or from
            beside the state. Else the weights stay as they are.

        Raises
        ------
        NetError
            A file is missing (then it is a FileNotFoundError too), damaged, or its layers do not fit; nothing is changed.
        SchemaError
            The state belongs to another net or another type of solver; nothing is changed.
        """
        state, learned_net = snapshots.read(Path(path), self.get_state())
        layers = None if learned_net is None else model_file.read(learned_net)
        before = self.get_state()
        self.set_state(state)
        if layers is None:
            return
        try:
            model_file.put(model_file.by_layer(self._net), layers, repr(str(learned_net)))
        except NetError:
            self.set_state(before)
            raise

    def set_state(self, state: SolverState) -> None:
        """Set history and iteration, so that the solver continues like the one that ``state`` came from.

        Raises
        ------
        SchemaError
            The state belongs to another net or another type of solver; nothing is changed.
        """
        solver_state.set_state(self._solver, self._param, state)
