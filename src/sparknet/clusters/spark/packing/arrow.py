"""Arrow batches as arrays: the memory of a column becomes an array, without a Python object for each value.

Only this module imports pyarrow, when it is used. A column with nulls, or with rows of different or wrong lengths, is
converted to Python objects as rows are; the code for rows says which row is wrong, and why.
"""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from math import prod
from typing import Any

import numpy as np

from sparknet.data.columns import columns_of, named_columns
from sparknet.data.fields import Columns, Field
from sparknet.data.images.encoded import EncodedField
from sparknet.data.rows import batch_of_columns
from sparknet.errors import MissingDependency
from sparknet.ndarray import NDArray

__all__ = ["arrow_is_installed", "arrow_schema", "batch_of_arrow", "batches_of_messages", "need_arrow"]

Array = np.ndarray[Any, Any]


def arrow_is_installed() -> bool:
    """Say whether pyarrow is installed, so that DataFrames can be read as Arrow batches."""
    return find_spec("pyarrow") is not None


def need_arrow() -> None:
    """Raise a MissingDependency unless :func:`arrow_is_installed`."""
    if not arrow_is_installed():
        msg = (
            "arrow=True takes pyarrow, here and on the executors: pip install 'sparknet[arrow]'; or leave arrow out, and "
            "rows are taken, with a Python object for each value"
        )
        raise MissingDependency(msg, name="pyarrow")


def arrow_schema(frame: Any) -> Any:
    """Return the ``pyarrow.Schema`` of the batches of a DataFrame of numbers, arrays, binary and strings."""
    from pyspark.sql.pandas.types import to_arrow_schema  # despite its name without pandas

    large = frame.sparkSession.conf.get("spark.sql.execution.arrow.useLargeVarTypes") == "true"
    return to_arrow_schema(frame.schema, prefers_large_types=large)


def batches_of_messages(messages: Iterable[bytes], schema: Any) -> Iterator[Any]:
    """Yield the ``pyarrow.RecordBatch`` of each message; shares its memory."""
    import pyarrow as pa

    for message in messages:
        yield pa.ipc.read_record_batch(pa.py_buffer(message), schema)


def batch_of_arrow(batch: Any, fields: tuple[Field, ...], columns: Columns | None = None) -> dict[str, NDArray]:
    """Return the batch of a ``pyarrow.RecordBatch`` whose first columns are those of the fields, in their order.

    Raises
    ------
    DataError
        A value does not fit; ``row`` and ``reason`` as from :func:`sparknet.data.rows.batch_of_rows`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"0": [b"ab", b"cd"], "1": [[1.0, 2.0], [3.0, 4.0]]})
    >>> fields = (Field("x", (2,), "uint8"), Field("y", (2, 1)))
    >>> {name: array.to_host().tolist() for name, array in batch_of_arrow(batch, fields).items()}
    {'x': [[97, 98], [99, 100]], 'y': [[[1.0], [2.0]], [[3.0], [4.0]]]}
    """
    sizes: list[int | None] = []
    for f in fields:
        names = columns_of(f, columns)
        sizes += [prod(f.shape)] if len(names) == 1 else [None] * len(names)
    encoded = [isinstance(f, EncodedField) for f, _ in named_columns(fields, columns)]
    values = [
        column.to_pylist() if files else _values(column, size)
        for column, size, files in zip(batch.columns, sizes, encoded, strict=False)  # the id column follows
    ]
    return batch_of_columns(values, fields, columns)


def _values(column: Any, size: int | None) -> Any:
    """Return an Arrow array as one of numpy, or as a list if a row has nulls or not ``size`` elements (None: any number)."""
    whole = _uniform(column)
    if whole is not None and size is not None and whole.size != len(whole) * size:
        whole = None
    return column.to_pylist() if whole is None else whole


def _uniform(column: Any) -> Array | None:
    """Return an Arrow array as one of numpy (n, ...); None if it has nulls or rows of different lengths."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        return None
    binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    if not binary and not pa.types.is_nested(column.type):
        return column.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    lengths = (pc.binary_length if binary else pc.list_value_length)(column).to_numpy()
    if not len(lengths) or (lengths != lengths[0]).any():
        return None
    inner = _bytes_of(column) if binary else _uniform(column.flatten())
    return None if inner is None else inner.reshape(len(column), int(lengths[0]), *inner.shape[1:])


def _bytes_of(column: Any) -> Array:
    """Return the bytes of all values of a binary Arrow array, which are contiguous; shares its memory."""
    import pyarrow as pa

    _, offsets, data = column.buffers()
    kind = np.int64 if pa.types.is_large_binary(column.type) else np.int32
    ends = np.frombuffer(offsets, kind)[[column.offset, column.offset + len(column)]]
    return np.frombuffer(data or b"", np.uint8)[ends[0] : ends[1]]
