"""The interface of preprocessors, how one is applied, and the base of steps on one field."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from sparknet.data.fields import Field, rows_of_batch
from sparknet.errors import DataError, SparknetError, as_sparknet_error
from sparknet.ndarray import NDArray

__all__ = [
    "Arrays",
    "FieldStep",
    "Preprocessor",
    "check_is_preprocessor",
    "check_preprocessor",
    "preprocessed",
    "steps_of",
]

Arrays = dict[str, NDArray]
Rng = np.random.Generator
Shape = tuple[int, ...]
IMAGE = 3  # axes of one image (c, h, w)


class Preprocessor(Protocol):
    """A step between the packed data set and the net. Any picklable object with these two methods is one, also your own.

    Examples
    --------
    >>> class Squared:
    ...     def __call__(self, batch, rng, *, train):
    ...         return {**batch, "data": batch["data"] ** 2}
    ...
    ...     def fields(self, fields):
    ...         return list(fields)
    >>> from sparknet.data import pack
    >>> data = pack({"data": [[1, 2], [3, 4]]}, [Field("data", (2,))], 2, Squared())
    >>> data.map_shards(lambda shard: [batch["data"].to_host().tolist() for batch in shard])
    [[[[1.0, 4.0], [9.0, 16.0]]]]
    """

    def __call__(self, batch: Arrays, rng: Rng, *, train: bool) -> Arrays:
        """Return the processed batch; the arrays of ``batch`` are not written to."""
        ...

    def fields(self, fields: Sequence[Field]) -> list[Field]:
        """Return the fields after this step; a DataError if ``fields`` do not fit it."""
        ...


def preprocessed(batch: Mapping[str, NDArray], preprocessor: Preprocessor | None, rng: Rng, *, train: bool) -> Arrays:
    """Return the batch after the preprocessor, or as it is if there is none.

    Raises
    ------
    SparknetError
        The preprocessor refuses the batch: its own error, or a DataError if it raised something else. Each row is then tried
        alone. If only some rows are refused, ``row`` is the first of them, and ``reason`` the message without it.
    """
    arrays = dict(batch)
    if preprocessor is None:
        return arrays
    try:
        batch = preprocessor(arrays, rng, train=train)
        if not isinstance(batch, Mapping):
            msg = f"{type(preprocessor).__name__} returned {type(batch).__name__}, expected a mapping of field to array"
            raise DataError(msg)  # noqa: TRY301 - gets its place below, as the others do
        return _apart(dict(batch), arrays)
    except Exception as error:
        row = _refused_row(arrays, preprocessor, train=train)
        if row is not None:
            raise as_sparknet_error(error).placed(f"row {row}", row=row) from error
        if isinstance(error, SparknetError):
            raise
        raise as_sparknet_error(error) from error


def check_preprocessor(preprocessor: Any, fields: Sequence[Field]) -> list[Field]:
    """Return the fields after the preprocessor, if there is one; a DataError if it is of another kind, or the fields do not fit."""
    if preprocessor is None:
        return list(fields)
    check_is_preprocessor(preprocessor, "preprocessor")
    return preprocessor.fields(fields)  # type: ignore[no-any-return]


def steps_of(preprocessor: Any) -> list[Any]:
    """Return the steps of a preprocessor in their order, also those of a Compose inside another; itself if it has no steps."""
    if preprocessor is None:
        return []
    steps = getattr(preprocessor, "steps", None)
    if not isinstance(steps, tuple | list):
        return [preprocessor]
    return [inner for step in steps for inner in steps_of(step)]


def check_is_preprocessor(given: Any, caller: str) -> None:
    """Raise a DataError that begins with ``caller`` unless ``given`` can be called and has ``fields``."""
    if isinstance(given, type) or not (callable(given) and hasattr(given, "fields")):
        msg = (
            f"{caller}: got {str(given)[:60]}, expected one such as Scale('data', 1 / 256), or several as "
            "Compose(...); one of your own has __call__ and fields, see sparknet.data.preprocess.Preprocessor"
        )
        raise DataError(msg)


def _apart(batch: Arrays, stored: Arrays) -> Arrays:
    """Return the batch with copies of the columns that no step changed, if they are the smaller part (labels).

    These columns are views of a whole message. A copy of them lets the message be freed.
    """
    kept = {name: array for name, array in batch.items() if array is stored.get(name)}
    if 2 * sum(array.nbytes for array in kept.values()) >= sum(array.nbytes for array in stored.values()):
        return batch
    return {**batch, **{name: copy(array) for name, array in kept.items()}}


def _refused_row(arrays: Arrays, preprocessor: Preprocessor, *, train: bool) -> int | None:
    """Return the first row that the preprocessor refuses when it gets it alone; None if it refuses all rows or none."""
    rows = range(rows_of_batch(arrays))
    refused = []
    for row in rows:
        try:
            preprocessor({name: a[row : row + 1] for name, a in arrays.items()}, np.random.default_rng(0), train=train)
        except Exception:  # noqa: BLE001 - any error is a refusal
            refused.append(row)
    return refused[0] if 0 < len(refused) < len(rows) else None


class FieldStep(ABC):
    """A step on one field. It knows which shapes and dtypes of an example it takes, and the shape and dtype of the result."""

    field: str

    def fields(self, fields: Sequence[Field]) -> list[Field]:
        """Return the fields; the field of this step has the shape and dtype of the result."""
        self._check_name([f.name for f in fields])
        changed = (self._changed(f.shape, f.dtype) if f.name == self.field else (f.shape, f.dtype) for f in fields)
        return [replace(f, shape=shape, dtype=dtype) for f, (shape, dtype) in zip(fields, changed, strict=True)]

    @abstractmethod
    def _changed(self, shape: Shape, dtype: str) -> tuple[Shape, str]:
        """Return shape and dtype of an example after the step; a DataError if the step cannot take it."""

    def _fitting_array(self, batch: Arrays) -> Any:
        """Return the field as numpy on the host; a DataError if it is missing or the step cannot take it."""
        self._check_name(batch)
        array = batch[self.field].to_host()
        self._changed(array.shape[1:], array.dtype.name)
        return array

    def describe(self) -> str:
        """Return a few words about what the step does, such as ``"crop 28"``."""
        return type(self).__name__

    def _check_name(self, names: Any) -> None:
        if self.field not in names:
            msg = f"{type(self).__name__}: no field {self.field!r}; there are {', '.join(map(repr, names))}"
            raise DataError(msg)

    def _misfit(self, shape: Shape, dtype: str, expected: str) -> DataError:
        """Return an error for examples that the step cannot take."""
        return DataError(
            f"{type(self).__name__}: {self.field!r} has examples of shape {shape}, {dtype}; expected {expected}"
        )
