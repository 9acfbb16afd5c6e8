"""An error of a worker: what is told of it, and what the driver makes of that."""

import json
import traceback

from sparknet import errors
from sparknet.errors import ClusterError, SparknetError

__all__ = ["raised", "told"]

_PLACE = "[shard "  # the beginning of a note that names where a net has raised; see sparknet.worker

_TEXT = 20_000  # characters of a traceback, and of a message
_TOLD = 1 << 19  # bytes of all that is told of an error; a message of the hub has room for twice as many


def told(error: Exception) -> bytes:
    """Return what the driver is told of an error of a worker: type, message, facts, traceback, and the place that a note on it names.

    Facts that are too long are left out.
    """
    try:
        message = str(error)[:_TEXT]
    except Exception as other:  # noqa: BLE001 - of a class of the caller's
        message = f"(no text: {type(other).__name__})"
    places = [note for note in getattr(error, "__notes__", ()) if isinstance(note, str) and note.startswith(_PLACE)]
    place = places[0].strip("[]") if places else ""
    known = {"name": error.name, **vars(error)} if isinstance(error, ImportError) else vars(error)
    facts = {name: value for name, value in known.items() if isinstance(value, str | int | float | None)}
    facts.pop("message", None)  # of the caller's: an error of sparknet takes it for its text
    trace = "".join(traceback.format_exception(error))[-_TEXT:]
    said = json.dumps([type(error).__name__, message, facts, trace, place]).encode()
    return said if len(said) <= _TOLD else json.dumps([type(error).__name__, message, {}, trace, place]).encode()


def raised(shard: int, reason: bytes) -> SparknetError:
    """Return the error of a worker: one of sparknet's as it was, any other as a ClusterError with its traceback."""
    name, message, facts, trace, place = json.loads(reason)
    kind = getattr(errors, name, None) if name in errors.__all__ else None
    if kind is not None:
        error: SparknetError = kind(message, **facts)
        return error
    return ClusterError(f"{place or f'worker {shard}'}: {name}: {message}", worker=shard, traceback=trace)
