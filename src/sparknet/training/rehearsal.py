"""What does not fit shows before any work is sent out: the net is tried on whole and short minibatches, here on the driver.

A net may fix its batch size inside (a Reshape with a number for the batch), where only the last minibatch of a data set
would find it. So both shapes are tried, in the phase that the data is for.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sparknet.data.fields import Field, rows_of_batch
from sparknet.data.preprocess.base import preprocessed, steps_of
from sparknet.data.ragged import Even, Ragged, evened, say_dropped
from sparknet.data.sampling import step_rng
from sparknet.errors import DataError, located
from sparknet.ndarray import NDArray
from sparknet.nets.base import Net, NetFactory, driver_net
from sparknet.training.protocols import PackedData
from sparknet.training.values import warn_of_values

__all__ = ["check_axes", "check_fit", "even_of", "rehearsed", "settled", "used_batches"]

_LOG = logging.getLogger(__name__)


def check_fit(
    factory: NetFactory,
    data: PackedData,
    seed: int,
    what: str = "the first minibatch",
    *,
    train: bool = True,
    are_values: bool = True,
) -> Net:
    """Return the factory's net after running it on the first minibatch, here on the driver.

    Whatever does not fit (names, shapes, labels) shows before any job, as the exception of the preprocessor or net that
    finds it; the message begins with ``what`` it was found in. Values from which a net can hardly learn are logged as a
    warning, unless they only stand for the data's own: ``are_values=False``.
    """
    net = driver_net(factory, seed)
    _first_batch(net, data, seed, what, train=train, are_values=are_values)
    return net


def rehearsed(net: Net, data: Any, seed: int, *, train: bool) -> Any:
    """Return the data with its short minibatches settled, after the net was tried on a whole and on a short one.

    Parameters
    ----------
    net
        It is as before afterwards.
    data
        A packed data set. What it leaves open of ``ragged`` and ``padding`` the net says.
    seed
        Of the preprocessor's random choices.
    train
        Whether the net learns from it, in its training phase, or is evaluated on it, in its test phase.

    Raises
    ------
    SparknetError
        The net does not take the minibatches; the message names which, and the fix.
    """
    where = "" if train else "evaluation: "
    check_axes(net, getattr(data, "fields", ()))
    data = _settled(net, data, where, train=train)
    if train:
        _tell_passes(net, data)
    batch = _first_batch(net, data, seed, f"{where}the first minibatch", train=train)
    for rows, which in _short_ones(data, rows_of_batch(batch)):
        fix = " (packed with ragged='drop' it is left out, with 'pad' filled up where the net ignores a label)"
        with located(
            f"{where}{which}, of {rows} rows{fix if even_of(data).ragged == 'reshape' else ', which is padded'}"
        ):
            short = {name: column[:rows] for name, column in batch.items()}
            _run(net, even_of(data)(short) or short, train=train)
    return data


def _tell_passes(net: Any, data: Any) -> None:
    """Log how minibatches are parted for a net that takes a step in passes, where it declares another number of rows."""
    passes = getattr(net, "passes", 1)
    if passes > 1 and data.batch_size != passes * net.even(train=True).batch_size:
        declared = net.even(train=True).batch_size
        _LOG.warning(
            "iter_size %d: minibatches of %d rows are taken in passes of %g; the net declares %d for a pass, so %d for a step",
            *(passes, data.batch_size, data.batch_size / passes, declared, passes * declared),
        )


def _short_ones(data: Any, rows: int) -> Iterator[tuple[int, str]]:
    """Yield the numbers of rows of minibatches that are shorter than the first one, of ``rows``, and which they are."""
    if even_of(data).ragged == "drop":
        return
    if 0 < _rest(data) < rows:
        yield _rest(data), "the last minibatch"
    if rows > 1 and any(getattr(step, "on_error", "error") == "drop" for step in steps_of(data.preprocessor)):
        yield rows - 1, "a minibatch that loses an image to on_error='drop'"


def check_axes(net: Net, fields: Iterable[Field]) -> None:
    """Raise a DataError if a field says a batch axis that is not that of the net's input."""
    axes: Mapping[str, int] = getattr(net, "batch_axes", {})
    for field in fields:
        if field.batch_axis and field.batch_axis != axes.get(field.name, 0):
            msg = (
                f"field {field} is for an input with the batch on axis {field.batch_axis}; that of this {type(net).__name__} has "
                f"it on axis {axes.get(field.name, 0)}. A CaffeNet.factory(..., fields=fields) takes what the fields say"
            )
            raise DataError(msg, field=field.name)


