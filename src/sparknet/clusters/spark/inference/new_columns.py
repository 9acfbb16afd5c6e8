"""New columns: the check of their names, and rows of any kind with values added."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sparknet.errors import DataError

__all__ = ["check_added", "with_columns", "with_values"]

Array = np.ndarray[Any, Any]


def check_added(added: Sequence[str], names: Sequence[str], key: Callable[[str], str] | None = None) -> None:
    """Raise a DataError if a new column has the name of another one, in ``names`` or in ``added`` itself.

    Two names are the same if ``key`` returns the same for both; default: if they are equal.
    """
    for i, name in enumerate(added):
        if not isinstance(name, str):
            msg = f"got {name!r} as the name of a new column, expected text"
            raise DataError(msg)
        for there in (*names, *added[:i]):
            if there == name or (key and key(there) == key(name)):
                msg = (
                    f"there is a column {there!r} already; name the new one, {name!r}, otherwise: "
                    "outputs={blob: column}, or column= of predict()"
                )
                raise DataError(msg)


def with_values(row: Any, values: Sequence[Array], *, names: Sequence[str]) -> Any:
    """Return the row of an RDD with values added: by their names if the row has names, else at its end."""
    plain = [value.item() if value.ndim == 0 else value for value in values]
    added = dict(zip(names, plain, strict=True))
    if isinstance(row, Mapping):
        check_added(names, list(row))
        return {**row, **added}
    if hasattr(row, "__fields__"):  # a Row of Spark's
        check_added(names, row.__fields__)
        return type(row)(**row.asDict(), **added)
    return (*row, *plain) if isinstance(row, tuple | list) else (row, *plain)


def with_columns(row: Any, values: Sequence[Array]) -> tuple[Any, ...]:
    """Return the row of a DataFrame with values added, as Python's own numbers and lists."""
    return (*row, *(value.ravel().tolist() if value.ndim else value.item() for value in values))
