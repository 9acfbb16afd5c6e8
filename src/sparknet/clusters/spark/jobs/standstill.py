"""The rules for saying that a Spark job stands still, and the words. This module knows neither Spark nor a clock.

No time limit fits all jobs, so no job is ended. A task is called slow in comparison with the finished tasks of its stage.
If no task has finished, only the time that has passed is said, at intervals that double.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["RunningTask", "Stage", "Standstill"]

_SLOW = 30.0  # a task is compared with finished ones once it has run for so many seconds
_TIMES = 10  # "much longer" is so many times as long as the slowest finished one
_STILL = 60.0  # seconds without a finished task until that is said; then twice as many, and so on
_NAMED = 4  # a line names at most so many tasks

_ADVICE = (
    "If that is too long: `py-spy dump --pid PID`, run there, shows where a Python worker is, and the stderr of its executor has "
    "the Python stack of one whose minibatch takes much longer than those before. A process that was stopped (`ps` shows the "
    "state T) goes on after `kill -CONT PID`. {end} ends the job, and the session can be used again"
)


class RunningTask(NamedTuple):
    """A running task: its partition, how often it was tried before, where it runs, and for how many seconds."""

    partition: int
    attempt: int
    host: str
    executor: str
    seconds: float

    @property
    def where(self) -> str:
        """Where it runs, in words."""
        again = f", attempt {self.attempt + 1}" if self.attempt else ""
        return f"partition {self.partition} (for {self.seconds:.0f} s, on {self.host}, executor {self.executor}{again})"


class Stage(NamedTuple):
    """The progress of one attempt of a stage: its id and number, and its numbers of tasks: all, done, failed, running."""

    key: tuple[int, int]
    tasks: int
    done: int
    failed: int
    running: int


# Returns the running tasks of a stage in the order of their starts, and the seconds of its slowest finished task.
Closer = Callable[[Stage], tuple[Sequence[RunningTask], float]]


class Standstill:
    """What is to be said about a job, or a part of it, as time goes on.

    Parameters
    ----------
    caller
        The caller's function, for messages.
    now
        When the job began, in seconds of any clock.
    before
        The longest time without a finished task in the previous job of this function, if that succeeded.
    end
        How the user can end the job, for messages.
    """

    def __init__(self, caller: str, now: float, before: float = 0.0, end: str = "Ctrl-C") -> None:
        self.caller, self._end = caller, end
        self._first = self._next = max(_STILL, 2 * before)
        self._since, self._longest = now, 0.0
        self._state = set[tuple[tuple[int, int], int, int]]()
        self._began = dict[tuple[int, int], float]()
        self._slow = set[tuple[int, ...]]()
        self._is_advised = False

    def longest(self, now: float) -> float:
        """Return the longest time without a finished task; 0 if a task was much slower than others, because that is no measure."""
        return 0.0 if self._slow else max(self._longest, now - self._since)

    def words(self, now: float, stages: Sequence[Stage], closer: Closer) -> list[str]:
        """Return the lines about the stages that are active now. ``closer`` is called only where its answer may matter."""
        self._follow(now, stages)
        slow = [line for stage in stages for line in self._slow_tasks(now, stage, closer)]
        return [self._advised(line) for line in [*slow, *self._nothing_ends(now, stages, closer)]]

    def _follow(self, now: float, stages: Sequence[Stage]) -> None:
        """Note what has changed."""
        for stage in stages:
            self._began.setdefault(stage.key, now)
        state = {(stage.key, stage.done, stage.failed) for stage in stages}
        is_first = not self._state and not any(stage.done for stage in stages)  # it runs since the job began
        if not stages or (state != self._state and not is_first):
            self._longest = max(self._longest, now - self._since)
            self._since, self._next = now, self._first
        self._state = state

    def _slow_tasks(self, now: float, stage: Stage, closer: Closer) -> list[str]:
        """Name each task, once, that runs much longer than the finished tasks of its stage."""
        if not (stage.running and stage.done) or now - self._began[stage.key] < _SLOW:
            return []
        running, slowest = closer(stage)
        found = [task for task in running if task.seconds > max(_SLOW, _TIMES * slowest)]
        new = [task for task in found if (*stage.key, task.partition, task.attempt) not in self._slow]
        self._slow.update((*stage.key, task.partition, task.attempt) for task in new)
        done = f"{stage.done} of {stage.tasks} partitions are done, and took {slowest:.1f} s at most"
        return [f"{self.caller}: still computes {_named(new)}; {done}"] if new else []

    def _nothing_ends(self, now: float, stages: Sequence[Stage], closer: Closer) -> list[str]:
        """Say for how long no task has ended, each time that this time has doubled."""
        waited = now - self._since
        if not stages or waited < self._next:
            return []
        while self._next <= waited:
            self._next *= 2
        return [f"{self.caller}: {self._how_far(stage, waited, closer)}" for stage in stages]

    @staticmethod
    def _how_far(stage: Stage, waited: float, closer: Closer) -> str:
        so_far = f"no task has ended for {waited:.0f} s; {stage.done} of {stage.tasks} partitions are done"
        if not stage.running:
            return (
                f"{so_far}, and none is computed: Spark has no free core for them, because other jobs have them all or its "
                "executors are gone"
            )
        running, slowest = closer(stage)
        took = f", and took {slowest:.1f} s at most" if stage.done else ""
        return f"{so_far}{took}; it computes {_named(running)}{_more(stage.running - _NAMED)}"

    def _advised(self, line: str) -> str:
        """Return the line; the first one of a job with advice on what to do."""
        advice = "" if self._is_advised else f". {_ADVICE.format(end=self._end)}"
        self._is_advised = True
        return line + advice


def _named(tasks: Sequence[RunningTask]) -> str:
    return ", ".join(task.where for task in tasks[:_NAMED])


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""
