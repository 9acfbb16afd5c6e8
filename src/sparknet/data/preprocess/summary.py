"""A preprocessor, a rule or a factory in one line of text: checkpoints keep it, and compare it when a training goes on.

Equal preprocessors have equal texts, in every process: a text has no address, and sets are sorted. A large value is shown as a
digest, so two mean images of one shape have different texts. Of a function there is the name alone.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np

from sparknet.data.preprocess.base import steps_of

__all__ = ["summary"]

_SHOWN = 8  # values that are written out; more values are shown as a digest
_DEEPEST = 6
_LONGEST = 300  # characters that are written out, of a text such as a prototxt


def summary(preprocessor: Any) -> str:
    """Return the steps of a preprocessor with their values; a large array is shown as dtype, shape and digest.

    Examples
    --------
    >>> from sparknet.data.preprocess import Compose, SubtractMean, ToBGR
    >>> summary(Compose(ToBGR("data"), SubtractMean("data", [104, 117, 123])))
    "ToBGR(field='data'), SubtractMean(field='data', mean=[104, 117, 123])"
    >>> summary(SubtractMean("data", np.zeros((3, 24, 24), np.float32)))
    "SubtractMean(field='data', mean=float32 (3, 24, 24) 405a3ef0cd93e021)"
    >>> summary(None)
    'none'
    """
    return ", ".join(_text(step, _DEEPEST) for step in steps_of(preprocessor)) or "none"


def _text(value: Any, depth: int) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return repr(value) if len(value) <= _LONGEST else f"{len(value)} characters {_digest(repr(value).encode())}"
    if value is None or isinstance(value, bool | int | float | complex):
        return repr(value)
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes {_digest(value)}"
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    array = None if isinstance(value, type) else _array(value)
    if array is not None:
        return _text_of_array(array)
    return _text_of_object(value, depth) if depth else type(value).__qualname__


def _array(value: Any) -> "np.ndarray[Any, Any] | None":
    """Return an array of numpy, if this is an array, and its library gives it to numpy: not a tensor with a gradient, for example."""
    if hasattr(value, "to_host") or hasattr(value, "__array__"):
        with suppress(Exception):
            return np.asarray(value.to_host() if hasattr(value, "to_host") else value)
    return None


def _text_of_array(array: "np.ndarray[Any, Any]") -> str:
    if array.size <= _SHOWN:
        return f"{array.dtype} {array.tolist()}"
    content = repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array)
    return f"{array.dtype} {array.shape} {_digest(content)}"


def _text_of_object(value: Any, depth: int) -> str:
    inner = partial(_text, depth=depth - 1)
    name = type(value).__qualname__
    if isinstance(value, Mapping):
        return _listed(name, [f"{inner(key)}: {inner(entry)}" for key, entry in value.items()], "{}")
    if isinstance(value, set | frozenset):
        return _listed(name, sorted(map(inner, value)), "{}")
    if isinstance(value, tuple | list):
        return _listed(name, list(map(inner, value)), "[]")
    if isinstance(value, partial):
        held = {"func": value.func, "args": value.args, "keywords": value.keywords}
    elif is_dataclass(value) and not isinstance(value, type):
        held = {f.name: getattr(value, f.name) for f in fields(value)}
    elif hasattr(value, "__qualname__"):  # a function or a class
        return str(value.__qualname__)
    else:
        held = getattr(value, "__dict__", {})
    return f"{name}({', '.join(f'{key}={inner(entry)}' for key, entry in held.items())})"


def _listed(name: str, texts: list[str], brackets: str) -> str:
    joined = ", ".join(texts)
    if len(texts) <= _SHOWN:
        return f"{brackets[0]}{joined}{brackets[1]}"
    return f"{name} of {len(texts)} {_digest(joined.encode())}"


def _digest(content: Any) -> str:
    return blake2b(content, digest_size=8).hexdigest()
