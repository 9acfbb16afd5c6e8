"""pack: rows or columns into the minibatches of a Dataset, in this process's memory."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sparknet.data.columns import check_columns, named_columns
from sparknet.data.dataset import Dataset, cut
from sparknet.data.fields import Columns, Field, check_fields, rows_of_batch
from sparknet.data.images.encoded import Decoders, with_decoders
from sparknet.data.layout import check_packing, packed_positions, shuffle_seed
from sparknet.data.nonfinite import find_nonfinite, warn_of_nonfinite
from sparknet.data.preprocess import Preprocessor
from sparknet.data.preprocess.base import check_preprocessor
from sparknet.data.ragged import Even, Ragged, check_ragged
from sparknet.data.rows import batch_of_columns, batch_of_rows
from sparknet.data.tables import Table, table_of
from sparknet.errors import DataError
from sparknet.ndarray import NDArray

__all__ = ["pack"]

_FINITE = "leave such rows out, or fill them, before they are packed"


def pack(
    rows: Iterable[Any] | Mapping[str, Any],
    fields: Sequence[Field],
    batch_size: int,
    preprocessor: Preprocessor | None = None,
    *,
    columns: Columns | None = None,
    decoder: Decoders | None = None,
    shuffle: bool | int | None = None,
    seed: int | None = None,
    ragged: Ragged | None = None,
    padding: Mapping[str, float] | None = None,
) -> Dataset:
    """Pack examples into minibatches in this process's memory.

    NaN and infinite values are packed as they are; a warning says how many there are, and where the first one is.

    Parameters
    ----------
    rows
        Rows (mappings by name, tuples in the order of ``fields``, records of a structured array), or columns: one
        mapping name -> array of all examples, a DataFrame of pandas, a Table of pyarrow.
    fields
        Name, shape and dtype of each input, as it is to be stored.
    batch_size
        Examples in a minibatch; the last one of the set may be short.
    preprocessor
        Applied each time a minibatch is used.
    columns
        Field name -> name in ``rows``, where they differ: ``{"data": "pixels"}``. A list of names joins the values of several
        columns, flat and in that order: ``{"data": ["age", "tenure", "scores"]}``. A value may be a number, an array, a vector,
        or bytes (one element a byte). A column has values of one size in all rows. Each value is converted as it would be alone.
    decoder
        An :class:`ImageDecoder`, for the field of its shape, or a mapping field name -> decoder. The rows then have encoded
        images there: the bytes of a file, a struct that has them as ``bytes``, or a struct of Spark's ``image`` source.
        Pixels are stored, (c, h, w), channels R, G, B.
    shuffle
        True: the examples are permuted before they are packed. False or None: they keep their order. A whole number means True, and
        is the seed itself.
    seed
        Seed of the permutation; 0 if it is left out.
    ragged
        What happens to a short last minibatch; some nets fix their batch size. ``"reshape"``: the net takes it as it is.
        ``"drop"``: its examples are left out now, and the log says so. ``"pad"``: it is filled up each time it is used, after
        the preprocessor; the added rows count nowhere. None: what the net's own data layer says, else ``"reshape"``.
    padding
        For ``"pad"``: field name -> value of the added rows; fields that are not named get zeros. None: the value that the net
        itself ignores, ``net.padding()``.

    Raises
    ------
    DataError
        A value does not fit its field (``row`` says which), a column is missing, there is no example, or ``batch_size`` is not positive.

    Examples
    --------
    >>> data = pack({"x": [[1.0], [2.0], [3.0]]}, [Field("x", (1,))], batch_size=2)
    >>> data.count(), [len(b["x"]) for b in data.batches]
    (3, [2, 1])
    """
    check_packing(batch_size)
    permutation = shuffle_seed(shuffle, seed)
    fields = check_fields(fields, columns)
    check_preprocessor(preprocessor, fields)
    check_ragged(ragged, padding, [field.name for field in fields])
    cells = with_decoders(fields, decoder, columns)
    table = Table(list(rows), list(rows.values()).__getitem__) if isinstance(rows, Mapping) else table_of(rows)
    if table is not None:
        what = "the mapping" if isinstance(rows, Mapping) else f"the {type(rows).__name__}"
        whole = _columns(table, cells, columns, what)
    else:
        whole = batch_of_rows(_listed(rows), cells, columns)
    n = rows_of_batch(whole)
    if n == 0:
        msg = "pack(): got no rows, expected at least one"
        raise DataError(msg)
    warn_of_nonfinite(find_nonfinite(whole, fields, columns, "row {}".format), _FINITE)
    arrays = {name: array.to_host() for name, array in whole.items()}
    if permutation is not None:
        order = np.argsort(packed_positions(n, permutation))
        arrays = {name: array[order] for name, array in arrays.items()}
    batches = cut(arrays, Even(batch_size, ragged or "reshape"), "pack()")
    return Dataset(batches, fields, batch_size, preprocessor, ragged, padding)


def _columns(table: Table, fields: Sequence[Field], columns: Columns | None, what: str) -> dict[str, NDArray]:
    names = [name for _, name in named_columns(fields, columns)]
    places = check_columns(names, table.names, f"pack(): {what}")
    values = [_examples(table.column(place), name) for place, name in zip(places, names, strict=True)]
    return batch_of_columns(values, fields, columns)


def _listed(rows: Any) -> list[Any]:
    is_on_spark = type(rows).__module__.startswith("pyspark.")  # going through a DataFrame gives an error of Spark's
    try:
        if not is_on_spark:
            return list(rows)
    except TypeError as error:
        raise _not_rows(rows, "") from error
    raise _not_rows(rows, "; sparknet.spark.pack is for data on Spark")


def _not_rows(rows: Any, fix: str) -> DataError:
    return DataError(f"pack(): got {type(rows).__name__}, expected rows, or a mapping or table of columns{fix}")


def _examples(values: Any, name: str) -> Any:
    """Return a column as a sequence of its examples' values, or as an array whose first axis counts them."""
    array = values.to_host() if isinstance(values, NDArray) else values
    try:
        return array if isinstance(array, np.ndarray) and array.ndim else list(array)
    except TypeError as error:
        msg = f"pack(): column {name!r} is a {type(values).__name__}, expected one value for each example"
        raise DataError(msg) from error
