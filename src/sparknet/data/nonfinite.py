"""NaN and infinite values among those that are packed: a warning names their place before a net gets them.

With such a value a training ends, or its weights become NaN, long after the row was read, and nothing names the row then.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparknet.data.columns import columns_of, few
from sparknet.data.fields import Columns, Field
from sparknet.ndarray import NDArray

__all__ = ["NonfiniteValues", "find_nonfinite", "merged", "warn_of_nonfinite"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class NonfiniteValues:
    """The NaN and infinite values of a field: their number in each column, and the first one with its place."""

    counts: Counter[str]
    first: str

    def __add__(self, later: "NonfiniteValues") -> "NonfiniteValues":
        """Return both together; ``later`` follows this one."""
        return NonfiniteValues(self.counts + later.counts, self.first)

    def __str__(self) -> str:
        number = self.counts.total()
        names, counts = zip(*self.counts.most_common(), strict=True)
        columns = f" ({few(names, counts)})" if len(names) > 1 else ""
        return f"{number} {'value is' if number == 1 else 'values are'} not finite{columns}, the first one {self.first}"


def find_nonfinite(
    batch: Mapping[str, NDArray], fields: Sequence[Field], columns: Columns | None, place: Callable[[int], str]
) -> dict[str, NonfiniteValues]:
    """Return the NaN and infinite values of a batch, by field; ``place(row)`` says in words where a row of the batch is.

    Examples
    --------
    >>> batch = {"x": NDArray(np.array([[1, 2], [3, np.nan]]))}
    >>> found = find_nonfinite(batch, [Field("x", (2,))], {"x": ["age", "tenure"]}, "row {}".format)
    >>> print(found["x"])
    1 value is not finite, the first one nan in row 1, column 'tenure'
    """
    found = {}
    for f in fields:
        array = batch[f.name].to_host()
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            found[f.name] = _of_field(array.reshape(len(array), -1), columns_of(f, columns), place)
    return found


def _of_field(values: Any, names: Sequence[str], place: Callable[[int], str]) -> NonfiniteValues:
    """Return those of a field's values (examples, elements), of which at least one is; ``names`` are the field's columns."""
    wrong = ~np.isfinite(values)
    row, element = np.unravel_index(wrong.argmax(), wrong.shape)
    where = f"{values[row, element]} in {place(int(row))}"
    if len(names) != wrong.shape[1]:  # a column has several elements
        return NonfiniteValues(Counter({", ".join(names): int(wrong.sum())}), f"{where}, element {element}")
    counts = Counter({name: int(n) for name, n in zip(names, wrong.sum(axis=0), strict=True) if n})
    return NonfiniteValues(counts, f"{where}, column {names[element]!r}")


def merged(parts: Iterable[Mapping[str, NonfiniteValues]]) -> dict[str, NonfiniteValues]:
    """Return what was found in several parts, in their order."""
    found: dict[str, NonfiniteValues] = {}
    for part in parts:
        found.update({name: found[name] + more if name in found else more for name, more in part.items()})
    return found


def warn_of_nonfinite(found: Mapping[str, NonfiniteValues], fix: str) -> None:
    """Log a warning for each field; ``fix`` says what to do."""
    for name, values in found.items():
        _LOG.warning("pack(): field %r: %s; a net cannot learn from it: %s", name, values, fix)
