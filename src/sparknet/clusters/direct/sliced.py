"""The driver's end of sliced aggregation: over its link goes one model out and one back, however many workers there are.

Each worker is sent a part of the start, gets the others' parts of them, and keeps its result. Then each combines a part of all results, in
the order of the workers, and the driver gets the combined parts. So the bits are those of a round whose results all come to the driver.

What is asked of workers are small pieces of work over the hub, so a worker that is lost is replaced as in any other round. Whoever takes its
place has nothing: the others say that they lack what it had; then it is given its part of the start, and trains, once more.
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from sparknet.clusters.direct.bodies import packed_up
from sparknet.clusters.direct.exchange import COMBINE, GIVE, PHASE, TRAIN, cut
from sparknet.clusters.direct.payload import whole
from sparknet.clusters.direct.results import Results
from sparknet.errors import ClusterError, DataError
from sparknet.transport import Done, Hub
from sparknet.transport.parts import PeerLostError, Pulls, Source

__all__ = ["Aggregation", "Sliced", "SlicedRound", "UnreachableError", "check_aggregation"]

Aggregation: TypeAlias = Literal["star", "sliced"]

_LOG = logging.getLogger(__name__)
_TRIES = 4  # of what workers cannot do because they lack what another one had
_WHOLE = (
    "aggregation='sliced': workers combine for Mean, WeightedMean and Median, and for outer rules over these, on weights that are alike on "
    "all workers; the rule of this training gets whole results on the driver, over whose link all of them come"
)


class UnreachableError(ClusterError):
    """Workers do not reach each other."""


def check_aggregation(where: str, aggregation: Any) -> None:
    """Raise a DataError unless this is a way of aggregation."""
    if aggregation not in get_args(Aggregation):
        msg = f"{where}: aggregation={aggregation!r}; expected 'star' (the driver combines) or 'sliced' (each worker combines a part)"
        raise DataError(msg)


class Sliced:
    """The driver's end for one session.

    Parameters
    ----------
    hub
        That the workers are connected to.
    workers
        How many.
    silence
        Seconds without a byte after which a worker is taken for lost.
    checked
        Called with what the workers said, each time that they have done what they were asked.
    """

    def __init__(self, hub: Hub, workers: int, silence: float, checked: Callable[[Mapping[int, Done]], object]) -> None:
        self.hub, self.workers, self.checked = hub, workers, checked
        self.pulls = Pulls(-1, hub.credentials, silence=silence)
        self.places: dict[int, tuple[str, int]] = {}  # where each worker listened when it was last heard
        self._strangers: dict[tuple[str, int], int] = {}  # of each place
        self.is_off = False  # workers did not reach each other
        self._stage = 0
        self._told = set[str]()

    @property
    def strangers(self) -> int:
        """Connections to workers that did not prove themselves."""
        return sum(self._strangers.values())

    def next_stage(self) -> int:
        """Return the first of the next numbers, one for each worker; none of an earlier round comes again."""
        self._stage += self.workers
        return self._stage

    def asked(self, bodies: Mapping[int, Any], **options: Any) -> tuple[dict[int, Done], dict[int, tuple[int, str]]]:
        """Let workers do something; return what those said that could, and of each other one which worker it needs, and why."""
        done = self.hub.round(bodies, combine=lambda _, __: None, **options)
        self.checked(done)
        able, unable = dict[int, Done](), dict[int, tuple[int, str]]()
        for worker, said in done.items():
            notes = json.loads(said.notes)
            if "at" in notes:
                host, port = notes["at"]
                self.places[worker] = host, port
                self._strangers[host, port] = notes["strangers"]
            if "lacks" in notes:
                unable[worker] = notes["lacks"], notes["why"]
            else:
                able[worker] = said
        return able, unable

    def say(self, line: str) -> None:
        """Say something once in a session."""
        if line not in self._told:
            self._told.add(line)
            _LOG.warning("%s", line)


@dataclass
class SlicedRound:
    """One round.

    Parameters
    ----------
    session
        Of which it is one.
    start
        Bytes that all workers begin with, a sequence of them.
    holders
        The workers that get a part of them.
    tasks
        Worker -> facts of its work.
    results
        Gets what comes of it.
    """

    session: Sliced
    start: Sequence[Any]
    holders: Sequence[int]
    tasks: Mapping[int, dict[str, Any]]
    results: Results
    done: dict[int, Done] = field(default_factory=dict)
    lost: float = 0.0  # seconds of steps whose results were lost
    pulled: int = 0  # bytes that came to the driver

    def __post_init__(self) -> None:
        key = self.session.hub.key
        self._common = {"key": None if key is None else key.decode(), "peers": self.session.workers}
        views = [memoryview(part).cast("B") for part in self.start]
        self.nbytes = sum(map(len, views))
        self._parts = [_between(views, part) for part in cut(self.nbytes, len(self.holders))]
        self._stage = self.session.next_stage()
        self._stages: dict[int, int] = {}  # worker -> number of its result

    def run(self, **early: Any) -> None:
        """Run it. ``early`` is what the hub is told about workers that come late.

        Raises
        ------
        UnreachableError
            A worker does not get what another one has.
        """
        self._give(self.holders)
        self._train(self.tasks, **early)
        for _ in range(_TRIES):
            self.results.begin(self.done)
            if not (unable := self._brought()):
                return
            again = {peer for peer, _ in unable.values()}
            self.lost += sum(json.loads(self.done[worker].notes)["seconds"] for worker in again if worker in self.done)
            self._give(again)
            self._train(again)
        raise _unreachable(unable)

    def _give(self, workers: Collection[int]) -> None:
        """Give workers their parts of the start; who is no holder has none."""
        places = {worker: place for place, worker in enumerate(self.holders)}
        facts = {PHASE: GIVE, **self._common, "forget": self._stage}
        bodies = {
            worker: packed_up({**facts, "stage": self._stage + worker}, [self._parts[places[worker]]])
            for worker in workers
            if worker in places
        }
        _, unable = self.session.asked(bodies, kind="start") if bodies else ({}, {})
        if unable:
            raise _unreachable(unable)

    def _train(self, workers: Collection[int], **early: Any) -> None:
        """Let workers train, until all of them have what they need for it."""
        for _ in range(_TRIES):
            stage = self.session.next_stage()
            holders = [[worker, *self.session.places[worker], self._stage + worker] for worker in self.holders]
            facts = {PHASE: TRAIN, **self._common, "start": {"bytes": self.nbytes, "holders": holders}}
            bodies = {
                worker: packed_up({**facts, **self.tasks[worker], "stage": stage + worker}, []) for worker in workers
            }
            able, unable = self.session.asked(bodies, **early)
            self.done = dict(sorted({**self.done, **able}.items()))
            self._stages.update((worker, stage + worker) for worker in able)
            if not unable:
                return
            self._give({peer for peer, _ in unable.values()})
            workers, early = unable, {}
        raise _unreachable(unable)

    def _brought(self) -> dict[int, tuple[int, str]]:
        """Bring what comes of the results; return which workers lack something, and the driver as -1."""
        try:
            told = self.results.told()
            return self._whole() if told is None else self._combined(told)
        except PeerLostError as error:
            return {-1: (error.peer, error.reason)}

    def _combined(self, told: Sequence[Any]) -> dict[int, tuple[int, str]]:
        """Let workers combine, and pull what they have combined."""
        stage, size, nbytes = self.session.next_stage(), self.results.size, self.results.longest
        places = {worker: self.session.places[worker] for worker in self.done}
        taking_part = [[worker, *places[worker], self._stages[worker]] for worker in self.results.taking_part]
        shares = dict(zip(self.done, cut(-(-nbytes // size), len(self.done)), strict=True))
        facts = {PHASE: COMBINE, **self._common, "size": size, "bytes": nbytes, "told": told, "results": taking_part}
        bodies = {
            worker: packed_up({**facts, "stage": stage + worker, "numbers": [share.start, share.stop]}, [])
            for worker, share in shares.items()
        }
        _, unable = self.session.asked(bodies, kind="combining")
        if unable:
            return unable
        sources = [
            Source(worker, self.session.places[worker], stage + worker, range(len(share)))
            for worker, share in shares.items()
        ]
        for step, slices in enumerate(self.session.pulls.in_step(sources, lambda: True)):
            for (worker, share), received in zip(shares.items(), slices, strict=True):
                if received:
                    self.pulled += len(received)
                    self.results.put(share.start + step, whole(received, worker, share.start + step))
        return {}

    def _whole(self) -> dict[int, tuple[int, str]]:
        """Pull all results."""
        self.session.say(_WHOLE)
        sources = [
            Source(worker, self.session.places[worker], self._stages[worker], range(json.loads(said.notes)["slices"]))
            for worker, said in self.done.items()
        ]
        for number, slices in enumerate(self.session.pulls.in_step(sources, lambda: True)):
            self.pulled += sum(map(len, slices))
            self.results.take(number, tuple(slices))
        return {}


def _between(views: Sequence[memoryview], numbers: range) -> list[memoryview]:
    """Return the bytes with these numbers of a sequence of views."""
    found, at = list[memoryview](), 0
    for view in views:
        first, last = max(numbers.start, at), min(numbers.stop, at + len(view))
        if first < last:
            found.append(view[first - at : last - at])
        at += len(view)
    return found


def _unreachable(unable: Mapping[int, tuple[int, str]]) -> UnreachableError:
    worker, (peer, reason) = next(iter(unable.items()))
    if worker == peer:
        return UnreachableError(f"worker {worker}: {reason}")
    who = "the driver" if worker < 0 else f"worker {worker}"
    return UnreachableError(f"{who} does not get what worker {peer} has: {reason}")
