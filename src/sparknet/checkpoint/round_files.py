"""The files of one round: weights, solver states, rule's state and steps. All carry the identity of the round.

Checksums show that a file is whole, not that it belongs to the others: weights of another round, or of another training with the
same shapes, would pass. So the metadata of each file has the round, the name of the file, and the identity: a random text that is
new for each round.
"""

import logging
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.checkpoint.position import Position
from sparknet.data.layout import is_whole
from sparknet.errors import DataError, FormatError
from sparknet.files.regular import kind_of
from sparknet.ndarray import NDArray
from sparknet.serialization import inspect, load, save
from sparknet.weights import WeightCollection

__all__ = ["read_round", "write_round"]

_FORMAT = "sparknet checkpoint, version 1"
# An older sparknet refuses this format. It would else go on without the rule's state, and say nothing.
_FORMAT_WITH_RULE = f"{_FORMAT}, with a rule's state"
# values of settings that older checkpoints do not have
_UNSAID = {"ragged": "reshape", "rule": "one without state"}
_UNKNOWN = {"data"}  # settings that they do not have, with a value that nobody knows
_MOST = 1 << 20  # largest number of solver states, and of names of a rule's state
# what may change -> what it may be meant for, and what happens if it is not
_MEANT = {
    "preprocessor": ("another augmentation", "the weights were fitted to the values that it makes"),
    "net": ("a smaller learning rate", "the weights were fitted to what it computes"),
}
_LOG = logging.getLogger(__name__)


def write_round(folder: Path, position: Position, settings: Mapping[str, str], notes: Mapping[str, str]) -> None:
    """Write the files of a round to an existing directory; files and names are on the disk when this returns."""
    identity, index = secrets.token_hex(16), position.rounds - 1
    facts = {"format": _FORMAT, "settings": dict(settings), "notes": dict(notes), "states": len(position.states)}
    facts["pace"] = dict(position.pace)
    if position.rule_state:
        facts |= {"format": _FORMAT_WITH_RULE, "rule_state": list(position.rule_state)}
    steps = NDArray(np.array(position.steps, np.int64))
    save(_path(folder, "weights"), position.weights, metadata=_said("weights", index, identity))
    for i, state in enumerate(position.states):
        save(_path(folder, f"state-{i}"), state, metadata=_said(f"state-{i}", index, identity))
    for i, value in enumerate(position.rule_state.values()):
        save(_path(folder, f"rule-{i}"), value, metadata=_said(f"rule-{i}", index, identity))
    # the last file; saving it syncs the directory
    save(_path(folder, "position"), {"steps": steps}, metadata=facts | _said("position", index, identity))


def read_round(
    folder: Path,
    index: int,
    settings: Mapping[str, str],
    notes: Mapping[str, str],
    may_differ: Collection[str] = (),
    *,
    called: object = None,
) -> Position:
    """Return the position after the round ``index``, in memory of its own, and log a warning for each changed note.

    Settings in ``may_differ`` are as notes: a warning, too, says that they have changed. Messages name ``called``, the place of the
    round, instead of a ``folder`` that is a copy of it.

    Raises
    ------
    DataError
        The position was written with other settings, or by another version of sparknet.
    FormatError, FileNotFoundError
        A file is missing, damaged, or of another round.
    """
    where = folder if called is None else called
    facts = inspect(_regular(folder, "position")).metadata
    if facts.get("format") not in (_FORMAT, _FORMAT_WITH_RULE):
        msg = f"checkpoint: {where} is a {facts.get('format')!r}, expected a {_FORMAT!r}; name another directory"
        raise DataError(msg)
    _check_settings(where, facts.get("settings"), settings, may_differ)
    states_of_rule = _names_of_rule(facts)
    of_states = [f"state-{i}" for i in range(_number_of_states(facts))]
    of_rule = [f"rule-{i}" for i in range(len(states_of_rule))]
    names = ["weights", "position", *of_states, *of_rule]
    paths = [_regular(folder, name) for name in names]
    _check_together(folder, where, index, names)
    found = dict(zip(names, (load(path, mmap=False) for path in paths), strict=True))
    kinds = {"weights": (WeightCollection,)} | dict.fromkeys(of_states, (Mapping,))
    for name, expected in (kinds | dict.fromkeys(of_rule, (WeightCollection, NDArray))).items():
        if not isinstance(found[name], expected):
            what = " or a ".join(kind.__name__ for kind in expected)
            raise _misfit(name, f"holds a {type(found[name]).__name__}, expected a {what}")
    _warn_of_changes(where, facts.get("notes"), notes)
    states = [found[name] for name in of_states]
    rule_state = {said: found[name] for said, name in zip(states_of_rule, of_rule, strict=True)}
    pace: Any = facts.get("pace")
    pace = pace if isinstance(pace, Mapping) else {}  # older checkpoints have none
    return Position(index + 1, found["weights"], states, _steps(found["position"]), rule_state, pace)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.sparknet"


