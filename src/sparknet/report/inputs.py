"""A line about each input of a net: its stored values, each step on them with its origin, and the range of the result."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sparknet.data.dataset import Dataset
from sparknet.data.preprocess.base import preprocessed, steps_of
from sparknet.data.ranges import line_about
from sparknet.data.sampling import step_rng
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net

__all__ = ["input_lines"]

_RANDOM = ("mirror", "crop")  # these always differ between the phases


def input_lines(
    net: Net, first: Dataset, sources: Sequence[str] = (), orders: Mapping[str, str] | None = None
) -> list[str]:
    """Return a line about each input, and a second one if the test phase computes something else.

    Parameters
    ----------
    net
        A net that has just run forward on the first minibatch.
    first
        The first minibatch, packed. Its preprocessor is a step on one field, a ``Compose`` of such steps, or None.
    sources
        What asks for each step of the preprocessor, in words, such as an option's name.
    orders
        Input -> the order of its stored channels, where it is known.

    Examples
    --------
    >>> import numpy as np
    >>> from sparknet import Field
    >>> from sparknet.data import pack
    >>> from sparknet.data.preprocess import Scale
    >>> from sparknet.nets import MLP
    >>> data = pack({"data": np.eye(8, dtype=np.uint8)}, [Field("data", (8,), "uint8")], 8, Scale("data", 1 / 256))
    >>> input_lines(MLP((8,), 2), data, ["--scale"])
    ['data: uint8 0..255 -> x 0.00390625 (--scale) -> 0..0.00390625 in the first minibatch']
    """
    stored = first.first_batch()
    own = _own_changes(first.preprocessor, sources)
    reached = _reached(net, preprocessed(stored, first.preprocessor, step_rng(0, 0, 0), train=False))
    train, test = (_changes(net, own, stored, train=train) for train in (True, False))
    return [
        line
        for name in stored
        for line in _lines(name, stored[name], (orders or {}).get(name, ""), train[name], test[name], reached)
    ]


def _own_changes(preprocessor: Any, sources: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return field -> the preprocessor's steps on it in words, each with what asks for it."""
    own: dict[str, tuple[str, ...]] = {}
    for step, source in zip(steps_of(preprocessor), sources, strict=True):
        own[step.field] = (*own.get(step.field, ()), f"{step.describe()} ({source})")
    return own


def _reached(net: Net, batch: Mapping[str, NDArray]) -> Mapping[str, NDArray]:
    """Return the values that the first layer that learns gets."""
    entering = getattr(net, "entering", None)
    return batch if entering is None else entering()


def _changes(
    net: Net, own: Mapping[str, tuple[str, ...]], stored: Mapping[str, NDArray], *, train: bool
) -> dict[str, tuple[str, ...]]:
    """Return input -> the steps on its values in this phase, first the preprocessor's, then the net's."""
    changes = getattr(net, "input_changes", None)
    of_net = {} if changes is None else changes(train=train)
    return {name: (*own.get(name, ()), *of_net.get(name, ())) for name in stored}


def _lines(
    name: str, stored: NDArray, order: str, train: Sequence[str], test: Sequence[str], reached: Mapping[str, NDArray]
) -> Iterator[str]:
    yield line_about(name, stored, train, reached.get(name), order=order)
    if _computing(train) != _computing(test):
        yield line_about(f"{name}, in test", stored, test, order=order)


def _computing(steps: Sequence[str]) -> list[str]:
    """Return the steps that compute with values, without what asks for them."""
    return [step.partition(" (")[0] for step in steps if not step.startswith(_RANDOM)]