def even_of(data: Any) -> Even:
    """Return what becomes of the short minibatches of packed data."""
    return getattr(data, "even", None) or Even(data.batch_size)


def used_batches(data: PackedData) -> int:
    """Return how many minibatches are used: all, or all but a short last one that is left out."""
    return even_of(data).num_used(data.num_batches, data.count() if hasattr(data, "count") else 0)


def _rest(data: Any) -> int:
    """Return the rows of a short last minibatch, 0 if there is none."""
    return int(data.count() % data.batch_size) if hasattr(data, "count") else 0


def _first_batch(
    net: Net, data: Any, seed: int, what: str, *, train: bool, are_values: bool = True
) -> Mapping[str, NDArray]:
    """Return the first minibatch, preprocessed, after the net ran on it as it is used."""
    with located(what):
        batch = preprocessed(data.first_batch(), data.preprocessor, step_rng(seed, 0, 0), train=train)
        rows, used = evened(batch, even_of(data))
        if rows:
            _run(net, used, train=train)
            if train and are_values:
                warn_of_values(net, batch, data.preprocessor)
    return batch


def _run(net: Net, batch: Mapping[str, NDArray], *, train: bool) -> None:
    """Run the net on a batch in one phase; a net without phases runs forward."""
    rehearse = getattr(net, "rehearse", None)
    if rehearse is not None:
        rehearse(batch, train=train)
    else:
        net.forward(batch)


def _settled(net: Net, data: Any, where: str, *, train: bool) -> Any:
    """Return the data with ``ragged`` and ``padding`` as they will be, where it or the net says them."""
    said, padding = getattr(data, "ragged", None), getattr(data, "padding", None)
    even = settled(net, data.batch_size, said, padding, where, train=train)
    if even.ragged == "reshape":
        return data
    if even.ragged == "drop":
        say_dropped(f"{where}averaged_sgd()", data.count(), data.batch_size)
        return replace(data, ragged=even.ragged)
    return replace(data, ragged=even.ragged, padding=even.padding)


def settled(
    net: Net,
    batch_size: int,
    ragged: Ragged | None,
    padding: Mapping[str, float] | None,
    where: str = "",
    *,
    train: bool,
) -> Even:
    """Return what becomes of short minibatches: what was said of them, else what the net says.

    Parameters
    ----------
    net
        The net that gets them.
    batch_size
        Rows of the others.
    ragged, padding
        What was said, as for :func:`sparknet.data.pack`.
    where
        Begins errors.
    train
        Whether the net learns from them, or is evaluated on them.

    Raises
    ------
    SparknetError
        They are to be padded, and the net counts padded rows, or ignores another value.
    """
    said = net.even(train=train) if hasattr(net, "even") else Even(batch_size)
    chosen = ragged or said.ragged
    if chosen != "pad":
        return Even(batch_size, chosen)
    with located(f"{where}ragged='pad'"):
        return Even(batch_size, chosen, _padding_for(net, padding or said.padding, train=train))


def _padding_for(net: Net, padding: Mapping[str, float] | None, *, train: bool) -> Mapping[str, float]:
    """Return what to pad with: what was said, else what the net ignores; in an evaluation both must agree."""
    if padding and train:
        return padding
    if not hasattr(net, "padding"):
        msg = f"a {type(net).__name__} counts padded rows; expected a net that ignores a label. Use ragged='reshape' or 'drop'"
        raise DataError(msg)
    ignored: Mapping[str, float] = net.padding(train=train)
    differing = [name for name, value in ignored.items() if padding and padding.get(name, 0) != value]
    if padding and differing:
        name = differing[0]
        msg = f"got padding={dict(padding)!r}, and the net ignores {ignored[name]:g} in {name!r}; expected the same"
        raise DataError(msg)
    return padding or ignored
