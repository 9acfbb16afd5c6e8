"""DataFrames: the checks of their columns before any job, and the choice of the columns to pack.

After the checks columns are known by their place. A name may need quotes, or be ambiguous to Spark, which does
not distinguish ``data`` from ``Data``.
"""

from collections.abc import Sequence
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from sparknet.data.columns import check_columns, columns_of, few, named_columns
from sparknet.data.fields import Columns, Field, decoding_advice
from sparknet.data.images.encoded import IMAGE_COLUMN, EncodedField, is_image_struct
from sparknet.errors import DataError

__all__ = ["check_frame", "check_image_column", "check_rdd", "is_frame", "selected"]

_NUMBERS = {"boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal"}
_FLAT = {"binary", "vector"}  # their values have one axis


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


def check_rdd(rows: Any, caller: str, fix: str = "") -> None:
    """Raise a DataError unless ``rows``, no DataFrame, is an RDD; ``fix`` ends the message."""
    if not hasattr(rows, "mapPartitionsWithIndex"):
        msg = f"{caller}: got {type(rows).__name__}, expected an RDD or a DataFrame{fix}"
        raise DataError(msg)


def check_frame(frame: Any, fields: Sequence[Field], columns: Columns, caller: str) -> list[int]:
    """Return the places of the column or columns of each field, in the order of the fields.

    Raises
    ------
    DataError
        A column is missing or there twice, or cannot hold the values of the field. The message begins with ``caller``.
    """
    names = [name for _, name in named_columns(fields, columns)]
    places = check_columns(names, frame.columns, f"{caller}: the DataFrame")
    given = iter(places)
    for f in fields:
        ours = [frame.schema[place] for place in islice(given, len(columns_of(f, columns)))]
        if isinstance(f, EncodedField):
            check_image_column(ours[0], caller, f"field {f} with its decoder")
            continue
        for column in ours:
            _check_type(column, f, caller)
        if len(ours) == 1:
            _check_column(ours[0], f, caller)
        else:
            _check_joined(ours, f, caller)
    return places


def selected(frame: Any, fields: Sequence[Field], columns: Columns, id_column: str | None) -> Any:
    """Return a DataFrame with the columns of the fields, in their order, and then that of the id, if there is one.

    Vectors become arrays, decimals doubles (longs if they are whole and the field is too), and the id text. The columns
    are called "0", "1", ...

    Raises
    ------
    DataError
        As from :func:`check_frame`, and for the id's column.
    """
    places = check_frame(frame, fields, columns, "pack()")
    ids = check_columns([id_column] if id_column else [], frame.columns, "pack(): the DataFrame")
    numbered = frame.toDF(*map(str, range(len(frame.columns))))
    chosen = [
        _plain(numbered[str(i)], frame.schema[i].dataType, f).alias(str(k))
        for k, (i, (f, _)) in enumerate(zip(places, named_columns(fields, columns), strict=True))
    ]
    chosen += [numbered[str(i)].cast("string").alias(str(len(chosen))) for i in ids]
    return numbered.select(*chosen)


def _what(column: Any, field: Field, caller: str) -> str:
    return f"{_named(column, caller)}; field {field}"


def _check_type(column: Any, field: Field, caller: str) -> None:
    """Raise a DataError if no field could take the values of this column."""
    arrays, leaf, kind = _leaf(column.dataType)
    what = _what(column, field, caller)
    if leaf not in _NUMBERS and not (leaf in _FLAT and arrays == 0):
        msg = f"{what} takes numbers, booleans, binary, vectors, and arrays of numbers: convert the column first{decoding_advice(field)}"
        raise DataError(msg)
    # Decimals that a long holds without loss, or a double if they have a fraction that must be looked at.
    if leaf == "decimal" and _is_whole(field) and kind.precision > (15 if kind.scale else 18):
        msg = f"{what} takes decimals of at most 18 digits, or 15 with a fraction: cast the column first"
        raise DataError(msg)


def _check_column(column: Any, field: Field, caller: str) -> None:
    """Raise a DataError if no value of this column could ever fit the field."""
    arrays, leaf, _ = _leaf(column.dataType)
    what = _what(column, field, caller)
    axes, size = arrays + (leaf in _FLAT), prod(field.shape)
    if (axes == 0 and size != 1) or axes not in (0, 1, len(field.shape)):
        msg = f"{what} takes values of {len(field.shape)} axes, or flat ones, with {size} elements"
        raise DataError(msg)
    length = _length(column)
    if length not in (None, size):
        msg = f"{what} takes {size} elements; the column's vectors have {length}"
        raise DataError(msg)


def _check_joined(columns: Sequence[Any], field: Field, caller: str) -> None:
    """Raise a DataError if the values of these columns together could never fit the field."""
    sizes = [_length(column) for column in columns]
    known, size = sum(n for n in sizes if n is not None), prod(field.shape)
    if known > size or (known < size and None not in sizes):
        names, told = [column.name for column in columns], ["?" if n is None else n for n in sizes]
        msg = f"{caller}: field {field} takes {size} elements; its columns have {known}: {few(names, told)}"
        raise DataError(msg)


def _length(column: Any) -> int | None:
    """Return the number of elements in each value of a column; None if its type does not say."""
    arrays, leaf, _ = _leaf(column.dataType)
    if arrays == 0 and leaf in _NUMBERS:
        return 1
    found: int | None = column.metadata.get("ml_attr", {}).get("num_attrs")  # from VectorAssembler
    return found


def check_image_column(column: Any, caller: str, taker: str = "a decoder") -> None:
    """Raise a DataError if a column of this type holds no encoded images."""
    kind = column.dataType
    if kind.typeName() != "binary" and not (kind.typeName() == "struct" and is_image_struct(kind.names)):
        paths = ': spark.read.format("binaryFile") or read_images() read files' if kind.typeName() == "string" else ""
        raise DataError(f"{_named(column, caller)}; {taker} takes {IMAGE_COLUMN}{paths}")


def _named(column: Any, caller: str) -> str:
    return f"{caller}: column {column.name!r} is {column.dataType.simpleString()[:80]}"


def _is_whole(field: Field) -> bool:
    return np.dtype(field.dtype).kind in "iu"


def _leaf(kind: Any) -> tuple[int, str, Any]:
    """Return the depth of nested arrays in a type, and the name and the type of what is in the innermost one."""
    depth = 0
    while hasattr(kind, "elementType"):
        depth, kind = depth + 1, kind.elementType
    return depth, kind.simpleString().partition("(")[0], kind


def _plain(column: Any, kind: Any, field: Field) -> Any:
    """Return the column as a type that Arrow and numpy have."""
    arrays, leaf, element = _leaf(kind)
    if leaf == "vector":
        from pyspark.ml.functions import vector_to_array
        from pyspark.sql.functions import when

        # Nulls stay nulls, whose row is named later. Spark's function itself fails on them, with a page of Java.
        return when(column.isNotNull(), vector_to_array(column))
    if leaf == "decimal":
        number = "bigint" if _is_whole(field) and not element.scale else "double"
        return column.cast("array<" * arrays + number + ">" * arrays)
    return column
