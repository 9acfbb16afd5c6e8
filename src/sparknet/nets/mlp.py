"""MLP: the embedded reference net, softmax regression or ReLU layers, written with NDArray alone.

With it, training runs where no deep-learning framework is installed. It is also the smallest example of a Net. It names no
backend: it runs wherever its weights are.
"""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod, sqrt
from typing import Any, NoReturn

import numpy as np

from sparknet import nd
from sparknet.backends import backend_for_device
from sparknet.backends.placement import host_device
from sparknet.data.fields import rows_of_batch
from sparknet.data.layout import is_whole
from sparknet.errors import NetError, SchemaError, shown
from sparknet.ndarray import NDArray
from sparknet.nets.base import Batch, NetFactory, SolverState
from sparknet.weights import WeightCollection
from sparknet.weights.given import given_weights
from sparknet.weights.schema import check_same_schema

__all__ = ["MLP"]

_INIT = 4  # what a generator is for comes first in its seed; data/ has the other purposes
_GIB = 1 << 30
_NO_LENGTH = 1 << 63  # the length of an axis is smaller
_OUTPUTS = ("loss", "accuracy", "scores", "prob")


class MLP:
    """A fully connected net with ReLU between layers, softmax cross entropy, and SGD with momentum.

    Parameters
    ----------
    input_shape
        Shape of one example of the data input; it is flattened.
    classes
        Number of classes; labels are integers in ``[0, classes)``.
    hidden
        Widths of the hidden layers; ``()`` is softmax regression.
    learning_rate
        A number, or a picklable function of the iteration (a schedule).
    momentum, weight_decay
        Constants of Caffe's update: ``v = momentum * v + rate * (gradient + weight_decay * w); w = w - v``.
    data, label
        Names of the two inputs.
    seed
        The initial weights depend on the seed alone: uniform in ``+-sqrt(6 / fan_in)`` (He et al. 2015, arXiv 1502.01852);
        biases are zero.
    device
        The device of the weights and the arithmetic. ``"cuda"`` is the GPU that Spark gave the task, else the GPUs of a machine
        are given to its workers in turn.

    Examples
    --------
    >>> net = MLP((2,), classes=2, learning_rate=0.5)
    >>> batch = {"data": nd.asarray([[0.0, 1.0], [1.0, 0.0]]), "label": nd.asarray([0, 1])}
    >>> first = net.step(batch)
    >>> for _ in range(50):
    ...     last = net.step(batch)
    >>> last < first / 5, float(net.forward(batch)["accuracy"])
    (True, 1.0)
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        hidden: Sequence[int] = (),
        *,
        learning_rate: float | Callable[[int], float] = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        data: str = "data",
        label: str = "label",
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self._input_shape = tuple(int(n) for n in input_shape)
        if not isinstance(hidden, list | tuple):
            msg = f"MLP: got hidden={hidden!r}, expected a sequence of widths such as (128,)"
            raise NetError(msg)
        widths = [prod(self._input_shape), *hidden, classes]
        if not all(is_whole(width, 1) and width < _NO_LENGTH for width in widths):
            msg = f"MLP: got the layer widths {shown(widths)}, expected positive whole numbers below 2**63"
            raise NetError(msg)
        widths = [int(width) for width in widths]
        _check_memory(widths)
        self._classes, self._data, self._label = classes, data, label
        self._device = backend_for_device(device).device
        self._rate = learning_rate if callable(learning_rate) else partial(_constant, float(learning_rate))
        self._momentum, self._decay = momentum, weight_decay
        rng = np.random.default_rng([_INIT, seed])
        layers = {}
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths), start=1):
            bound = sqrt(6 / fan_in)
            weight = rng.uniform(-bound, bound, (fan_out, fan_in)).astype(np.float32)
            layers[f"ip{i}"] = [nd.asarray(a, device=self._device) for a in (weight, np.zeros(fan_out, np.float32))]
        self._weights = WeightCollection(layers)
        self._history = self._weights.map(nd.zeros_like)
        self._iteration = 0

    @classmethod
    def factory(cls, *args: Any, **options: Any) -> NetFactory:
        """Return a picklable ``factory(seed=...)`` that makes this net; arguments as for the class.

        The net is made once here, in host memory, so that a mistake shows on the driver and not on a worker. A GPU is needed
        only where the factory is called.
        """
        factory = MLPFactory(partial(cls, *args, **options))
        factory.for_driver()()
        return factory

    @property
    def iteration(self) -> int:
        """Solver steps taken so far."""
        return self._iteration

    def get_weights(self) -> WeightCollection:
        """Return a copy of the weights: ``ip1``, ``ip2``, ... -> (weight (out, in), bias (out,)), float32."""
        return self._weights.copy()

    def set_weights(self, weights: WeightCollection) -> None:
        """Copy ``weights`` into the net; a SchemaError if names, shapes or dtypes differ."""
        weights = given_weights(weights, "set_weights()")
        check_same_schema(self._weights, weights, "set_weights()")
        for mine, theirs in zip(self._weights.arrays(), weights.arrays(), strict=True):
            mine[...] = theirs.to_device(self._device)

    def get_state(self) -> dict[str, NDArray]:
        """Return a copy of the momentum buffers (``history/<i>``) and the ``iteration``."""
        history = {f"history/{i}": nd.asarray(a, copy=True) for i, a in enumerate(self._history.arrays())}
        return {"iteration": nd.asarray(self._iteration, dtype=nd.int64), **history}

    def lend(self) -> tuple[WeightCollection, dict[str, NDArray]]:
        """Return weights and state in the net's own memory, to be read before the net is used again."""
        history = {f"history/{i}": a for i, a in enumerate(self._history.arrays())}
        return self._weights, {"iteration": nd.asarray(self._iteration, dtype=nd.int64), **history}

    def set_state(self, state: SolverState) -> None:
        """Copy momentum and iteration from ``state``; a SchemaError if it does not fit."""
        expected = {"iteration": (), **{f"history/{i}": a.shape for i, a in enumerate(self._history.arrays())}}
        got = {name: array.shape for name, array in state.items()}
        if got != expected:
            msg = f"set_state(): got arrays {got}, expected {expected}; is the state from another net?"
            raise SchemaError(msg, got=got, expected=expected)
        self._iteration = int(state["iteration"])
        for i, mine in enumerate(self._history.arrays()):
            mine[...] = state[f"history/{i}"].to_device(self._device)

    def step(self, batch: Batch) -> float:
        """Take one SGD step on ``batch``; return the mean cross entropy before it."""
        data, one_hot = self._inputs(batch)
        activations = self._activations(data)
        loss, prob = _cross_entropy(activations[-1], one_hot)
        rate = self._rate(self._iteration)
        delta = (prob - one_hot) / data.shape[0]
        layers = list(self._weights)
        for i in range(len(layers) - 1, -1, -1):
            weight, bias = self._weights[layers[i]]
            gradients = (delta.T @ activations[i], nd.sum(delta, axis=0))
            if i:  # before this layer's weight changes
                delta = (delta @ weight) * nd.astype(activations[i] > 0, nd.float32)
            for w, v, gradient in zip((weight, bias), self._history[layers[i]], gradients, strict=True):
                v[...] = v * self._momentum + rate * (gradient + self._decay * w)
                w[...] = w - v
        self._iteration += 1
        return float(loss)

    def forward(self, batch: Batch, outputs: Sequence[str] | None = None) -> dict[str, NDArray]:
        """Return the named outputs, by default ``loss`` and ``accuracy``, means over the batch.

        Parameters
        ----------
        batch
            The data input; also the label if ``outputs`` has loss or accuracy.
        outputs
            Names among ``loss``, ``accuracy`` (0-d), ``scores`` and ``prob`` (n, classes); all are float32.
        """
        names = ["loss", "accuracy"] if outputs is None else list(outputs)
        unknown = [name for name in names if name not in _OUTPUTS]
        if unknown:
            msg = f"forward(): unknown output {', '.join(map(repr, unknown))}; there are {', '.join(_OUTPUTS)}"
            raise NetError(msg, unknown=unknown)
        needs_label = "loss" in names or "accuracy" in names
        data, one_hot = self._inputs(batch, needs_label=needs_label)
        scores = self._activations(data)[-1]
        loss, prob = _cross_entropy(scores, one_hot)
        every = {"loss": loss, "scores": scores, "prob": prob}
        if "accuracy" in names:
            hits = nd.argmax(scores, axis=1) == nd.argmax(one_hot, axis=1)
            every["accuracy"] = nd.mean(nd.astype(hits, nd.float32))
        return {name: every[name] for name in names}

    def _activations(self, data: NDArray) -> list[NDArray]:
        """Return the input of every layer, and behind them the scores."""
        activations = [data]
        for i, (weight, bias) in enumerate(self._weights.values()):
            x = activations[-1] @ weight.T + bias
            activations.append(nd.maximum(x, nd.zeros_like(x)) if i < len(self._weights) - 1 else x)
        return activations

    def _inputs(self, batch: Batch, *, needs_label: bool = True) -> tuple[NDArray, NDArray]:
        """Return data as (n, features) float32 and labels as one-hot (n, classes) float32."""
        names = [self._data, *([self._label] if needs_label else [])]
        missing = [name for name in names if name not in batch]
        if missing:
            msg = f"the net needs the inputs {names}, the batch has {_shapes(batch)}; rename the columns or set data=, label="
            raise NetError(msg)
        n = rows_of_batch({name: batch[name] for name in names})
        data = batch[self._data]
        if data.shape[1:] != self._input_shape and prod(data.shape[1:]) != prod(self._input_shape):
            msg = f"input {self._data!r} has examples of shape {data.shape[1:]}, this net needs {self._input_shape}"
            raise NetError(msg)
        features = nd.astype(nd.reshape(data.to_device(self._device), (n, -1)), nd.float32)
        fits = nd.all(nd.isfinite(features))
        if needs_label:
            one_hot = self._one_hot(batch[self._label])
            fits &= nd.sum(one_hot) == n
        else:
            one_hot = nd.zeros((n, self._classes), dtype=nd.float32, device=self._device)
        if not fits:  # one check for both inputs, because each check waits for the device
            self._refuse(features, one_hot, batch)
        return features, one_hot

    def _one_hot(self, label: NDArray) -> NDArray:
        """Return labels as one-hot rows; a value that is no label gives a row of zeros."""
        flat = nd.reshape(label.to_device(self._device), (-1, 1))
        if flat.shape[0] != label.shape[0]:
            msg = f"input {self._label!r}: {self._expected}, one for each example; got the shape {label.shape}"
            raise NetError(msg)
        classes = nd.arange(self._classes, device=self._device)
        one_hot: NDArray = nd.astype(flat == classes, nd.float32)
        return one_hot

    @property
    def _expected(self) -> str:
        return f"labels must be whole numbers in [0, {self._classes})"

    def _refuse(self, features: NDArray, one_hot: NDArray, batch: Batch) -> NoReturn:
        """Raise a NetError that names the first example that does not fit: in the data, else in the labels."""
        finite = nd.all(nd.isfinite(features), axis=1)
        if not nd.all(finite):
            row = int(nd.argmin(nd.astype(finite, nd.int8)))
            msg = f"input {self._data!r}, example {row}: got a value that is not finite in float32"
            raise NetError(msg, input=self._data, row=row)
        row = int(nd.argmin(nd.sum(one_hot, axis=1)))
        value = nd.reshape(batch[self._label], (-1,)).to_host()[row]
        msg = f"input {self._label!r}, example {row}: {self._expected}; got {value}"
        raise NetError(msg, input=self._label, row=row)


