"""Ragged batches: what happens to a batch that is shorter than the others, such as the last one of a data set.

There is no default here, because each choice has a price. A short batch counts as much as a full one in training. The examples
of a dropped batch are never seen. A padded batch needs a net whose loss ignores the padding.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np

from sparknet.data.fields import rows_of_batch
from sparknet.errors import DataError, located
from sparknet.ndarray import NDArray

__all__ = [
    "Even",
    "Ragged",
    "check_padding",
    "check_ragged",
    "even_batch",
    "even_batches",
    "evened",
    "pad_batch",
    "say_dropped",
]

Ragged = Literal["drop", "pad", "reshape"]
"""What happens to a short batch: it is left out, filled up with padding, or given to the net as it is."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Even:
    """What happens to the short batches of a data set. Called with a batch, it returns what :func:`even_batch` does.

    Parameters
    ----------
    batch_size, ragged, padding
        As for :func:`even_batches`.

    Examples
    --------
    >>> Even(3, "pad", {"label": -1})({"label": NDArray(np.arange(2))})["label"].to_host().tolist()
    [0, 1, -1]
    """

    batch_size: int
    ragged: Ragged = "reshape"
    padding: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, batch: Mapping[str, NDArray]) -> Mapping[str, NDArray] | None:
        """Return the batch as the net gets it; None if it is left out."""
        return even_batch(batch, self.batch_size, self.ragged, self.padding)

    def num_used(self, batches: int, examples: int) -> int:
        """Return how many minibatches of a set are used: all, or one less if a short last one is left out."""
        return batches - (self.ragged == "drop" and examples % self.batch_size > 0)

    def num_packed(self, examples: int, what: str) -> int:
        """Return how many examples are packed: all, or those of whole minibatches; the log says how many are left out.

        A DataError that begins with ``what`` if none is packed.
        """
        return say_dropped(what, examples, self.batch_size) if self.ragged == "drop" else examples


def evened(batch: Mapping[str, NDArray], even: Even | None) -> tuple[int, Mapping[str, NDArray]]:
    """Return how many rows of a batch count, and the batch with padding; 0 if it is left out."""
    rows = rows_of_batch(batch)
    whole = even(batch) if even is not None and rows else batch
    return (0, batch) if whole is None else (rows, whole)


def check_padding(caller: str, ragged: Ragged | None, padding: Mapping[str, float] | None) -> None:
    """Raise a DataError if short minibatches are to be padded and ``padding`` is missing."""
    if ragged == "pad" and padding is None:
        msg = f"{caller}: ragged='pad' does not say what with: pack(..., padding=net.padding())"
        raise DataError(msg)


def check_ragged(ragged: Any, padding: Any, names: Collection[str]) -> None:
    """Raise a DataError unless ``ragged`` and ``padding`` suit a data set with fields of these ``names``; both may be None."""
    if ragged is not None:
        _check_word(ragged)
    if padding is None:
        return
    if ragged != "pad":
        msg = f"padding={padding!r} with ragged={ragged!r}; expected ragged='pad', which alone pads"
        raise DataError(msg)
    if not isinstance(padding, Mapping) or not all(map(_is_number, padding.values())):
        msg = (
            f"padding={padding!r:.60}, expected a mapping from the names of fields to numbers, such as {{'label': -1}}"
        )
        raise DataError(msg)
    unknown = [name for name in padding if name not in names]
    if unknown:
        msg = f"padding for {', '.join(map(repr, unknown))}; expected names of fields: {', '.join(map(repr, names))}"
        raise DataError(msg)


def _check_word(ragged: Any) -> None:
    if ragged not in get_args(Ragged):
        msg = f"ragged={ragged!r}, expected one of {', '.join(map(repr, get_args(Ragged)))}"
        raise DataError(msg)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or getattr(value, "shape", None) == ()


