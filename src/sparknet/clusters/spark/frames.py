"""DataFrames: which columns can be packed, checked before any job, and the rows or Arrow batches they give.

Columns are taken by their place from here on: a name may need quoting, or be ambiguous to Spark,
which does not tell ``data`` from ``Data``.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from sparknet.data.fields import Field
from sparknet.data.rows import check_columns
from sparknet.errors import DataError

__all__ = ["check_frame", "is_frame", "selected"]

_NUMBERS = {"boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal"}
_FLAT = {"binary", "vector"}  # a row's value has one axis


def is_frame(rows: Any) -> bool:
    """Say whether ``rows`` is a DataFrame that Spark can turn into an RDD; a DataError for other DataFrames."""
    if not hasattr(rows, "columns"):
        return False
    kind = type(rows).__module__
    if not kind.startswith("pyspark.") or ".connect." in kind or rows.isStreaming:
        what = "a streaming DataFrame" if getattr(rows, "isStreaming", False) else f"a DataFrame of {kind}"
        msg = f"got {what}; expected one of a SparkSession in this process, as start_spark() gives, at rest"
        raise DataError(msg)
    return True


def check_frame(frame: Any, fields: Sequence[Field], columns: Mapping[str, str], who: str) -> list[int]:
    """Return the place of each field's column, in the order of the fields.

    Raises
    ------
    DataError
        A column is missing, there twice, or cannot hold the field's values; the message begins with ``who``.
    """
    names = [columns.get(f.name, f.name) for f in fields]
    check_columns(names, frame.columns, f"{who}: the DataFrame")
    places = [frame.columns.index(name) for name in names]
    for f, place in zip(fields, places, strict=True):
        _check_column(frame.schema[place], f, who)
    return places


def selected(frame: Any, fields: Sequence[Field], columns: Mapping[str, str], id_column: str | None) -> Any:
    """Return a DataFrame with a column for each field, in their order, and then the id, if one is asked for.

    Vectors come as arrays, decimals as doubles (whole ones as longs, for fields of whole numbers), the id as text;
    the columns are called "0", "1", ...

    Raises
    ------
    DataError
        As from :func:`check_frame`, and for the id's column.
    """
    places = check_frame(frame, fields, columns, "pack()")
    check_columns([id_column] if id_column else [], frame.columns, "pack(): the DataFrame")
    numbered = frame.toDF(*map(str, range(len(frame.columns))))
    chosen = [
        _plain(numbered[str(i)], frame.schema[i].dataType, f).alias(str(k))
        for k, (i, f) in enumerate(zip(places, fields, strict=True))
    ]
    if id_column:
        chosen.append(numbered[str(frame.columns.index(id_column))].cast("string").alias(str(len(fields))))
    return numbered.select(*chosen)


def _check_column(column: Any, field: Field, who: str) -> None:
    """Raise a DataError if no value of this column could ever fit the field."""
    arrays, leaf, kind = _leaf(column.dataType)
    what = f"{who}: column {column.name!r} is {column.dataType.simpleString()}; field {field}"
    if leaf not in _NUMBERS and not (leaf in _FLAT and arrays == 0):
        msg = f"{what} takes numbers, booleans, binary, vectors, and arrays of numbers: convert the column first"
        raise DataError(msg)
    # What whole numbers lose no digit as: a long, or a double where there is a fraction to look at.
    if leaf == "decimal" and _is_whole(field) and kind.precision > (15 if kind.scale else 18):
        msg = f"{what} takes decimals of at most 18 digits, or 15 with a fraction: cast the column first"
        raise DataError(msg)
    axes, size = arrays + (leaf in _FLAT), prod(field.shape)
    if (axes == 0 and size != 1) or axes not in (0, 1, len(field.shape)):
        msg = f"{what} takes values of {len(field.shape)} axes, or flat ones, with {size} elements"
        raise DataError(msg)
    length = column.metadata.get("ml_attr", {}).get("num_attrs", size)  # what VectorAssembler knows
    if length != size:
        msg = f"{what} takes {size} elements; the column's vectors have {length}"
        raise DataError(msg)


def _is_whole(field: Field) -> bool:
    return np.dtype(field.dtype).kind in "iu"


def _leaf(kind: Any) -> tuple[int, str, Any]:
    """Return how many arrays a type nests, and what is in the innermost: its name, and the type."""
    depth = 0
    while hasattr(kind, "elementType"):
        depth, kind = depth + 1, kind.elementType
    return depth, kind.simpleString().partition("(")[0], kind


def _plain(column: Any, kind: Any, field: Field) -> Any:
    """Return the column as Arrow and numpy know it."""
    arrays, leaf, element = _leaf(kind)
    if leaf == "vector":
        from pyspark.ml.functions import vector_to_array
        from pyspark.sql.functions import when

        # A null stays one, which is named by its row: Spark's own function fails on it, with a page of Java.
        return when(column.isNotNull(), vector_to_array(column))
    if leaf == "decimal":
        number = "bigint" if _is_whole(field) and not element.scale else "double"
        return column.cast("array<" * arrays + number + ">" * arrays)
    return column
