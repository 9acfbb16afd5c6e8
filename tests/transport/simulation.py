"""A driver and its workers over a network and a clock that are simulated: every order of events can be had, and had again.

Connections keep the order of what is sent on them, as TCP does; between connections there is none. A worker may die with its
connection (the driver is told), die without (the driver is not told: half open), or stand still. What a worker computes is a pure
function of the work, and sums of it depend on the order of the terms, so that a wrong order shows in the bits.
"""

import random
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from sparknet.errors import ClusterError, SparknetError
from sparknet.training.pace import Averages, Pace
from sparknet.transport import (
    Abandon,
    Answer,
    Begin,
    Combine,
    Done,
    DriverSide,
    Drop,
    End,
    Enough,
    GiveUp,
    Hello,
    Limits,
    RunAgain,
    Say,
    Send,
    Slice,
    Stop,
    Train,
    WorkerSide,
)

LIMITS = Limits(beat=1.0, silence=10.0, join=10_000.0, grace=2.0, tries=3, window=2, spare=3.0)
SLICES = 4
STEPS = 10
STEP = 1.0  # seconds between the events of a quiet end


def trained(weights: tuple[float, ...], shard: int, steps: int) -> tuple[float, ...]:
    """Return what a worker makes of the weights: numbers of very different sizes, so that a sum depends on its order.

    Every other shard has a slice less, as a result without a solver's history has.
    """
    weights = (*weights, *[0.0] * (SLICES - len(weights)))[: SLICES - shard % 2]
    return tuple(w * 0.9 + steps * 10.0 ** (shard * 8 - 4) / (3 + j) for j, w in enumerate(weights))


def undisturbed(took_part: list[tuple[int, ...]]) -> tuple[float, ...]:
    """Return the weights after rounds in which nothing happens, and these shards take part."""
    return replayed([dict.fromkeys(shards, STEPS) for shards in took_part])


def replayed(decided: list[dict[int, int]]) -> tuple[float, ...]:
    """Return the weights after rounds in which nothing happens, and these shards take so many steps."""
    weights = (0.0,) * SLICES
    for steps in decided:
        weights = mean([trained(weights, shard, steps[shard]) for shard in sorted(steps)])
    return weights


def mean(results: list[tuple[float, ...]]) -> tuple[float, ...]:
    """Return the mean, summed in the order given."""
    columns = [[each for each in values if each is not None] for values in zip_longest(*results)]
    return tuple(sum(values[1:], values[0]) / len(values) for values in columns)


def counts_by_bits(said: Done) -> bool:
    """Say of about every other result that it does not count: it depends on the last bit of its first number."""
    return said.result[0] % 2 == 0


class LawBrokenError(Exception):
    """A run has come to what must not be, such as other bits."""


def hold(is_so: bool, law: str):
    """Raise a LawBrokenError unless it is so. A fault of the machine itself, such as a KeyError, is another one."""
    if not is_so:
        raise LawBrokenError(law)


@dataclass
class Process:
    """A worker process with its connection."""

    side: WorkerSide
    shard: int
    session: int  # which driver it connected to
    to_worker: deque = field(default_factory=deque)
    to_driver: deque = field(default_factory=deque)
    work: object = None  # what it computes
    result: tuple[float, ...] = ()
    is_alive: bool = True
    stands: bool = False
    slow: int = 0  # quiet turns in which it does not end its work
    late: int = 0  # quiet turns in which nothing of it reaches the driver, once it has ended its work
    is_open: bool = True  # the driver's end of the connection


