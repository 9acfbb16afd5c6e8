"""Checks of the arguments of ``averaged_sgd``, before any work is sent out."""

import math
import os
from collections.abc import Sequence
from numbers import Real
from typing import Any

from sparknet.averaging.contract import is_rule
from sparknet.checkpoint.place import local_path
from sparknet.data.layout import is_whole
from sparknet.errors import DataError

__all__ = [
    "check_choice",
    "check_directory",
    "check_events",
    "check_factory",
    "check_kinds",
    "check_numbers",
    "check_pace",
    "check_quorum",
    "check_steps",
]


def check_factory(factory: Any) -> None:
    """Raise a TypeError unless this can be a factory of nets; a net or its class is no factory."""
    is_net = hasattr(factory, "step") and hasattr(factory, "get_weights")
    if callable(factory) and not is_net and not hasattr(factory, "state_dict"):
        return
    kind = factory.__name__ if isinstance(factory, type) else type(factory).__name__
    what = (
        "the class" if isinstance(factory, type) else "the net" if is_net or hasattr(factory, "state_dict") else "type"
    )
    fix = (
        f"{kind}.factory(...)"
        if hasattr(factory, "factory")
        else "a function(seed=...) that makes the net, such as MLP.factory(...)"
    )
    msg = f"averaged_sgd(): got {what} {kind} for factory, expected {fix}: each worker makes a net of its own"
    raise TypeError(msg)


def check_kinds(cluster: Any, data: Any, rule: Any, evaluate: Any) -> None:
    """Raise a TypeError, ValueError or DataError that names the argument of the wrong kind."""
    if not hasattr(cluster, "session"):
        msg = f"averaged_sgd(): cluster={type(cluster).__name__}; expected LocalCluster() or SparkCluster(spark)"
        raise TypeError(msg)
    if rule is not None and not is_rule(rule):
        msg = (
            f"averaged_sgd(): rule={rule!r}; expected a rule such as Mean() or Nesterov(), which has init() and update(), "
            "or one without state, which has __call__ and shares()"
        )
        raise TypeError(msg)
    if evaluate is not None and not (isinstance(evaluate, tuple | list) and len(evaluate) == 2):
        msg = f"averaged_sgd(): evaluate={type(evaluate).__name__}; expected a pair (test_data, every)"
        raise TypeError(msg)
    if evaluate is not None and not is_whole(evaluate[1], 1):
        msg = f"averaged_sgd(): evaluate=(..., {evaluate[1]!r}); expected (test_data, every) with every >= 1"
        raise ValueError(msg)
    for packed in (data, *(evaluate or ())[:1]):
        if not hasattr(packed, "first_batch"):
            msg = (
                f"averaged_sgd(): got data of type {type(packed).__name__}; "
                "expected what sparknet.data.pack(...) or sparknet.spark.pack(...) returns"
            )
            raise DataError(msg)


def check_numbers(tau: Any, rounds: Any, workers: Any, seed: Any) -> None:
    """Raise a ValueError that names the argument that is out of its range."""
    for name, value, least in (("tau", tau, 0), ("rounds", rounds, 0), ("workers", workers, 1), ("seed", seed, 0)):
        if not (value is None and name == "workers") and not is_whole(value, least):
            msg = f"averaged_sgd(): {name}={value!r}; expected a whole number of at least {least}"
            raise ValueError(msg)


def check_pace(tau: int, max_seconds: Any, replay: Any) -> None:
    """Raise a ValueError unless rounds can be so long."""
    if replay is not None and max_seconds is not None:
        msg = f"averaged_sgd(): replay= and max_seconds={max_seconds!r}; expected one of them: a replay has the steps that the clock decided on"
        raise ValueError(msg)
    is_time = isinstance(max_seconds, Real) and not isinstance(max_seconds, bool)
    if max_seconds not in (None, "auto") and not (is_time and math.isfinite(max_seconds) and max_seconds > 0):
        msg = f"averaged_sgd(): max_seconds={max_seconds!r}; expected a positive number of seconds, 'auto', or None for no limit"
        raise ValueError(msg)
    if not tau and max_seconds == "auto":
        msg = "averaged_sgd(): tau=0 and max_seconds='auto'; expected steps to measure: give tau=50, or seconds such as max_seconds=5.0"
        raise ValueError(msg)


def check_steps(tau: int, max_seconds: Any, replay: Any) -> None:
    """Raise a DataError if no worker would ever take a step."""
    if not tau and max_seconds is None and replay is None:
        msg = (
            "averaged_sgd(): tau=0 without max_seconds: no worker would take a step, and the rounds would change nothing; give tau=50, "
            "or max_seconds=5.0 where time alone is to end a round"
        )
        raise DataError(msg)


def check_quorum(min_workers: Any, workers: int, replay: Any) -> None:
    """Raise a ValueError unless so many workers can be enough."""
    if min_workers is None:
        return
    if replay is not None:
        msg = f"averaged_sgd(): replay= and min_workers={min_workers!r}; expected one of them: a replay leaves out whom the clock left out"
        raise ValueError(msg)
    if not is_whole(min_workers, 1) or min_workers > workers:
        msg = f"averaged_sgd(): min_workers={min_workers!r}; expected a whole number from 1 to workers={workers}"
        raise ValueError(msg)


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise a ValueError unless ``value`` is one of the ``choices``."""
    if value not in choices:
        *most, last = map(repr, choices)
        msg = f"averaged_sgd(): {name}={value!r}; expected {', '.join(most)} or {last}"
        raise ValueError(msg)


def check_directory(checkpoint: Any, keep: Any) -> None:
    """Raise an error unless this is the path of a directory, a URL that fsspec has a driver for, or None; and a number of rounds."""
    if not is_whole(keep, 1):
        msg = f"averaged_sgd(): keep={keep!r}; expected a whole number of rounds of at least 1"
        raise ValueError(msg)
    if checkpoint is not None and not (
        isinstance(checkpoint, str | os.PathLike) and isinstance(os.fspath(checkpoint), str)
    ):
        msg = f"averaged_sgd(): checkpoint={checkpoint!r}; expected the path of a directory, or a URL such as s3://bucket/run"
        raise TypeError(msg)
    if checkpoint is not None:
        local_path(checkpoint)


def check_events(events: Any) -> None:
    """Raise a TypeError unless this is the path of a file, or None."""
    if events is not None and not (isinstance(events, str | os.PathLike) and isinstance(os.fspath(events), str)):
        msg = f"averaged_sgd(): events={events!r}; expected the path of a file, such as run/events.jsonl"
        raise TypeError(msg)
