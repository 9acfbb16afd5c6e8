"""CaffeNet: a net and its solver in Caffe, behind the Net protocol.

It owns the solver and its net and runs them. Prototxts are read in :mod:`.prototxt` and :mod:`.layers`, nets are made in
:mod:`.making`. The net of the test phase is in :mod:`.evaluation`, the handling of batches in :mod:`.batches`, filling inputs in
:mod:`.feed`, weights and the solver's state in :mod:`.holding`.

Arrays of Caffe are never kept, because a blob's memory moves when it grows or is shared. Nets are kept, because Caffe makes a new
wrapper at each access.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from sparknet.data.fields import Field
from sparknet.errors import NetError
from sparknet.ndarray import NDArray
from sparknet.nets.base import Batch
from sparknet.nets.caffe.batches import Prepared, TakesBatches
from sparknet.nets.caffe.changes import power_tops
from sparknet.nets.caffe.evaluation import EvaluationNet
from sparknet.nets.caffe.feed import Feeder, columns_of
from sparknet.nets.caffe.initial import start_from
from sparknet.nets.caffe.inputs import inputs_of
from sparknet.nets.caffe.layers import sources_of
from sparknet.nets.caffe.making import new_solver
from sparknet.nets.caffe.parsing import parse
from sparknet.nets.caffe.passes import parts_of, stepped
from sparknet.nets.caffe.prototxt import Definition, define, without_learned
from sparknet.nets.caffe.trust import check_trust

__all__ = ["CaffeFactory", "CaffeNet", "Prepared"]


@dataclass(frozen=True)
class CaffeFactory:
    """Makes CaffeNets of one definition. It can be pickled, and needs Caffe but no files on the machine."""

    definition: Definition

    def __call__(self, *, seed: int = 0) -> "CaffeNet":
        """Return a new net whose initial weights depend on ``seed`` alone."""
        return CaffeNet(self.definition, seed=seed)

    def for_workers(self) -> "CaffeFactory":
        """Return a factory for nets whose weights are set before they are used, as in each round of a training.

        It leaves out the layers of the solver's ``weights`` that would be overwritten; those of the test phase alone stay.
        """
        return CaffeFactory(without_learned(self.definition))


class CaffeNet(TakesBatches):
    """A net that Caffe trains and runs, on the CPU.

    Parameters
    ----------
    solver
        Path of a solver prototxt, its text, or a checked Definition (then only ``seed`` counts). Files that it names are
        searched beside the solver, beside the net, in the working folder, and (names with a folder in them) above the solver.
        ``Data``, ``ImageData``, ``HDF5Data``, ``MemoryData`` and ``WindowData`` layers become inputs, and so does an
        RDDDataLayer. The solver's fields about testing, snapshots, display, ``random_seed`` and ``solver_mode`` are ignored.
    fields
        Shapes of the inputs that the prototxt does not give: a Field for each top of a data layer, with the shape of an example
        in a batch, before a ``transform_param`` crops it. A Field also gives the ``batch_axis`` of an input that has time before
        the batch, (T, n, ...), as recurrent layers do; its batches are (n, T, ...).
    batch_size
        Number of examples in the declared shape of all inputs, and in a pass; by default that of the prototxt. A batch may have
        any number; with an ``iter_size`` k in the solver, any multiple of k.
    seed
        Decides the initial weights, and random choices such as dropout in the steps; 0 or more.
    solver_overrides
        New values for fields of the solver: ``{"base_lr": 0.001, "max_iter": 500}``.
    ignore_transform
        True: ignore what data layers do to their images (size, mean, scale, crop, mirror), because the batches come with that
        done. False: the net does it, see :meth:`prepare`.
    unknown_fields
        ``"error"``: a field that this Caffe does not know, such as one of a fork, is an error; one message names all. ``"drop"``:
        such fields are left out, and the log names them.
    trust
        Types of layers that the net may have although they do more than compute: with ``("Python",)``, a Python layer imports a
        module and runs its code, here and on every worker. By default no such layer is allowed. An RDDDataLayer needs no trust.

    Raises
    ------
    NetError
        A file is missing (then it is a FileNotFoundError too), malformed, or cannot be used.
    MissingDependency
        Caffe is not installed.

    Notes
    -----
    Everything that can be checked without Caffe is checked before. Mistakes that only Caffe finds (layers whose shapes do not fit,
    parameters out of range) are exceptions in the Caffe that ``nox -s pycaffe`` builds; other builds end the process.

    A solver with ``iter_size`` k takes a step in k passes, each with an equal part of the batch. So a batch of k times the
    declared rows needs the memory of the declared rows, and gives the bits of Caffe's own step on the parts.

    Random numbers of a step depend on ``seed`` and the iteration alone. So a step that is tried again, or taken in another thread
    or beside another net, gives the same bits.

    Examples
    --------
    ::

        net = CaffeNet("examples/lenet/lenet_solver.prototxt", seed=1)
        loss = net.step({"data": images, "label": labels})  # (64, 1, 28, 28) and (64,)
        net.forward({"data": images, "label": labels})["accuracy"]
    """

    def __init__(
        self,
        solver: str | Path | Definition,
        *,
        fields: Sequence[Field] | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        solver_overrides: Mapping[str, Any] | None = None,
        ignore_transform: bool = False,
        unknown_fields: str = "error",
        trust: Sequence[str] = (),
    ) -> None:
        self._own = not isinstance(
            solver, Definition
        )  # else it was rehearsed, and what there is to note noted, on the driver
        if not isinstance(solver, Definition):
            solver = define(
                solver,
                fields=fields,
                batch_size=batch_size,
                solver_overrides=solver_overrides,
                ignore_transform=ignore_transform,
                unknown_fields=unknown_fields,
                trust=trust,
            )
        self._definition = solver
        self._param = parse(solver.solver, "SolverParameter", "solver")
        self._train_param = parse(solver.train, "NetParameter", "train net")
        self._test_param = parse(solver.test, "NetParameter", "test net")
        for net in (self._train_param, self._test_param):  # checked again, because a user can make a Definition
            check_trust(net.layer, solver.trust)
        self._sources = sources_of(self._test_param)
        self.reseed(seed)
        self._solver = new_solver(solver, self._seed)
        self._net = self._solver.net  # kept: each access makes another wrapper
        start_from(solver.initial, self._net)
        self._feeder = Feeder(self._train_param, self._net, solver.train_rows)
        self._losses = [  # by place, because all losses without a top have the same name
            (i, weight) for i, weight in enumerate(self._net._blob_loss_weights) if weight
        ]
        self._test: EvaluationNet | None = None
        self._rehearsed_train = False  # whether the last run without learning was that of the training net

    @classmethod
    def factory(
        cls,
        solver: str | Path,
        *,
        fields: Sequence[Field] | None = None,
        batch_size: int | None = None,
        solver_overrides: Mapping[str, Any] | None = None,
        ignore_transform: bool = False,
        unknown_fields: str = "error",
        trust: Sequence[str] = (),
    ) -> CaffeFactory:
        """Return a picklable ``factory(seed=...)``; the parameters are those of CaffeNet.

        The prototxts are read and checked now, and the net is made once in both phases. The factory holds texts alone.
        """
        definition = define(
            solver,
            fields=fields,
            batch_size=batch_size,
            solver_overrides=solver_overrides,
            ignore_transform=ignore_transform,
            unknown_fields=unknown_fields,
            trust=trust,
        )
        cls(definition)._evaluation()  # misfits of shapes show here, not on a worker
        return CaffeFactory(definition)

    def __reduce__(self) -> NoReturn:
        """Refuse: a net stays in its process."""
        msg = "a CaffeNet cannot be pickled; pickle CaffeNet.factory(...) and make the net on the worker"
        raise TypeError(msg)

    # ---- what it is
    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Inputs of the training net, name -> declared shape: the batch axis is the first, except in ``batch_axes``."""
        return inputs_of(self._train_param)

    @property
    def blob_names(self) -> list[str]:
        """Blobs of the test-phase net in its order: what ``forward(outputs=)`` can return."""
        return list(self._sources)

    def input_changes(self, *, train: bool = True) -> dict[str, tuple[str, ...]]:
        """Return input -> the changes to its values before a layer learns from them, in words and in order.

        Parameters
        ----------
        train
            True: the training phase. False: the test phase.

        Returns
        -------
        dict
            Changes by data layers, and by Power layers that an input goes through first; unchanged inputs are left out. Each
            change names the place in the prototxt: ``("x 0.00390625 (net.prototxt:7)", "crop 24 (net.prototxt:9)")``.
        """
        changes = self._definition.train_changes if train else self._definition.test_changes
        return {name: tuple(said) for name, said in changes.items()}

    def entering(self) -> dict[str, NDArray]:
        """Return input -> its values in the last ``rehearse`` or ``forward``, behind the Power layers that it goes through first.

        The arrays are copies.
        """
        train = self._rehearsed_train
        net, feeder = self._phase(train=train)
        tops = power_tops(self._train_param if train else self._test_param)
        return {name: NDArray(net.blobs[tops.get(name, name)].data.copy()) for name in feeder.shapes}

    def reseed(self, seed: int) -> None:
        """Seed the random numbers of the next steps (dropout, ...); the weights do not change."""
        if seed < 0:
            msg = f"got seed {seed}, expected 0 or more"
            raise NetError(msg)
        self._seed = seed

    # ---- running
    def step(self, batch: Batch) -> float:
        """Take one solver step on ``batch`` and return its loss before the step.

        Parameters
        ----------
        batch
            Input name -> array of any real dtype, with the input's shape except for the number of rows; a label input of shape
            (n, 1, 1, 1) also takes (n,). Columns without an input are ignored. Images of a data layer are changed as the layer
            says, unless the batch is Prepared.

        Returns
        -------
        float
            The sum over all blobs with a loss weight; with an ``iter_size`` the mean of it over the passes, as in Caffe.

        Raises
        ------
        DataError
            A column is missing, its shape or labels do not fit, or the rows are no multiple of ``iter_size``; the net is as
            before.
        NetError
            A value is not finite, or Caffe refuses the step.
        """
        self._check_schedule()
        if self._own:
            self._note_no_loss()
        columns, rows = columns_of(self._prepared(batch, train=True), self._feeder.shapes)
        parts = parts_of(columns, rows, self.passes)
        with self._named("step()", parts, train=True):
            losses = [
                self._loss() for _ in stepped(self._solver, self._param, self._feeder, parts, self._set_generator)
            ]
        return float(np.mean(losses))

    def _loss(self) -> float:
        """Return the loss of the last forward pass of the training net."""
        return float(sum(weight * self._net._blobs[i].data.sum(dtype=np.float64) for i, weight in self._losses))

    def forward(self, batch: Batch, outputs: Sequence[str] | None = None) -> dict[str, NDArray]:
        """Run the net in its test phase with the present weights, and return the named blobs.

        Parameters
        ----------
        batch
            As for ``step``; inputs that the ``outputs`` do not depend on, such as labels, may be missing.
        outputs
            Names from ``blob_names``; by default the net's outputs.

        Returns
        -------
        dict
            Blob name -> float32 array, a copy. A blob that a layer changes in place has its last value. The batch axis is the
            first, also in a net with ``batch_axes``.

        Raises
        ------
        NetError
            A blob is unknown, a value is not finite, or Caffe refuses the net.
        DataError
            A column is missing, or its shape or labels do not fit.
        """
        evaluation = self._evaluation()
        net, feeder = evaluation.net, evaluation.feeder
        self._rehearsed_train = False
        names = list(feeder.output_shapes if outputs is None else outputs)
        unknown = [name for name in names if name not in self._sources]
        if unknown:
            msg = f"forward(): no blob {', '.join(map(repr, unknown))}; the net has {', '.join(self._sources)}"
            raise NetError(msg, unknown=unknown)
        needed = frozenset[str]().union(*(self._sources[name] for name in names))
        prepared, optional = self._prepared(batch, train=False), feeder.shapes.keys() - needed
        with self._named("forward()", [prepared], optional, train=False):
            feeder.feed(prepared, optional)
            evaluation.follow()
            self._set_generator()
            net.forward()
        return {name: NDArray(evaluation.by_row(name).copy()) for name in names}

    def total(self, name: str, value: float, rows: int) -> tuple[float, float]:
        """Return sum and divisor for a scalar output of the last ``forward`` on ``rows`` examples.

        The divisor is the number of rows, or of labels other than the layer's ``ignore_label``. With the normalization NONE the
        output is a sum already.
        """
        return self._evaluation().reports.total(name, value, rows)

    def totals(self, outputs: Mapping[str, NDArray], rows: int) -> dict[str, tuple[float, float]]:
        """Return metric -> sum and divisor for the ``outputs`` of the last ``forward`` on ``rows`` examples.

        Metrics are scalar outputs; outputs of any shape with a loss weight, as the sum of their elements; and the second top of an
        Accuracy, as ``"top/0"``, ``"top/1"``, ... for the classes. Other outputs are features.
        """
        return self._evaluation().reports.totals(outputs, rows)

    def _evaluation(self) -> EvaluationNet:
        """Return the net of the test phase, which is made at the first call."""
        if self._test is None:
            self._set_generator()
            self._test = EvaluationNet(self._definition, self._test_param, self._train_param, self._net)
        return self._test

    def _check_schedule(self) -> None:
        """Refuse a step after the end of a "poly" schedule, where the rate is NaN."""
        if self._param.lr_policy == "poly" and self.iteration > self._param.max_iter:
            msg = f"step(): iteration {self.iteration} is behind max_iter {self._param.max_iter}, where lr_policy 'poly' ends"
            raise NetError(msg)
