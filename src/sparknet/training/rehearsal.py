"""The net is tried on the driver, on a whole and on a short minibatch, so that misfits show before any work is sent out.

A net may fix its batch size inside (a Reshape with a number for the batch). Without a trial, only the last minibatch of the data
would show it. So both shapes are tried, in the phase that the data is for.
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
    """Return the factory's net after it ran on the first minibatch, on the driver.

    Misfits of names, shapes or labels are exceptions of the preprocessor or net, before any job; the message begins with
    ``what``. A warning is logged for values from which a net can hardly learn. ``are_values=False`` says that the minibatch has
    no real values: then there is no such warning.
    """
    net = driver_net(factory, seed)
    _first_batch(net, data, seed, what, train=train, are_values=are_values)
    return net


def rehearsed(net: Net, data: Any, seed: int, *, train: bool) -> Any:
    """Return the data with ``ragged`` and ``padding`` set, after the net was tried on a whole and on a short minibatch.

    Parameters
    ----------
    net
        The net; the trial does not change it.
    data
        A packed data set. Where its ``ragged`` and ``padding`` are None, the net decides.
    seed
        Seeds the preprocessor's random choices.
    train
        True: the net is trained on the data, and is tried in its training phase. False: it is evaluated, in its test phase.

    Raises
    ------
    SparknetError
        The net does not take a whole or a short minibatch; the message names which, and the fix.
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
    """Log how a net that takes a step in passes gets a minibatch, if the net declares another number of rows for a pass."""
    passes = getattr(net, "passes", 1)
    if passes > 1 and data.batch_size != passes * net.even(train=True).batch_size:
        declared = net.even(train=True).batch_size
        _LOG.warning(
            "iter_size %d: minibatches of %d rows are taken in passes of %g; the net declares %d for a pass, so %d for a step",
            *(passes, data.batch_size, data.batch_size / passes, declared, passes * declared),
        )


def _short_ones(data: Any, rows: int) -> Iterator[tuple[int, str]]:
    """Yield the number of rows, and a name, of each kind of minibatch with fewer rows than the first one, which has ``rows``."""
    if even_of(data).ragged == "drop":
        return
    if 0 < _rest(data) < rows:
        yield _rest(data), "the last minibatch"
    if rows > 1 and any(getattr(step, "on_error", "error") == "drop" for step in steps_of(data.preprocessor)):
        yield rows - 1, "a minibatch that loses an image to on_error='drop'"


def check_axes(net: Net, fields: Iterable[Field]) -> None:
    """Raise a DataError if the batch axis of a field differs from that of the net's input."""
    axes: Mapping[str, int] = getattr(net, "batch_axes", {})
    for field in fields:
        if field.batch_axis and field.batch_axis != axes.get(field.name, 0):
            msg = (
                f"field {field} is for an input with the batch on axis {field.batch_axis}; that of this {type(net).__name__} has "
                f"it on axis {axes.get(field.name, 0)}. A CaffeNet.factory(..., fields=fields) takes what the fields say"
            )
            raise DataError(msg, field=field.name)


def even_of(data: Any) -> Even:
    """Return what happens to the short minibatches of packed data."""
    return getattr(data, "even", None) or Even(data.batch_size)


def used_batches(data: PackedData) -> int:
    """Return how many minibatches are used: all, or one less if a short last one is left out."""
    return even_of(data).num_used(data.num_batches, data.count() if hasattr(data, "count") else 0)


def _rest(data: Any) -> int:
    """Return the number of rows of a short last minibatch; 0 if there is none."""
    return int(data.count() % data.batch_size) if hasattr(data, "count") else 0


def _first_batch(
    net: Net, data: Any, seed: int, what: str, *, train: bool, are_values: bool = True
) -> Mapping[str, NDArray]:
    """Return the first minibatch, preprocessed, after the net ran on it, padded as the data says."""
    with located(what):
        batch = preprocessed(data.first_batch(), data.preprocessor, step_rng(seed, 0, 0), train=train)
        rows, used = evened(batch, even_of(data))
        if rows:
            _run(net, used, train=train)
            if train and are_values:
                warn_of_values(net, batch, data.preprocessor)
    return batch


def _run(net: Net, batch: Mapping[str, NDArray], *, train: bool) -> None:
    """Run the net on a batch in one phase; a net without ``rehearse`` runs forward."""
    rehearse = getattr(net, "rehearse", None)
    if rehearse is not None:
        rehearse(batch, train=train)
    else:
        net.forward(batch)


def _settled(net: Net, data: Any, where: str, *, train: bool) -> Any:
    """Return the data with the ``ragged`` and ``padding`` that will be used."""
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
    """Return what happens to short minibatches: the caller's choice, else the net's.

    Parameters
    ----------
    net
        The net that gets the minibatches.
    batch_size
        Rows of a whole minibatch.
    ragged, padding
        The caller's choice, as for :func:`sparknet.data.pack`.
    where
        Error messages begin with it.
    train
        Whether the net is trained on the minibatches, or evaluated.

    Raises
    ------
    SparknetError
        The minibatches are to be padded, but the net counts padded rows, or ignores another value.
    """
    said = net.even(train=train) if hasattr(net, "even") else Even(batch_size)
    chosen = ragged or said.ragged
    if chosen != "pad":
        return Even(batch_size, chosen)
    with located(f"{where}ragged='pad'"):
        return Even(batch_size, chosen, _padding_for(net, padding or said.padding, train=train))


def _padding_for(net: Net, padding: Mapping[str, float] | None, *, train: bool) -> Mapping[str, float]:
    """Return the padding: the caller's, else the values that the net ignores. In an evaluation both must agree."""
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
