"""What a CaffeNet holds: weights and the state of its solver, in memory and in files. Its other half runs it."""

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
    """Weights and solver state of a ``caffe.Solver`` and its net, which a subclass makes."""

    _solver: Any
    _net: Any  # of the solver, in the training phase
    _param: Any  # the SolverParameter

    @property
    def iteration(self) -> int:
        """Solver steps taken since the net was new; the learning-rate schedule follows it."""
        return int(self._solver.iter)

    # ---- weights
    def _weights(self) -> WeightCollection:
        """Return views of the weights; not to be kept."""
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
        """Copy the layers of a file into the layers of the same names; others stay.

        Parameters
        ----------
        path
            A ``.caffemodel``, a ``.caffemodel.h5``, or any other file of layers; its contents say which, not its name.

        Raises
        ------
        NetError
            The file is missing, holds no layers, has no layer of this net, or one of another shape; nothing is changed.
        """
        model_file.put(model_file.by_layer(self._net), model_file.read(Path(path)), repr(str(path)))

    def save_weights(self, path: str | Path, *, follow_links: bool = True) -> None:
        """Write the weights, all of them or nothing (a temporary file, renamed).

        Parameters
        ----------
        path
            The suffix says the format: a ``.caffemodel``, with the net's definition, if it is none that
            :func:`sparknet.formats.write` knows.
        follow_links
            Whether a symbolic link at ``path`` is followed, or refused.

        Raises
        ------
        OSError
            The file cannot be written, the disk is full for example; what was there is as it was.
        """
        model_file.save(self._net, Path(path), self._weights(), follow_links=follow_links)

    # ---- the solver
    def get_state(self) -> dict[str, NDArray]:
        """Return a copy of the solver's state.

        Returns
        -------
        dict
            ``"iteration"`` (0-d int64) and ``"history/0"``, ... (float32, of the shapes of the learned arrays): one for
            each of them, for Adam and AdaDelta two.
        """
        return solver_state.get_state(self._solver)

    def snapshot(self, prefix: str | Path, *, snapshot_format: str = "BINARYPROTO") -> tuple[Path, Path]:
        """Write weights and the solver's state as Caffe's own solvers do, so that plain Caffe can go on from them.

        Parameters
        ----------
        prefix
            Of the names of both files, as a solver's ``snapshot_prefix``; its folder must be there.
        snapshot_format
            ``"BINARYPROTO"`` or ``"HDF5"``, the words of a solver prototxt.

        Returns
        -------
        tuple
            Paths: ``<prefix>_iter_<n>.caffemodel`` and ``<prefix>_iter_<n>.solverstate``, in HDF5 with ``.h5`` at the end.
            Caffe's ``solver.restore`` looks for the first as it is named in the second: by the path given here.
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
            In protobuf's format or in HDF5. The weights that it names are loaded too, from where it says or from beside
            it; a state that names none leaves the weights as they are.

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
        """Continue as the solver that ``state`` was taken from: same history, same place in the schedule.

        Raises
        ------
        SchemaError
            The state belongs to another net or another type of solver; nothing is changed.
        """
        solver_state.set_state(self._solver, self._param, state)
