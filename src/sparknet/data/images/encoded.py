"""EncodedField: a field whose values come as image files and are stored as pixels.

It takes the place of its field only while rows are read. Storage, preprocessor and net know the plain field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from sparknet.data.columns import columns_of
from sparknet.data.fields import Columns, Field
from sparknet.data.images.decoder import ImageDecoder
from sparknet.errors import DataError

__all__ = ["IMAGE_COLUMN", "Decoders", "EncodedField", "decoded", "is_image_struct", "with_decoders"]

Decoders = ImageDecoder | Mapping[str, ImageDecoder]
"""One decoder, for the field of its shape; or field name -> decoder."""

IMAGE_COLUMN = "image files as bytes, what Spark's image source gives, or structs with `bytes`"
_SPARKS = frozenset({"height", "width", "nChannels", "mode", "data"})  # the struct of Spark's image source
_FILE = "bytes"  # the contents of the file in the structs of Hugging Face's Parquet files


@dataclass(frozen=True, repr=False)
class EncodedField(Field):
    """A field of images that come encoded: ``convert`` decodes them to its shape.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (8, 6), (1, 128, 255)).save(file, "PNG")
    >>> data = EncodedField("data", (3, 2, 2), "uint8", decoder=ImageDecoder(2, 2))
    >>> data.convert(file.getvalue())[:, 0, 0].tolist()
    [1, 128, 255]
    """

    decoder: ImageDecoder = field(kw_only=True)

    def convert(self, value: Any) -> "np.ndarray[Any, Any]":
        """Return the pixels of one encoded image as an array of this field's shape and dtype.

        Raises
        ------
        DataError
            It is null, no image, or a damaged one.
        """
        if value is None:
            raise DataError(f"field {self}: it is null; drop such rows or fill them")
        try:
            pixels = decoded(value, self.decoder)
        except DataError as error:
            raise DataError(f"field {self}: {error}") from error
        return super().convert(pixels)


def decoded(value: Any, decoder: ImageDecoder) -> "np.ndarray[Any, Any]":
    """Return the pixels (c, h, w) uint8 of an image: R, G, B, or gray; a new array.

    Parameters
    ----------
    value
        The bytes of an image file, a struct (mapping or Spark Row) with these bytes as ``bytes``, or a struct of Spark's
        ``image`` source, whose channels B, G, R become R, G, B.
    decoder
        Size and channels of the pixels.

    Raises
    ------
    DataError
        The value is none of these, or its image cannot be decoded.
    """
    struct = value.asDict() if hasattr(value, "asDict") else value
    if not isinstance(struct, Mapping):
        return decoder(value)
    if not is_image_struct(struct):
        raise DataError(f"got a struct of {', '.join(map(repr, struct))}, expected {IMAGE_COLUMN}")
    return _of_sparks(struct, decoder) if set(struct) >= _SPARKS else decoder(struct[_FILE])


def is_image_struct(names: Any) -> bool:
    """Say whether structs with these names hold an image that :func:`decoded` takes."""
    return set(names) >= _SPARKS or _FILE in names


def _of_sparks(struct: Mapping[str, Any], decoder: ImageDecoder) -> "np.ndarray[Any, Any]":
    # The data is rows of B, G, R (and transparency) or gray. All lengths are -1 if Spark could not read the image.
    empty = [name for name in _SPARKS if struct[name] is None]
    if empty:
        msg = f"{', '.join(map(repr, sorted(empty)))} of Spark's image struct is null; drop such rows"
        raise DataError(msg)
    shape, mode, data = tuple(struct[side] for side in ("height", "width", "nChannels")), struct["mode"], struct["data"]
    if shape[2] not in (1, 3, 4) or mode & 7 or len(data) != prod(shape):
        msg = (
            f"Spark's image source gives {shape[0]}x{shape[1]} pixels of {shape[2]} channels, OpenCV mode {mode}, "
            f"{len(data)} bytes; expected 1, 3 or 4 channels of 8 bits (is it a whole image file?)"
        )
        raise DataError(msg)
    return decoder.of_pixels(np.frombuffer(data, np.uint8).reshape(shape)[..., 2::-1])


def with_decoders(
    fields: Sequence[Field], decoder: Decoders | None, columns: Columns | None = None
) -> tuple[Field, ...]:
    """Return the fields as rows have them: fields with a decoder become an :class:`EncodedField`.

    Raises
    ------
    DataError
        ``decoder`` is no decoder. Its pixels have a shape that no field has, that several fields have, or that the named field
        has not. ``columns`` names several columns for one image.

    Examples
    --------
    >>> fields = [Field("data", (3, 4, 4), "uint8"), Field("label")]
    >>> [type(f).__name__ for f in with_decoders(fields, ImageDecoder(4, 4))]
    ['EncodedField', 'Field']
    """
    if decoder is None:
        return tuple(fields)
    named = decoder if isinstance(decoder, Mapping) else {_field_of(fields, decoder): decoder}
    unknown = [name for name in named if name not in [f.name for f in fields]]
    if unknown:
        msg = f"decoder: got {', '.join(map(repr, unknown))}; expected names of fields: {_listed(fields)}"
        raise DataError(msg)
    joined = [f.name for f in fields if f.name in named and len(columns_of(f, columns)) > 1]
    if joined:
        raise DataError(
            f"columns: got several for field {joined[0]!r}, which is decoded, expected the one with the images"
        )
    return tuple(_encoded(f, named[f.name]) if f.name in named else f for f in fields)


def _field_of(fields: Sequence[Field], decoder: ImageDecoder) -> str:
    """Return the name of the one field that has the decoder's shape."""
    _check(decoder)
    fitting = [f.name for f in fields if f.shape == decoder.shape]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        msg = f"decoder: the fields {_listed(fields)} have its shape {decoder.shape}; name one: decoder={{{fitting[0]!r}: ...}}"
        raise DataError(msg)
    msg = (
        f"decoder: it gives pixels of shape {decoder.shape}; expected a field of that shape, got {_listed(fields)}. A field "
        "says what is stored, before the preprocessor crops it"
    )
    raise DataError(msg)


def _encoded(f: Field, decoder: ImageDecoder) -> EncodedField:
    _check(decoder)
    if f.shape != decoder.shape:
        msg = f"decoder: it gives pixels of shape {decoder.shape}; field {f} needs some of {f.shape}"
        raise DataError(msg)
    return EncodedField(f.name, f.shape, f.dtype, batch_axis=f.batch_axis, decoder=decoder)


def _check(decoder: Any) -> None:
    if not isinstance(decoder, ImageDecoder):
        msg = (
            f"decoder: got {str(decoder)[:60]}, expected an ImageDecoder, such as ImageDecoder(224, 224), or a mapping from "
            "the names of fields to decoders"
        )
        raise DataError(msg)


def _listed(fields: Sequence[Field]) -> str:
    return ", ".join(map(str, fields))