def _regular(folder: Path, name: str) -> Path:
    """Return the path of a file to read; a FormatError if it is a FIFO, which a reader would wait for, or a device."""
    path = _path(folder, name)
    kind = kind_of(path.stat().st_mode)
    if kind is not None:
        raise _misfit(name, f"is {kind}, expected a regular file")
    return path


def _said(name: str, index: int, identity: str) -> dict[str, Any]:
    """Return the metadata that ties a file to its round."""
    return {"checkpoint": {"file": name, "round": index, "identity": identity}}


def _check_settings(where: object, written: Any, settings: Mapping[str, str], may_differ: Collection[str]) -> None:
    if not isinstance(written, Mapping):
        raise _misfit("position", f"has the settings {written!r:.60}, expected names and texts")
    for name, value in settings.items():
        if name in _UNKNOWN and name not in written:
            continue
        expected = written.get(name, _UNSAID.get(name))
        if value != expected and name in may_differ:
            _LOG.warning(
                "%s was written with %s=%s; this training goes on with %s=%s", where, name, expected, name, value
            )
        elif value != expected:
            msg = (
                f"checkpoint: got {name}={value}, expected {name}={expected}, with which {where} was written; "
                "go on with that, or name another directory for a new training"
            )
            raise DataError(msg, setting=name, got=value, expected=expected)


def _warn_of_changes(where: object, written: Any, notes: Mapping[str, str]) -> None:
    before = written if isinstance(written, Mapping) else {}  # older checkpoints have no notes
    for name, value in notes.items():
        if before.get(name, value) != value:
            purpose, why = _MEANT.get(name, ("a reason of yours", "the weights were fitted to it"))
            _LOG.warning(
                "%s was trained with the %s [%s]; this training goes on with [%s]. That may be meant, as for %s. If it is not, take the "
                "former: %s",
                where,
                name,
                before[name],
                value,
                purpose,
                why,
            )


def _number_of_states(facts: Mapping[str, Any]) -> int:
    states: Any = facts.get("states")
    if not is_whole(states, 0) or states > _MOST:
        raise _misfit("position", f"counts {states!r:.60} solver states, expected a whole number up to {_MOST:,}")
    return int(states)


def _names_of_rule(facts: Mapping[str, Any]) -> list[str]:
    names: Any = facts.get("rule_state", [])
    is_good = isinstance(names, list) and len(names) <= _MOST and all(isinstance(name, str) for name in names)
    if not is_good or len(set(names)) < len(names):
        raise _misfit("position", f"names the rule's state {names!r:.60}, expected a list of different names")
    return list(names)


def _check_together(folder: Path, where: object, index: int, names: list[str]) -> None:
    """Raise a FormatError unless all files are of one round, the one in the name of the directory."""
    found = {name: inspect(_path(folder, name)).metadata.get("checkpoint") for name in names}
    if all(said is None for said in found.values()):
        _LOG.warning(
            "%s was written by an older sparknet, and its files carry no identity: one of another round or training "
            "would not be noticed",
            where,
        )
        return
    said = found["position"]
    identity = said.get("identity") if isinstance(said, Mapping) else None
    for name in ("position", *names):
        if identity is None or found[name] != _said(name, index, identity)["checkpoint"]:
            raise _misfit(
                name,
                f"says that it is {_shown(found[name])}; expected {name} of round {index}, as position.sparknet says it: files "
                "of several rounds or trainings are mixed",
            )


def _shown(said: Any) -> str:
    if not isinstance(said, Mapping):
        return "of no round" if said is None else f"{said!r:.60}"
    return f"{said.get('file')} of round {said.get('round')}, with the identity {said.get('identity')!r:.40}"


def _steps(position: Any) -> list[int]:
    steps = position.get("steps") if isinstance(position, Mapping) else None
    if not isinstance(steps, NDArray) or steps.ndim != 1 or str(steps.to_host().dtype) != "int64":
        raise _misfit("position", "has no steps, expected one int64 number for each worker")
    numbers: list[int] = steps.to_host().tolist()
    if min(numbers, default=0) < 0:
        raise _misfit("position", f"has {min(numbers)} steps of a worker, expected 0 or more")
    return numbers


def _misfit(name: str, what: str) -> FormatError:
    return FormatError(f"{name}.sparknet {what}", tensor=None, offset=None)
