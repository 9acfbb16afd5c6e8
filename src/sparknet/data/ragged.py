"""Ragged batches: what becomes of a batch that is shorter than the others, such as the last one of a data set.

There is no default here: a short batch that a net trains on counts as much as a full one, one that is dropped is never
seen, and one that is padded needs a net that leaves the padding out of its loss.
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
"""What becomes of a short batch: it is left out, it is filled up with padding, or the net takes it at its own length."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Even:
    """What becomes of the short batches of a data set: :func:`even_batch` with all but the batch.

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
        """Return the batch as it is used; None if it is left out."""
        return even_batch(batch, self.batch_size, self.ragged, self.padding)

    def num_used(self, batches: int, examples: int) -> int:
        """Return how many minibatches of a set are used: all, or all but a short last one that is left out."""
        return batches - (self.ragged == "drop" and examples % self.batch_size > 0)


def evened(batch: Mapping[str, NDArray], even: Even | None) -> tuple[int, Mapping[str, NDArray]]:
    """Return the rows of a batch that count, and the batch with those that are added; no rows where it is left out."""
    rows = rows_of_batch(batch)
    whole = even(batch) if even is not None and rows else batch
    return (0, batch) if whole is None else (rows, whole)


def check_padding(who: str, ragged: Ragged | None, padding: Mapping[str, float] | None) -> None:
    """Raise a DataError if short minibatches are to be padded and nothing says what with."""
    if ragged == "pad" and padding is None:
        msg = f"{who}: ragged='pad' does not say what with: pack(..., padding=net.padding())"
        raise DataError(msg)


def check_ragged(ragged: Any, padding: Any, names: Collection[str]) -> None:
    """Raise a DataError unless ``ragged`` and ``padding`` are choices for a data set with these fields; both may be None."""
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
    """Log how many of ``examples`` make no whole minibatch and are left out, if some are; return how many are kept.

    Raises
    ------
    DataError
        None is kept.
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
    """Iterate over ``batches``, with those that have fewer than ``batch_size`` rows treated as ``ragged`` says.

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
        For ``"pad"``, which does not go without: a label that is padded with 0 would be learned as class 0.

    Raises
    ------
    DataError
        ``ragged`` is none of these, or ``"pad"`` without ``padding``; or a batch has more rows than ``batch_size``, and
        not all shapes will do.

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
    """Return ``batch`` with ``rows`` rows: those added hold the field's value in ``padding``, else zeros.

    A label is padded with the value that the loss ignores; a column of weights with the zeros that it gets anyway. A
    dtype that cannot hold its value is widened (uint8 labels padded with -1 become int16). New memory.
    """
    unknown = [name for name in padding if name not in batch]
    if unknown:
        msg = f"padding for {', '.join(map(repr, unknown))}; the batch has {', '.join(map(repr, batch))}"
        raise DataError(msg)
    return {
        name: NDArray(_padded(NDArray(column).to_host(), rows, padding.get(name, 0))) for name, column in batch.items()
    }


def _padded(column: Any, rows: int, value: float) -> Any:
    # as a float, -1.0 would ask for a dtype of floats in a column of integers
    whole = column.dtype.kind not in "fc" and float(value).is_integer() and abs(value) < 2**63
    added = np.array(int(value) if whole else float(value))
    with np.errstate(all="ignore"):  # what is lost shows in the comparison
        fits = added.astype(column.dtype) == added
    dtype = column.dtype if fits else np.result_type(column.dtype, np.min_scalar_type(added))
    out = np.full((rows, *column.shape[1:]), added, dtype)
    out[: len(column)] = column
    return out
