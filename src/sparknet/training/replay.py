"""The replay of a run: its rounds again, with the steps and the workers that clocks decided on then, and so with the same bits."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sparknet.averaging import WeightedMean
from sparknet.data.layout import is_whole
from sparknet.errors import DataError, TrainingError
from sparknet.files.regular import open_regular
from sparknet.training.pace import Decided

__all__ = ["Former", "Replay", "by_work", "check_former", "former_rounds"]

Replay: TypeAlias = str | os.PathLike[str] | Iterable[Any]  # of rounds


@dataclass(frozen=True)
class Former:
    """What is known of a former round: what clocks decided about it, and its loss, if it had one."""

    decided: Decided
    loss: float | None = None

    def check(self, index: int, loss: float) -> None:
        """Raise a TrainingError unless the replayed round has the loss of the former one, bit for bit."""
        if self.loss is None or math.isnan(self.loss) or math.isnan(loss) or loss == self.loss:
            return
        msg = (
            f"round {index}: the loss of the replay is {loss!r}, expected {self.loss!r}, that of the former round: net, data, seed or rule "
            "are others than then, or the net does not compute the same each time"
        )
        raise TrainingError(msg, round=index, worker=None)


def former_rounds(replay: Replay | None) -> Mapping[int, Former] | None:
    """Return index -> what is known of each former round, of events or rounds; None if there is nothing to replay."""
    if replay is None:
        return None
    return dict(_of_events(Path(replay)) if isinstance(replay, str | os.PathLike) else _of_rounds(replay))


def by_work(former: Mapping[int, Former] | None) -> bool:
    """Say whether results were weighted by the work done, as they are by default where clocks decide."""
    return any(each.decided.rule == repr(WeightedMean()) for each in (former or {}).values())


def check_former(former: Mapping[int, Former], workers: int, rule: str, wanted: range) -> None:
    """Raise a DataError unless there is each round that is wanted, of so many workers and of this rule."""
    for index in wanted:
        if index not in former:
            has = f"has the rounds {min(former)} to {max(former)}" if former else "has no rounds"
            msg = f"averaged_sgd(): replay {has}; expected round {index} too, as rounds={wanted.stop}"
            raise DataError(msg)
        where, decided = f"averaged_sgd(): replay: round {index}", former[index].decided
        _check_steps(where, decided.worker_steps, workers)
        if decided.rule != rule:
            msg = (
                f"{where} was averaged by {decided.rule}; expected {rule}, which is the rule now: give rule= as it was"
            )
            raise DataError(msg)


def _of_rounds(rounds: Iterable[Any]) -> Iterator[tuple[int, Former]]:
    for each in rounds:
        if not isinstance(getattr(each, "decided", None), Decided):
            msg = f"averaged_sgd(): replay has a {type(each).__name__}; expected rounds of a training, or the path of its events"
            raise DataError(msg)
        yield each.index, Former(each.decided, each.loss)


def _of_events(path: Path) -> Iterator[tuple[int, Former]]:
    with open_regular(path) as file:
        *lines, _ = file.read().split(b"\n")  # what follows the last end of a line was not written to its end
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            if event["event"] == "round":
                yield event["index"], Former(Decided.read(event["decided"]), event["loss"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = (
                f"averaged_sgd(): {path}, line {number}: no event that can be replayed: {type(error).__name__}: {error}"
            )
            raise DataError(msg) from error


def _check_steps(where: str, steps: tuple[int | None, ...], workers: int) -> None:
    if len(steps) != workers:
        msg = f"{where} has steps of {len(steps)} workers; expected {workers}: events of another run?"
        raise DataError(msg)
    if not all(each is None or is_whole(each, 0) for each in steps) or all(each is None for each in steps):
        msg = f"{where} has the steps {list(steps)!r:.80}; expected a whole number for each worker, or null where one was left out"
        raise DataError(msg)