class World:
    """All of it, at one time."""

    def __init__(
        self,
        shards: int,
        rounds: int,
        deadline: Any = None,
        driver: type[DriverSide] = DriverSide,
        *,
        quorum: int = 1,
        clocks: random.Random | None = None,
        counts: Callable[[Done], bool] = lambda _: True,
    ):
        self.shards, self.rounds, self.deadline, self.kind = shards, rounds, deadline, driver
        self.quorum, self.counts = quorum, counts  # the latter: whether a result is one of those that are enough
        self.clocks = clocks  # decide how many steps a worker takes, how many workers are enough, and for how long the others are waited for
        self.now, self.session = 0.0, 0
        self.processes: dict[int, Process] = {}
        self.kept = (0, (0.0,) * SLICES)  # the checkpoint: rounds finished, weights
        self.error: SparknetError | None = None
        self.took_part: list[tuple[int, ...]] = []  # of each finished round
        self.decided: list[dict[int, int]] = []  # and the steps of each
        self.seen: set[str] = set()  # kinds of what the driver asked for
        self.start_driver()

    # The driver and what it asks for

    def start_driver(self):
        """Start a driver from the checkpoint; all of the workers of one before lose their connections."""
        for process in self.processes.values():
            process.is_open = False
            process.to_driver.clear()
        self.session += 1
        self.finished: set[int] = set()  # shards whose task has finished
        self.driver = self.kind(self.shards, LIMITS, self.now)
        self.sums: dict[int, float] = {}
        self.open()

    def open(self):
        if self.kept[0] == self.rounds:
            self.act(self.driver.close(self.now))
            return
        bodies = dict.fromkeys(range(self.shards), self.kept[1])
        late = self.deadline
        if self.clocks is not None:
            self.quorum, late = self.clocks.randint(1, self.shards), self.grace
        elif late is not None and not callable(late):
            late += self.now
        enough = None if late is None else Enough(self.quorum, self.counts)
        self.act(self.driver.open(bodies, self.now, deadline=late, quorum=enough))

    def grace(self, done, waited):
        """Return for how long late workers are waited for, as the driver of a training does."""
        hold(waited >= 0, "the wait for late workers began in the future")
        seconds = {shard: self.clocks.choice([0.0, 0.1, 1.0, float("nan"), -1.0]) for shard in done}
        return Pace(STEPS, None, 1).grace(Averages((None,) * self.shards), seconds, waited)

    def act(self, actions):
        for action in actions:
            self.seen.add(type(action).__name__)
            match action:
                case Send(peer, message):
                    self.processes[peer].to_worker.append(message)
                case Drop(peer, _):
                    self.cut(peer)
                case Combine(_, number, slices):
                    hold(number not in self.sums, "a slice is combined twice")
                    values = [struct.unpack("d", data)[0] for data in slices if data]
                    hold(len(values) == sum(number < SLICES - shard % 2 for shard in self.part), "a slice is empty")
                    self.sums[number] = sum(values[1:], values[0]) / len(values)
                case Begin(_, done):
                    enough = sum(map(self.counts, done.values())) >= self.quorum
                    hold(
                        enough or len(done) == self.shards,
                        "a round goes on with fewer results that count than are enough",
                    )
                    self.seen |= {"Begin again"} if self.sums else set()
                    self.sums, self.part = {}, tuple(done)
                    self.steps = {shard: said.steps for shard, said in done.items()}
                case End():
                    count = max(SLICES - shard % 2 for shard in self.part)
                    hold(sorted(self.sums) == list(range(count)), "a slice was lost")
                    self.took_part.append(self.part)
                    self.decided.append(self.steps)
                    self.kept = (self.kept[0] + 1, tuple(self.sums[j] for j in range(count)))
                    self.sums = {}
                    self.open()
                case RunAgain():
                    pass  # settle() starts what is missing
                case GiveUp(error):
                    self.error = error

    @property
    def is_over(self) -> bool:
        return self.error is not None or self.kept[0] == self.rounds

    # What can happen

    def start(self, shard: int) -> int:
        """Start a worker process for a shard."""
        number = len(self.processes)
        process = Process(WorkerSide(Hello(shard), LIMITS, self.now), shard, self.session)
        self.processes[number] = process
        self.does(process, process.side.begin())
        return number

    def does(self, process: Process, actions):
        for action in actions:
            match action:
                case Say(message):
                    process.to_driver.append(message)
                case Train(work):
                    process.work, process.result = work, ()
                case Answer(round_, number):
                    process.to_driver.append(Slice(round_, number, struct.pack("d", process.result[number])))
                case Abandon():
                    process.work, process.result = None, ()
                case Stop(_, is_lost):
                    self.die(process)
                    if not is_lost and process.session == self.session:
                        self.finish(process.shard)

    def finish(self, shard: int):
        """A task has finished: Spark ends the other attempts at it, and starts none again."""
        self.finished.add(shard)
        for other in self.processes.values():
            if other.shard == shard and other.session == self.session and other.is_alive:
                self.die(other)

    def die(self, process: Process, *, is_seen: bool = True):
        """End a process; the driver's end of the connection is told, or not."""
        process.is_alive = False
        process.to_worker.clear()
        if is_seen:
            process.to_driver.append(None)  # the end of the stream, behind what was sent
        else:
            process.to_driver.clear()

    def cut(self, number: int):
        """Close the driver's end of a connection."""
        process = self.processes[number]
        process.is_open = False
        process.to_driver.clear()

    def compute(self, process: Process):
        """Let a worker end its work."""
        if process.is_alive and not process.stands and process.work is not None:
            work, process.work = process.work, None
            by_itself = STEPS if self.clocks is None else self.clocks.randint(1, STEPS)
            steps = by_itself if work.exactly is None else work.exactly
            process.result = trained(work.body, process.shard, steps)
            count = len(process.result)
            result = struct.pack(f"{count}d", *process.result)
            self.does(process, process.side.ended(Done(work.round, steps, count, result), self.now))

    def to_driver(self, number: int, *, twice: bool = False):
        """Deliver the next message of a worker's to the driver, once or twice."""
        process = self.processes[number]
        if not process.to_driver or not process.is_open or process.session != self.session:
            process.to_driver.clear()
            return
        message = process.to_driver.popleft()
        if message is None:
            process.is_open = False
            self.act(self.driver.lost(number, self.now))
            return
        for _ in range(2 if twice else 1):
            if isinstance(message, Hello):
                self.act(self.driver.joined(number, message, self.now))
            else:
                self.act(self.driver.received(number, message, self.now))

    def to_worker(self, number: int, *, twice: bool = False):
        """Deliver the next message of the driver's to a worker, once or twice; or the end of the stream, if the driver has closed it."""
        process = self.processes[number]
        if not process.is_alive or process.stands:
            return
        if process.to_worker:
            message = process.to_worker.popleft()
            for _ in range(2 if twice else 1):
                self.does(process, process.side.received(message, self.now))
        elif not process.is_open:
            self.does(process, process.side.lost())

    def pass_time(self, seconds: float):
        """Let time pass."""
        self.now += seconds
        self.act(self.driver.tick(self.now))
        for process in list(self.processes.values()):
            if process.is_alive and not process.stands:
                self.does(process, process.side.tick(self.now))

    def job_fails(self):
        """Let the job of the workers fail."""
        for process in self.processes.values():
            if process.is_alive and process.session == self.session:
                self.die(process, is_seen=False)
        self.act(self.driver.job_failed(ClusterError("the job failed"), self.now))

    # A quiet end

    def settle(self, *, twice: bool = False):
        """Let nothing more go wrong: the run has to end."""
        for process in self.processes.values():
            process.stands = False
        for _ in range(300):
            if self.is_over:
                break
            for shard in range(self.shards):
                if shard not in self.finished and not any(
                    p.is_alive and p.shard == shard and p.session == self.session for p in self.processes.values()
                ):
                    self.start(shard)
            self.quiet_turn(twice=twice)
            self.pass_time(STEP)
        hold(self.is_over, f"it does not end; waited for: {self.driver.waiting(self.now)}")
        for _ in range(20):  # every worker ends too
            self.quiet_turn()
            self.pass_time(STEP)
        hold(not any(p.is_alive for p in self.processes.values()), "a worker goes on after the end")

    def quiet_turn(self, *, twice: bool = False):
        """Deliver all that is under way, and let all work end; each message is heard once, or twice."""
        for number in list(self.processes):
            process = self.processes[number]
            while process.to_worker and process.is_alive and not process.stands:
                self.to_worker(number, twice=twice)
            if not process.is_open:
                self.to_worker(number)
            if process.slow and process.work is not None:
                process.slow -= 1
            else:
                self.compute(process)
            if process.late and process.to_driver and (process.result or process.to_driver[0] is None):
                process.late -= 1
                continue
            while process.to_driver and process.is_open:
                self.to_driver(number, twice=twice)
