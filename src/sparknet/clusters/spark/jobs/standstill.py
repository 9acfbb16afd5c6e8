"""When a job of Spark is said to stand still, and in which words. It knows neither Spark nor a clock.

No time is right for all jobs, so none of them fails here: what is long is measured by the tasks of the same stage that are done.
Where there are none, only how long it has been is said, at times that double.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["Stage", "Standstill", "Task"]

_SLOW = 30.0  # seconds that a task runs, at least, until it is compared with those that are done
_TIMES = 10  # as long as the slowest of these is much longer than they took
_STILL = 60.0  # seconds without a task that ends, until that is said; then twice as many, and so on
_NAMED = 4  # tasks that a line names, at most

_ADVICE = (
    "If that is too long: `py-spy dump --pid PID`, run there, shows where a Python worker is, and the stderr of its executor has "
    "the Python stack of one whose minibatch takes much longer than those before. A process that was stopped (`ps` shows the "
    "state T) goes on after `kill -CONT PID`. {end} ends the job, and the session can be used again"
)


class Task(NamedTuple):
    """A task that runs: its partition, how often it was tried before, where it runs, and for how many seconds."""

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
    """How far an attempt of a stage is: its id and number, and how many of its tasks there are, and are what."""

    key: tuple[int, int]
    tasks: int
    done: int
    failed: int
    running: int


# Returns the tasks of a stage that run, the first one started first, and the seconds of the slowest that is done.
Closer = Callable[[Stage], tuple[Sequence[Task], float]]


class Standstill:
    """What is to be said of a job, or a part of it, as time goes on.

    Parameters
    ----------
    who
        The caller's function, for messages.
    now
        When it began, in seconds of any clock.
    before
        The longest time without a task that ended in the last job of this function, which ended well.
    end
        What ends the job, for messages.
    """

    def __init__(self, who: str, now: float, before: float = 0.0, end: str = "Ctrl-C") -> None:
        self.who, self._end = who, end
        self._first = self._next = max(_STILL, 2 * before)
        self._since, self._longest = now, 0.0
        self._state = set[tuple[tuple[int, int], int, int]]()
        self._began = dict[tuple[int, int], float]()
        self._slow = set[tuple[int, ...]]()
        self._is_advised = False

    def longest(self, now: float) -> float:
        """Return the longest time without a task that ended; 0 if a task was much slower than others: that is no measure."""
        return 0.0 if self._slow else max(self._longest, now - self._since)

    def words(self, now: float, stages: Sequence[Stage], closer: Closer) -> list[str]:
        """Return what is to be said of the stages that are active now; ``closer`` is asked only where it may matter."""
        self._follow(now, stages)
        slow = [line for stage in stages for line in self._slow_tasks(now, stage, closer)]
        return [self._advised(line) for line in [*slow, *self._nothing_ends(now, stages, closer)]]

    def _follow(self, now: float, stages: Sequence[Stage]) -> None:
        """Take note of what has changed."""
        for stage in stages:
            self._began.setdefault(stage.key, now)
        state = {(stage.key, stage.done, stage.failed) for stage in stages}
        is_first = not self._state and not any(stage.done for stage in stages)  # it runs since the job began
        if not stages or (state != self._state and not is_first):
            self._longest = max(self._longest, now - self._since)
            self._since, self._next = now, self._first
        self._state = state

    def _slow_tasks(self, now: float, stage: Stage, closer: Closer) -> list[str]:
        """Name each task, once, that runs much longer than those of its stage that are done."""
        if not (stage.running and stage.done) or now - self._began[stage.key] < _SLOW:
            return []
        running, slowest = closer(stage)
        found = [task for task in running if task.seconds > max(_SLOW, _TIMES * slowest)]
        new = [task for task in found if (*stage.key, task.partition, task.attempt) not in self._slow]
        self._slow.update((*stage.key, task.partition, task.attempt) for task in new)
        done = f"{stage.done} of {stage.tasks} partitions are done, and took {slowest:.1f} s at most"
        return [f"{self.who}: still computes {_named(new)}; {done}"] if new else []

    def _nothing_ends(self, now: float, stages: Sequence[Stage], closer: Closer) -> list[str]:
        """Say for how long no task has ended, each time that it is twice as long."""
        waited = now - self._since
        if not stages or waited < self._next:
            return []
        while self._next <= waited:
            self._next *= 2
        return [f"{self.who}: {self._how_far(stage, waited, closer)}" for stage in stages]

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
        """Return the line, with what can be done if it is the first one."""
        advice = "" if self._is_advised else f". {_ADVICE.format(end=self._end)}"
        self._is_advised = True
        return line + advice


def _named(tasks: Sequence[Task]) -> str:
    return ", ".join(task.where for task in tasks[:_NAMED])


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""
