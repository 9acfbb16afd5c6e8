"""What the tasks of inference do: rows to minibatches, minibatches through the net of this worker, rows back."""

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np

from sparknet.clusters.spark.jobs.running import pickled
from sparknet.clusters.spark.jobs.stacks import observed
from sparknet.clusters.spark.training.net_cache import device_of, kept_net
from sparknet.data.blas import single_threaded_blas
from sparknet.data.columns import id_of_row
from sparknet.data.fields import Columns, Field, check_fields
from sparknet.data.images.encoded import Decoders, with_decoders
from sparknet.data.layout import check_packing
from sparknet.data.preprocess import Preprocessor
from sparknet.data.preprocess.base import check_preprocessor, preprocessed
from sparknet.data.ragged import Even, evened
from sparknet.data.rows import batch_of_rows
from sparknet.data.sampling import step_rng
from sparknet.errors import DataError, NetError, SparknetError, located
from sparknet.formats import Contents, Taken
from sparknet.ndarray import NDArray
from sparknet.nets.base import Batch, Net, NetFactory, driver_net
from sparknet.serialization import dumps, loads
from sparknet.training import check_axes
from sparknet.weights import WeightCollection
from sparknet.weights.given import given_weights

__all__ = [
    "Plan",
    "check_count",
    "computed",
    "made",
    "net_of",
    "values_of",
]

_LOG = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
_MOST_NETS = 2  # a job may go through one net after another


@dataclass(frozen=True)
class Plan:
    """How rows become minibatches of which net.

    Parameters
    ----------
    who
        The caller's function, for messages.
    load
        The factory, pickled, and the message of the weights.
    key
        Digest of the load.
    fields, columns, batch_size, preprocessor
        As for :func:`~sparknet.clusters.spark.inference.predict.featurize`.
    cells
        The fields as the rows have them: images may be encoded.
    id_column
        The column that tells one row from another, for messages about them.
    even
        What becomes of a short minibatch; None: the net takes it as it is.
    device
        Where the factory's nets are.
    """

    who: str
    load: tuple[bytes, bytes]
    key: str
    fields: tuple[Field, ...]
    cells: tuple[Field, ...]
    columns: Columns
    batch_size: int
    preprocessor: Preprocessor | None
    id_column: str | None = None
    even: Even | None = None
    device: str = "cpu"

    @classmethod
    def of(
        cls,
        who: str,
        factory: NetFactory,
        weights: WeightCollection | Contents | Taken,
        fields: Sequence[Field],
        columns: Columns | None,
        batch_size: int,
        preprocessor: Preprocessor | None,
        decoder: Decoders | None = None,
        id_column: str | None = None,
    ) -> "Plan":
        """Return a plan whose parts fit each other."""
        check_packing(batch_size)
        weights = given_weights(weights, f"{who}: weights")
        with located(who):
            load = pickled("the factory", factory), dumps(weights)
            pickled("the preprocessor", preprocessor)
        key = blake2b(b"".join(blake2b(part).digest() for part in load)).hexdigest()
        fields = check_fields(fields, columns)
        with located(who):
            cells = with_decoders(fields, decoder, columns)
        given = who, load, key, fields, cells, columns or {}, batch_size, preprocessor, id_column
        return cls(*given, device=device_of(factory))

    @property
    def light(self) -> "Plan":
        """The plan without its load, which travels by broadcast."""
        return replace(self, load=(b"", b""))

    def trial(self, blobs: Sequence[str] | None, *sizes: int) -> list[dict[str, Array]]:
        """Return the blobs for minibatches of zeros of these sizes, computed here: what does not fit shows before a job."""
        fields = check_preprocessor(self.preprocessor, self.fields)
        net = made(self.load, driver_net)
        check_axes(net, fields)
        zeros = [{f.name: NDArray(np.zeros((rows, *f.shape), f.dtype)) for f in fields} for rows in sizes]
        used = [evened(batch, self.even)[1] for batch in zeros]
        found = [{name: values.to_host() for name, values in net.forward(batch, blobs).items()} for batch in used]
        if self.preprocessor is None:
            _warn_of_raw_pixels(self.who, net, fields)
        return found

    def trial_by_row(self, blobs: Sequence[str]) -> "tuple[Plan, dict[str, Array]]":
        """Return the plan that the net can take, and :meth:`trial` for blobs, which must have a row for each example.

        A net that takes no other number of rows than ``batch_size`` has short minibatches filled up with zeros.
        """
        plan, sizes = self, [2, 3]  # what has 2 rows by chance has not 3 by chance too
        try:
            tried = plan.trial(blobs, *sizes)
        except (NetError, DataError):
            plan, sizes = replace(self, even=Even(self.batch_size, "pad")), [self.batch_size]
            tried = plan.trial(blobs, *sizes)
        for name in blobs:
            if [values[name].shape[:1] for values in tried] != [(rows,) for rows in sizes]:
                msg = (
                    f"{self.who}: the blob {name!r} has no row for each example: {sizes[0]} examples give the shape "
                    f"{tried[0][name].shape}; take another one, or evaluate() for means"
                )
                raise NetError(msg)
        return plan, tried[0]

    def parts(self, rows: Iterable[Any]) -> Iterator[tuple[range, list[Any]]]:
        """Yield the rows of each minibatch, by their numbers and themselves, until there are none."""
        rows, done = iter(rows), 0
        while part := list(islice(rows, self.batch_size)):
            yield range(done, done + len(part)), part
            done += len(part)

    def minibatch(self, rows: Sequence[Any]) -> tuple[int, Batch]:
        """Return how many rows of a minibatch count, after the preprocessor and without padding, and the minibatch itself."""
        batch = batch_of_rows(rows, self.cells, self.columns)
        return evened(preprocessed(batch, self.preprocessor, step_rng(0, 0, 0), train=False), self.even)

    @contextmanager
    def placing(self, partition: int, numbers: Sequence[int], rows: Sequence[Any]) -> Iterator[None]:
        """Raise the error of a minibatch with the place of its row, or of its rows, in the whole."""
        try:
            yield
        except SparknetError as error:
            row = getattr(error, "row", None)
            if row is None:
                where = f"{self.who}: partition {partition}, rows {numbers[0]} to {numbers[-1]}"
                raise error.placed(where, partition=partition) from error
            place = f"{self.who}: {self.place(partition, numbers[row], rows[row])}"
            raise error.placed(place, instead=True, partition=partition, row=numbers[row]) from error

    def place(self, partition: int, number: int, row: Any) -> str:
        """Return where a row is, and its id if there is one."""
        return f"partition {partition}, row {number}{id_of_row(row, self.id_column)}"