def say_dropped(what: str, examples: int, batch_size: int) -> int:
    """Return how many of the ``examples`` fill whole minibatches, and log how many others are left out, if any.

    Raises
    ------
    DataError
        There is no whole minibatch.
    """
    rest = examples % batch_size
    if rest == examples:
        msg = (
            f"{what}: ragged='drop' leaves out all {examples} examples, which make no whole minibatch of {batch_size}; "
            "choose a smaller batch size, or ragged='pad' or 'reshape'"
        )
        raise DataError(msg)
    if rest:
        _LOG.warning(
            "%s: %d of %d examples are left out: they make no whole minibatch of %d (ragged='drop')",
            *(what, rest, examples, batch_size),
        )
    return examples - rest


def even_batches(
    batches: Iterable[Mapping[str, NDArray]],
    batch_size: int,
    ragged: Ragged,
    padding: Mapping[str, float] | None = None,
) -> Iterator[Mapping[str, NDArray]]:
    """Iterate over ``batches``; ``ragged`` says what happens to those with fewer than ``batch_size`` rows.

    Parameters
    ----------
    batches
        Mappings of name -> array ``(rows, ...)``.
    batch_size
        Rows of a whole batch.
    ragged
        ``"drop"`` leaves short batches out. ``"pad"`` fills them up, see :func:`pad_batch`. ``"reshape"`` passes them as
        they are, to a net that takes any number of rows.
    padding
        Needed for ``"pad"``: name -> value of the added rows. A label padded with 0 would be learned as class 0.

    Raises
    ------
    DataError
        ``ragged`` is none of these, ``"pad"`` has no ``padding``, or a batch has more rows than ``batch_size`` and ``ragged``
        is not ``"reshape"``.

    Examples
    --------
    >>> batches = [{"label": NDArray(np.arange(n))} for n in (3, 3, 1)]
    >>> [len(batch["label"]) for batch in even_batches(batches, 3, "drop")]
    [3, 3]
    >>> [b["label"].to_host().tolist() for b in even_batches(batches, 3, "pad", {"label": -1})]
    [[0, 1, 2], [0, 1, 2], [0, -1, -1]]
    """
    _check_word(ragged)
    if ragged == "pad" and padding is None:
        msg = "ragged='pad': say what with: padding=net.padding(), or {} for zeros, which as labels are a class"
        raise DataError(msg)
    for index, batch in enumerate(batches):
        with located(f"batch {index}", batch=index):
            even = even_batch(batch, batch_size, ragged, padding or {})
        if even is not None:
            yield even


def even_batch(
    batch: Mapping[str, NDArray], batch_size: int, ragged: Ragged, padding: Mapping[str, float]
) -> Mapping[str, NDArray] | None:
    """Return what :func:`even_batches` makes of one batch; None if it is left out."""
    rows = rows_of_batch(batch)
    if rows == batch_size or ragged == "reshape":
        return batch
    if rows > batch_size:
        msg = f"got {rows} rows, expected at most {batch_size}"
        raise DataError(msg)
    return pad_batch(batch, batch_size, padding) if ragged == "pad" else None


def pad_batch(batch: Mapping[str, NDArray], rows: int, padding: Mapping[str, float]) -> dict[str, NDArray]:
    """Return ``batch`` filled up to ``rows`` rows, in new memory; added rows hold the field's value in ``padding``, else zeros.

    Pad a label with the value that the loss ignores. A column of weights needs no value: zeros are right. If the dtype cannot
    hold the value, it is widened: uint8 labels padded with -1 become int16.
    """
    unknown = [name for name in padding if name not in batch]
    if unknown:
        msg = f"padding for {', '.join(map(repr, unknown))}; the batch has {', '.join(map(repr, batch))}"
        raise DataError(msg)
    return {
        name: NDArray(_padded(NDArray(column).to_host(), rows, padding.get(name, 0))) for name, column in batch.items()
    }


def _padded(column: Any, rows: int, value: float) -> Any:
    # a float of -1.0 would make a column of integers one of floats
    whole = column.dtype.kind not in "fc" and float(value).is_integer() and abs(value) < 2**63
    added = np.array(int(value) if whole else float(value))
    with np.errstate(all="ignore"):  # a value that the dtype cannot hold differs below
        fits = added.astype(column.dtype) == added
    dtype = column.dtype if fits else np.result_type(column.dtype, np.min_scalar_type(added))
    out = np.full((rows, *column.shape[1:]), added, dtype)
    out[: len(column)] = column
    return out
