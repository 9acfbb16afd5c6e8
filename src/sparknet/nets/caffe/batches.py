"""A batch on its way into a CaffeNet: changes of images, parts for passes, short batches, other batch axes.

A trial of a batch is here too. It finds what a net does not take before the net is trained.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from sparknet.data.ragged import Even
from sparknet.data.sampling import step_rng
from sparknet.errors import NetError, located
from sparknet.ndarray import NDArray
from sparknet.nets.base import Batch
from sparknet.nets.caffe.evaluation import EvaluationNet
from sparknet.nets.caffe.feed import Feeder, as_array, check_taken, columns_of
from sparknet.nets.caffe.holding import HoldsWeights
from sparknet.nets.caffe.notes import note
from sparknet.nets.caffe.padding import padding_of
from sparknet.nets.caffe.passes import parts_of
from sparknet.nets.caffe.prototxt import Definition
from sparknet.nets.caffe.rehearsal import rehearse
from sparknet.nets.caffe.runtime import load, translated

__all__ = ["Prepared", "TakesBatches"]


class Prepared(dict[str, NDArray]):
    """A batch that :meth:`CaffeNet.prepare` returned: its images are changed already, and are not changed again."""


class TakesBatches(HoldsWeights):
    """Handles batches for the nets of both phases; a subclass makes and runs the nets."""

    _definition: Definition
    _train_param: Any  # NetParameters
    _test_param: Any
    _feeder: Feeder  # of the training net
    _rehearsed_train: bool  # whether what ran last without learning was the training net
    _seed: int
    _losses: list[tuple[int, float]]  # of the training net's blobs, by place: the weights that they count with
    _warned: frozenset[str] = frozenset()

    def _evaluation(self) -> EvaluationNet:
        """Return the net of the test phase."""
        raise NotImplementedError

    def _phase(self, *, train: bool) -> tuple[Any, Feeder]:
        """Return the net of a phase, and its feeder."""
        if train:
            return self._net, self._feeder
        evaluation = self._evaluation()
        return evaluation.net, evaluation.feeder

    @property
    def passes(self) -> int:
        """Passes of a step, the solver's ``iter_size``: the batch of a step is split into so many parts with equal numbers of rows."""
        return int(self._param.iter_size)

    def prepare(self, batch: Batch, rng: np.random.Generator, *, train: bool) -> Prepared:
        """Return the batch with the images changed as the prototxt's data layers say, for ``step`` or ``forward``.

        ``step`` and ``forward`` do this themselves to a batch that was not prepared. Preparing it before, for example in the
        thread of a :func:`~sparknet.data.prefetch.prefetch`, leaves them Caffe's own work alone. Any thread may call this.

        Parameters
        ----------
        batch
            As for ``step``; it is not written to.
        rng
            Draws the places of crops, and the mirrors.
        train
            True: the data layers of the training phase, with random crops. False: those of the test phase, with centre crops.

        Raises
        ------
        DataError
            The images do not fit.
        """
        transform = self._definition.train_transform if train else self._definition.test_transform
        columns = {name: as_array(column) for name, column in batch.items()}
        return Prepared(columns if transform is None else transform(columns, rng, train=train))

    def _prepared(self, batch: Batch, *, train: bool) -> Prepared:
        if isinstance(batch, Prepared):
            return batch
        return self.prepare(batch, step_rng(self._seed, 0, self.iteration), train=train)

    def padding(self, weight: str | None = None, *, train: bool = True) -> dict[str, float]:
        """Return the values to pad a short batch with, by input, so that the net learns from the batch's own rows alone.

        The result is the ``padding`` of :func:`~sparknet.data.ragged.even_batches`. Pad only for a net that cannot take any
        number of rows; other nets take a short batch as it is.

        Parameters
        ----------
        weight
            The input with which the net multiplies each example's loss, if it has one. It is padded with 0. The batches must
            have the column.
        train
            True: padding for training. False: padding for an evaluation, where every reported number must leave out the
            padded rows.

        Raises
        ------
        NetError
            A loss counts every row (it ignores no label, and does not depend on ``weight``), or a layer mixes rows.
        """
        if train and self.passes > 1:
            msg = (
                f"padding(): iter_size is {self.passes}, and passes count equally in a step; one with padded rows "
                "would give its own more weight. Use ragged='drop'"
            )
            raise NetError(msg)
        if train:
            return padding_of(self._train_param, weight, axes=self._feeder.axes)
        evaluation = self._evaluation()
        return padding_of(self._test_param, weight, axes=evaluation.feeder.axes, reported=evaluation.reports.names)

    @property
    def batch_axes(self) -> dict[str, int]:
        """Inputs of the training net whose batch axis is not the first, name -> axis. A batch itself has its examples first."""
        return dict(self._feeder.axes)

    def even(self, *, train: bool) -> Even:
        """Return what happens to short batches in one phase, if an RDDDataLayer says it; else ``"reshape"``.

        The ``batch_size`` of the result is the one that the phase declares: in training, the rows of a pass.
        """
        rows = self._definition.train_rows if train else self._definition.test_rows
        return rows.even or Even(self._phase(train=train)[1].declared_rows)

    def rehearse(self, batch: Batch, *, train: bool) -> None:
        """Run a batch forward in one phase, layer by layer; this does not change the net.

        :func:`~sparknet.averaged_sgd` finds out so, before the training, whether a net takes a number of rows.

        Parameters
        ----------
        batch
            As for ``step``.
        train
            True: the training phase; with an ``iter_size``, the first part of the batch is run. False: the test phase.

        Raises
        ------
        DataError
            As for ``step``.
        NetError
            As for ``step``; if a layer refuses the batch, the message begins with the layer's name. Or a blob keeps its number
            of rows whatever the batch has, or a column has the name of a blob that the net fills itself.
        """
        _, feeder = self._phase(train=train)
        check_taken(batch, self._train_param if train else self._test_param)
        if train:
            self._note_no_loss()
        elif not self._evaluation().reports.names:
            self._warn(
                "no output of the TEST phase is a number, such as a loss with a top: an evaluation tells nothing"
            )
        columns, rows = columns_of(self._prepared(batch, train=train), feeder.shapes)
        self._rehearse(parts_of(columns, rows, self.passes if train else 1), train=train)

    def _note_no_loss(self) -> None:
        if not self._losses:
            self._warn("no layer of the TRAIN phase is a loss, so steps change nothing but by weight decay")

    def _warn(self, text: str) -> None:
        """Log a warning, once for each net."""
        if text not in self._warned:
            note(text, logging.WARNING)
            self._warned |= {text}

    def _rehearse(self, parts: Sequence[Batch], optional: Collection[str] = (), *, train: bool) -> None:
        net, feeder = self._phase(train=train)
        self._rehearsed_train = train
        kept = self.get_weights() if train else None  # BatchNorm's statistics are among them
        if not train:
            self._evaluation().follow()
        try:
            rehearse(net, feeder, parts, self._set_generator, optional)
        finally:
            if kept is not None:
                self.set_weights(kept)

    @contextmanager
    def _named(
        self, what: str, parts: Sequence[Batch], optional: Collection[str] = (), *, train: bool
    ) -> Iterator[None]:
        """Turn what Caffe refuses in the block into a NetError that names the layer, where a second try finds it."""
        try:
            with translated(what):
                yield
        except NetError as error:
            if isinstance(error.__cause__, RuntimeError):
                with located(what):
                    self._rehearse(parts, optional, train=train)
            raise

    def _set_generator(self) -> None:
        """Seed Caffe's generator, one for the whole thread, from our seed and iteration."""
        words = np.random.SeedSequence([self._seed, self.iteration]).generate_state(1)
        load().set_random_seed(int(words[0]))