def _warn_of_raw_pixels(who: str, net: Net, fields: Sequence[Field]) -> None:
    """Log a warning if the net gets pixels as they are stored: trained with a preprocessor, it is wrong without any other sign."""
    changes = getattr(net, "input_changes", None)
    changed = {} if changes is None else changes(train=False)
    raw = [f.name for f in fields if f.dtype == "uint8" and len(f.shape) > 1 and f.name not in changed]
    if raw:
        _LOG.warning(
            "%s: the net gets the pixels of %s as they are stored, 0..255: preprocessor= is not given. It needs the one that the "
            "net was trained with; preprocessor=Compose() says that there was none",
            who,
            ", ".join(map(repr, raw)),
        )


def made(load: tuple[bytes, bytes], make: Callable[[NetFactory], Net] = lambda factory: factory(seed=0)) -> Net:
    """Return the net of a load: made by its factory, on the driver by :func:`~sparknet.nets.base.driver_net`, with its weights."""
    factory, message = load
    net = make(pickle.loads(factory))  # noqa: S301 - pickled by the caller's own driver
    net.set_weights(loads(message, verify=True))
    return net


def net_of(plan: Plan, sent: Any) -> Net:
    """Return this worker's net of a plan."""
    return kept_net(plan.key, lambda: made(sent.value), most=_MOST_NETS, device=plan.device)


def computed(
    partition: int,
    rows: Iterable[Any],
    *,
    plan: Plan,
    sent: Any,
    blobs: Sequence[str],
    finish: Callable[[Array], Array],
    join: Callable[[Any, Sequence[Array]], Any],
) -> Iterator[Any]:
    """Yield ``join(row, values)`` for each row of a partition, with the values of ``finish(blob)`` of each blob."""
    with single_threaded_blas():
        for numbers, part in observed(plan.parts(rows), plan.who, partition):
            with plan.placing(partition, numbers, part):
                count, batch = plan.minibatch(part)
                check_count(count, len(part))
                values = values_of(plan, sent, batch, count, blobs, finish)
                joined = [join(row, ours) for row, ours in zip(part, values, strict=True)]
            yield from joined


def values_of(
    plan: Plan, sent: Any, batch: Batch, count: int, blobs: Sequence[str], finish: Callable[[Array], Array]
) -> Iterator[tuple[Array, ...]]:
    """Return the values of ``finish(blob)`` of each blob, for each of the first ``count`` rows of a minibatch."""
    found = net_of(plan, sent).forward(batch, blobs)
    return zip(*(finish(found[name].to_host()[:count]) for name in blobs), strict=True)


def check_count(count: int, rows: int) -> None:
    """Raise a DataError unless the preprocessor has kept all rows."""
    if count != rows:
        msg = (
            f"the preprocessor made {count} rows of {rows}; expected one for each row "
            "(Decode: on_error='error', or filter the rows first)"
        )
        raise DataError(msg)