@dataclass(frozen=True)
class MLPFactory:
    """Makes MLPs with the same arguments. It can be pickled, and works on any machine that has the device."""

    make: "partial[MLP]"

    def __call__(self, *, seed: int | None = None) -> MLP:
        """Return a new net; its initial weights depend on ``seed`` alone, by default on the seed in the arguments."""
        return self.make() if seed is None else self.make(seed=seed)

    @property
    def device(self) -> str:
        """The device of the nets, as it was given."""
        return str(self.make.keywords.get("device", "cpu"))

    def for_driver(self) -> "MLPFactory":
        """Return a factory of the same nets in host memory, so that the driver can try one without a GPU."""
        return MLPFactory(partial(self.make, device=host_device(self.device)))


def _check_memory(widths: Sequence[int]) -> None:
    """Refuse a net that is larger than this machine's memory. Making the net takes about as much memory as the net itself."""
    weights = [fan_in * fan_out for fan_in, fan_out in itertools.pairwise(widths)]
    parameters = sum(weights) + sum(widths[1:])
    needed = 8 * parameters + 8 * max(weights)  # weights and momentum; the largest layer's random numbers
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        msg = (
            f"MLP: the layer widths {shown(widths)} are {parameters:.3g} parameters, which take {needed / _GIB:.3g} GiB; this "
            f"machine has {there / _GIB:.3g} GiB: make the hidden layers smaller"
        )
        raise NetError(msg, got=needed, expected=there)


def _constant(value: float, _iteration: int) -> float:
    return value


def _cross_entropy(scores: NDArray, one_hot: NDArray) -> tuple[NDArray, NDArray]:
    """Return the mean of -log softmax at the label (0-d), and the softmax; scores are shifted so that exp stays finite."""
    shifted = scores - nd.max(scores, axis=1, keepdims=True)
    exp = nd.exp(shifted)
    total = nd.sum(exp, axis=1, keepdims=True)
    log_prob = shifted - nd.log(total)
    return -nd.mean(nd.sum(log_prob * one_hot, axis=1)), exp / total


def _shapes(batch: Mapping[str, NDArray]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in batch.items()) or "nothing"
