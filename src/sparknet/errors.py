"""The exceptions of sparknet, one tree; every one is also the builtin that a caller would expect.

::

    SparknetError
    ├── FormatError        (ValueError)    bytes that are not a message, or a damaged one
    ├── DeviceError        (ValueError)    arrays of different devices, or a device that is not there
    ├── SchemaError        (ValueError)    weights whose names, shapes or dtypes do not fit
    ├── DataError          (ValueError)    a data set, row or batch that does not fit
    ├── NetError           (ValueError)    a net or solver definition that cannot be used
    ├── MissingDependency  (ImportError)   an optional package, program or Debian package is not there
    ├── StreamEnd          (EOFError)      a stream of messages that has no more of them
    ├── ClusterError       (RuntimeError)  a cluster that cannot be reached or broke off
    └── TrainingError      (RuntimeError)  a training that ended early, after it had begun

The message says what was got, what was expected and the fix; facts for programs are fields. The message of a ValueError
has at most 4,000 characters, because names in it may come from anywhere. All of them survive pickling, because Spark
hides exceptions that do not.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Self

__all__ = [
    "ClusterError",
    "DataError",
    "DeviceError",
    "FormatError",
    "MissingDependency",
    "NetError",
    "SchemaError",
    "SparknetError",
    "StreamEnd",
    "TrainingError",
]


class SparknetError(Exception):
    """Base of every exception raised on purpose by sparknet.

    Parameters
    ----------
    message
        What was got, what was expected and the fix. Of a ValueError's message over 4,000 characters, the middle is left out.
    **fields
        Facts for programs, set as attributes of the exception.

    Examples
    --------
    >>> import pickle
    >>> error = pickle.loads(pickle.dumps(SparknetError("no", layer="conv1")))
    >>> str(error), error.layer
    ('no', 'conv1')
    """

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(_shortened(message) if isinstance(self, ValueError) else message)
        for name, value in fields.items():
            setattr(self, name, value)  # some (ImportError's name) are slots; both kinds are pickled

    def placed(self, where: str, *, instead: bool = False, advice: str = "", **fields: Any) -> Self:
        """Return an error of the same type whose message begins with a place; its field ``reason`` is the message without it.

        Parameters
        ----------
        where
            The place, put in front of the message.
        instead
            Whether ``where`` replaces the place that an earlier call put there.
        advice
            The fix, put behind the message.
        **fields
            Fields to add to those of this error.

        Examples
        --------
        >>> error = DataError("no label").placed("row 3", row=3)
        >>> str(error), str(error.placed("partition 2, row 73", instead=True, row=73))
        ('row 3: no label', 'partition 2, row 73: no label')
        """
        _, _, *state = tuple[Any, ...](self.__reduce__())  # what pickle keeps: also fields that are slots
        facts = dict(*state)
        reason = facts.get("reason", str(self)) if instead else str(self)
        return type(self)(f"{where}: {reason}{advice}", **{**facts, "reason": reason, **fields})


_BEGIN, _END = 3000, 900  # characters of a longer message that are kept


def _shortened(message: str) -> str:
    """Return a message that has at most 4,000 characters and can be printed: a name may be long, or hold half a character."""
    message = message.encode(errors="backslashreplace").decode()
    left_out = len(message) - _BEGIN - _END
    if left_out <= 100:  # the note itself has up to 60
        return message
    return f"{message[:_BEGIN]}... ({left_out:,} characters are left out) ...{message[-_END:]}"


class FormatError(SparknetError, ValueError):
    """Bytes that are not a valid message; ``tensor`` and ``offset`` (bytes) say where, if known."""


class DeviceError(SparknetError, ValueError):
    """Arrays of different devices were mixed, or a device is not available."""


class SchemaError(SparknetError, ValueError):
    """Weights do not fit: ``layer``, ``index``, ``got`` and ``expected`` say where and how."""


class DataError(SparknetError, ValueError):
    """A data set, a row or a batch does not fit what is expected of it."""


class NetError(SparknetError, ValueError):
    """A net or solver definition cannot be used, or a blob asked for is unknown."""


class MissingDependency(SparknetError, ImportError):  # noqa: N818 - the name says what happened
    """An optional package or program is missing; the message names the command that brings it."""


class StreamEnd(SparknetError, EOFError):  # noqa: N818 - no failure: a stream ends so
    """A stream of messages ended after a whole message: nothing is damaged, there are no more."""


class ClusterError(SparknetError, RuntimeError):
    """A cluster cannot be reached in time, or broke off for good."""


class TrainingError(SparknetError, RuntimeError):
    """A training ended early, after it had begun; ``traceback`` is that of the failed worker, or empty."""


BrokenOff = TrainingError  # the name that it had first: programs and pickles may have it


@contextmanager
def located(where: str, **fields: Any) -> Iterator[None]:
    """Put ``where`` in front of the message of a SparknetError of the block; the type stays.

    Parameters
    ----------
    where
        What the block was working on.
    **fields
        Fields to add to those of the exception.

    Examples
    --------
    >>> with located("row 3", row=3):
    ...     raise DataError("no label")
    Traceback (most recent call last):
    sparknet.errors.DataError: row 3: no label
    """
    try:
        yield
    except SparknetError as error:
        raise error.placed(where, **fields) from error


def as_sparknet_error(error: Exception) -> SparknetError:
    """Return a SparknetError as it is, any other exception as a DataError that names its type.

    Examples
    --------
    >>> as_sparknet_error(KeyError("label"))
    DataError("KeyError: 'label'")
    """
    return error if isinstance(error, SparknetError) else DataError(f"{type(error).__name__}: {error}")


def interrupt_in(error: BaseException | None, handled: BaseException | None = None) -> KeyboardInterrupt | None:
    """Return the KeyboardInterrupt that an error is or was raised after, or None.

    ``handled`` is an exception that was being handled before: it and those that it was raised after do not count.
    """
    while error is not None and error is not handled:
        if isinstance(error, KeyboardInterrupt):
            return error
        error = error.__context__
    return None


_SHOWN = 60  # characters of an argument in a message


def explain(error: Exception, what: str, *args: Any, **kwargs: Any) -> NoReturn:
    """Raise the ``error`` of an array library as a plain builtin (TypeError, ValueError, ...) that shows the arguments.

    An error that is not about the arguments, such as a device that fails, is raised as it is.

    Examples
    --------
    >>> explain(RuntimeError("shapes differ"), "add", 1, axis=2)
    Traceback (most recent call last):
    ValueError: add of 1, axis=2: shapes differ
    """
    kind = _plain_kind(error)
    if kind is None:
        raise _of_the_machine(error, what) or error
    given = [shown(value) for value in args] + [f"{key}={shown(value)}" for key, value in kwargs.items()]
    advice = "; the memory is read-only, as of a message that was loaded: make a copy first"
    msg = f"{what} of {', '.join(given)}: {error}{advice if 'read-only' in str(error) else ''}"
    raise kind(msg) from error


def _plain_kind(error: Exception) -> type[Exception] | None:
    if isinstance(error, SparknetError):
        return None
    for kind in (TypeError, IndexError, OverflowError, ValueError):  # numpy has subclasses with odd constructors
        if isinstance(error, kind):
            return kind
    if _of_the_machine(error, ""):
        return None
    # torch raises RuntimeError for shapes, for dtypes, and also for a device that fails
    if "can't be cast" in str(error):
        return TypeError
    return _KINDS.get(type(error).__name__.removeprefix("_")) if "CUDA" not in str(error) else None


NOT_INITIALIZED = (
    "cudaErrorInitializationError"  # what CUDA says in a process that was forked from one that has used it
)
AFTER_FORK = (
    "a process that is forked from one that has used CUDA cannot use it: fork before its first use, "
    "or start processes with multiprocessing.get_context('spawn')"
)
# How cupy and its cuda-pathfinder report a missing library of CUDA, or missing headers that kernels need.
_NO_TOOLKIT = re.compile(
    r"failed to load lib|lib(nvrtc|nvJitLink|cu[a-z]+)\b.*\.so|Failed to find CUDA headers", re.IGNORECASE
)


def _of_the_machine(error: Exception, what: str) -> SparknetError | None:
    """Return an error with the fix if the process or the machine is at fault, not the arguments; else None."""
    if not isinstance(error, RuntimeError | ImportError) or isinstance(error, SparknetError):
        return None
    found: SparknetError | None = None
    if NOT_INITIALIZED in str(error):
        found = DeviceError(f"{what}: {error}; {AFTER_FORK}")
    elif _NO_TOOLKIT.search(str(error)):
        msg = (
            f"{what}: {error}; cupy has not all of CUDA's libraries and headers here: "
            "pip install 'sparknet[cuda12]' or 'sparknet[cuda13]', as the CUDA version that nvidia-smi shows"
        )
        found = MissingDependency(msg, name="cuda-toolkit")
    if found is not None:
        found.__cause__ = error
    return found


_KINDS = {
    "BufferError": ValueError,
    "LinAlgError": ValueError,
    "NotImplementedError": TypeError,
    "RuntimeError": ValueError,
}


def shown(value: Any, limit: int = _SHOWN) -> str:
    """Return an argument as messages show it: its ``repr``, cut after ``limit`` characters; dtype and shape of an array.

    Only the start of text and bytes is looked at, because they may have many megabytes.

    Examples
    --------
    >>> shown(b"a" * 10**8, limit=5)
    "b'aaa..."
    """
    if hasattr(value, "dtype") and not isinstance(value, type) and len(getattr(value, "shape", "")):
        return f"{value.dtype} {tuple(value.shape)}"
    text = repr(value[: limit + 1] if isinstance(value, str | bytes | bytearray) else value)
    return text if len(text) <= limit else f"{text[:limit]}..."
