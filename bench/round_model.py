"""A discrete-event model of rounds: what a round takes, and how much of the workers' time is steps, for up to 10,000 workers.

A round sends the weights to each worker, each takes its steps, and the results come back and are combined. The model knows bandwidth,
latency, the time of a step with its spread, slow workers, and workers that are lost. It knows three ways of the bytes:

- :func:`job_per_round`: a Spark job for each round; broadcast out, ``collect`` back, through the pipes between JVM and Python.
- :func:`star`: each worker is connected to the driver, which sends the weights to each and pulls the results slice by slice.
- :func:`sliced`: some workers each combine a part of the weights, of all workers, and send that part to all. It is not built.

``bench_round_model.py`` compares it with rounds that are measured; ``bench_round_table.py`` prints the table of the docs.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

BLOCK = 4 << 20  # bytes of a block of Spark's broadcast


class Clock:
    """Events, the next one first."""

    def __init__(self):
        self.now, self._events, self._count = 0.0, [], 0

    def after(self, seconds, event):
        heapq.heappush(self._events, (self.now + seconds, self._count, event))
        self._count += 1

    def run(self, is_over, latest):
        """Take events until it is over, or the next one is too late; say which."""
        while not is_over():
            self.now, _, event = heapq.heappop(self._events)
            if self.now > latest:
                return False
            event()
        return True


class Shared:
    """What all that use it have equal parts of, as a link or cores: ``total`` a second, and no more than ``each`` for one."""

    def __init__(self, clock, total, each):
        self._clock, self._total, self._each = clock, total, each
        self._given, self._since = (
            0.0,
            0.0,
        )  # to each that used it from the beginning on, and until when that is counted
        self._users, self._count, self._turn = [], 0, 0

    def take(self, amount, then):
        """Call ``then`` when so much was taken."""
        self._advance()
        heapq.heappush(self._users, (self._given + amount, self._count, then))
        self._count += 1
        self._wait()

    def _rate(self):
        return min(self._each, self._total / len(self._users))

    def _advance(self):
        if self._users:
            self._given += (self._clock.now - self._since) * self._rate()
        self._since = self._clock.now

    def _wait(self):
        self._turn += 1  # an event that waits is of an earlier turn from now on
        if self._users:
            left = max(0.0, self._users[0][0] - self._given)
            self._clock.after(left / self._rate(), partial(self._end, self._turn))

    def _end(self, turn):
        if turn != self._turn:
            return
        self._advance()
        self._given = max(self._given, self._users[0][0])  # rounding must not leave a rest
        ended = []
        while self._users and self._users[0][0] <= self._given * (1 + 1e-12):
            ended.append(heapq.heappop(self._users)[2])
        self._wait()
        for then in ended:
            then()


@dataclass(frozen=True)
class Costs:
    """What machines and code cost. Times in seconds, bandwidth in bytes a second, costs in seconds a byte.

    The defaults are for a cluster where each worker has a machine of its own. The costs of code are of the kind of machine that the
    docs' other figures are from; ``bench_round_model.py`` measures them anew.
    """

    bandwidth: float = 1.25e9  # of each machine's link, in each direction
    many: float = math.inf  # of all links together, where they are on one machine
    fixed: float = 0.002  # a round of messages without weights: threads that wait for each other
    message: float = 0.0003  # more for each worker: the machine that it is connected to handles its messages one by one
    sent: float = 0.07e-9  # driver, once: the message is made, with its checksum
    loaded: float = 0.35e-9  # worker: the message is checked, and the net takes the weights
    ready: float = 0.35e-9  # worker: the net gives its weights, and whether they are finite is looked at
    sliced: float = 0.1e-9  # worker: checksums, while results are pulled
    combined: float = 0.3e-9  # driver, for each worker: a result is checked and added
    stored: float = 0.3e-9  # driver, once, while results are pulled: the sum is divided and stored
    of_two: float = 0.6e-9  # driver, instead of these two where there are two results: their mean has a way of its own
    looked: float = 0.2e-9  # driver, once, after that: whether the mean is finite
    moved: float = 0.0  # cores, for each byte over a link; it counts where cores are few
    cores: float = math.inf  # of one machine that everything runs on
    job: float = 0.2  # an empty Spark job
    task: float = 0.002  # Spark's scheduler, for each task
    pipe: float = 6e-9  # a byte between JVM and Python, pickled and copied; one way. Of AlexNet's rounds on two executors; not measured apart

    def mean(self, workers):
        """Seconds a byte of the weights for the mean of so many results, of one core of the driver."""
        return self.of_two if workers == 2 else workers * self.combined + self.stored


@dataclass(frozen=True)
class Work:
    """What workers do in a round, and what happens to them."""

    nbytes: float
    tau: int = 1
    step: float = 0.1  # seconds
    spread: float = 0.0  # sigma of the logarithm of a worker's seconds, drawn for each round
    slow: float = 0.0  # part of the workers that is slow in a round
    slower: float = 1.0  # how many times as long these take
    slow_ones: tuple[int, ...] = ()  # workers that are slow in each round
    max_seconds: float = math.inf
    between_failures: float = math.inf  # seconds for one worker, on the average
    restart: float = 60.0  # seconds from a loss until another worker asks for the weights

    def seconds(self, worker, rng):
        """Seconds of a worker's steps in a round."""
        slow = worker in self.slow_ones or (self.slow and rng.random() < self.slow)
        factor = (self.slower if slow else 1.0) * (rng.lognormvariate(0, self.spread) if self.spread else 1.0)
        step = self.step * factor
        steps = self.tau if self.max_seconds == math.inf else min(self.tau, math.ceil(self.max_seconds / step))
        return steps * step


@dataclass(frozen=True)
class Way:
    """A way of the bytes, for so many workers and bytes: seconds, and (all together, each) bytes a second of links."""

    opening: float  # before weights leave
    out: tuple[float, float]
    messages: float  # between the weights for one worker and for the next
    loaded: float  # of one core
    ready: float  # of one core
    back: tuple[float, float] | None  # results go back one by one; None: all at once in the closing
    closing: float  # from when all are there until the round has ended
    cores: float


def star(costs, workers, nbytes):
    """Each worker is connected to the driver."""
    return sliced(costs, workers, nbytes, parts=1)


def sliced(costs, workers, nbytes, parts=None):
    """So many workers combine a part each; None: the number that takes the least time."""
    if parts is None:
        powers = [2**i for i in range(int(math.log2(workers)) + 1)]
        return min(
            (sliced(costs, workers, nbytes, each) for each in powers), key=lambda way: _least(way, workers, nbytes)
        )
    total = min(costs.many, parts * costs.bandwidth)
    moved, of_one, mean = workers * nbytes, nbytes / parts, costs.mean(workers)
    pulled = max(
        moved / total,
        nbytes / costs.bandwidth,
        nbytes * costs.sliced,
        of_one * mean,
        (moved * (costs.moved + costs.sliced) + nbytes * mean) / costs.cores,
    )
    messages = (costs.message / 2) * (1 + (parts - 1) / workers)  # a worker, too, handles those of all parts one by one
    return Way(
        opening=costs.fixed / 2 + of_one * costs.sent,
        out=(min(total, costs.cores / costs.moved if costs.moved else math.inf), costs.bandwidth),
        messages=messages,
        loaded=nbytes * costs.loaded,
        ready=nbytes * costs.ready,
        back=None,
        closing=costs.fixed / 2 + workers * messages + pulled + of_one * costs.looked,
        cores=costs.cores,
    )


def job_per_round(costs, workers, nbytes):
    """A Spark job for each round. Blocks of the broadcast go from executor to executor; results all go to the driver."""
    hops = 1 + math.log2(workers + 1) * min(BLOCK, nbytes) / nbytes
    return Way(
        opening=costs.job + nbytes * costs.pipe,
        out=(math.inf, costs.bandwidth / hops),
        messages=costs.task,
        loaded=nbytes * costs.pipe,
        ready=nbytes * costs.pipe,
        back=(min(costs.many, costs.bandwidth), costs.bandwidth),
        # the driver's pipe, one result after the other
        closing=workers * nbytes * costs.pipe + nbytes * (costs.stored + costs.looked),
        cores=costs.cores,
    )


def _least(way, workers, nbytes):
    """Seconds of the exchange where all workers are alike."""
    total, each = way.out
    return way.opening + workers * way.messages + max(workers * nbytes / total, nbytes / each) + way.closing


@dataclass(frozen=True)
class Found:
    """What came of rounds: seconds of one, and which part of the workers' time was what. The parts make 1."""

    seconds: float
    goodput: float  # steps whose results were averaged
    waiting: float  # for the slowest
    lost: float  # steps of workers that were lost
    exchange: float  # all else


class _Round:
    """One round."""

    def __init__(self, way, work, workers, rng):
        self._way, self._work, self._workers, self._rng = way, work, workers, rng
        self._clock = Clock()
        self._out = Shared(self._clock, *way.out)
        self._cores = Shared(self._clock, way.cores, 1.0)
        self._back = None if way.back is None else Shared(self._clock, *way.back)
        self._attempts, self._began, self._took = [0] * workers, [None] * workers, [0.0] * workers
        self._done = {}  # worker -> when
        self._closing, self._left, self._since = 0, way.closing, 0.0
        self._lost, self._is_over = 0.0, False

    def run(self, latest=math.inf):
        """Return its seconds, and the workers' seconds of steps, of waiting and of lost steps; infinite seconds if it takes too long."""
        for worker in range(self._workers):
            at = self._way.opening + (worker + 1) * self._way.messages
            self._clock.after(at, self._now(worker, self._send))
        self._await_failure()
        if not self._clock.run(lambda: self._is_over, latest):
            return math.inf, 0.0, 0.0, self._lost
        seconds, useful = self._clock.now, sum(self._took)
        last = max(self._done.values())
        waiting = sum(last - each for each in self._done.values())
        return seconds, useful, waiting, self._lost

    def _now(self, worker, event):
        """Return an event of the worker's present attempt: it does nothing once the worker is lost."""
        attempt = self._attempts[worker]
        return lambda: event(worker) if self._attempts[worker] == attempt else None

    def _send(self, worker):
        self._out.take(self._work.nbytes, self._now(worker, self._load))

    def _load(self, worker):
        self._cores.take(self._way.loaded, self._now(worker, self._train))

    def _train(self, worker):
        self._began[worker], self._took[worker] = self._clock.now, self._work.seconds(worker, self._rng)
        self._clock.after(self._took[worker], self._now(worker, self._make_ready))

    def _make_ready(self, worker):
        then = self._end if self._back is None else self._give_back
        self._cores.take(self._way.ready, self._now(worker, then))

    def _give_back(self, worker):
        self._back.take(self._work.nbytes, self._now(worker, self._end))

    def _end(self, worker):
        self._done[worker] = self._clock.now
        if len(self._done) == self._workers:
            self._since, self._closing = self._clock.now, self._closing + 1
            self._clock.after(self._left, partial(self._close, self._closing))

    def _close(self, closing):
        self._is_over = closing == self._closing and len(self._done) == self._workers

    def _await_failure(self):
        rate = self._workers / self._work.between_failures
        if rate:
            self._clock.after(self._rng.expovariate(rate), self._fail)

    def _fail(self):
        """Lose a worker. Another one takes the same steps; a result that was being pulled is pulled on from where it was."""
        self._await_failure()
        worker = self._rng.randrange(self._workers)
        if self._back is not None and worker in self._done:
            return  # with a job for each round, the driver has its result by then
        if len(self._done) == self._workers:
            self._left -= self._clock.now - self._since
        self._done.pop(worker, None)
        self._attempts[worker] += 1
        if self._began[worker] is not None:
            self._lost += min(self._clock.now - self._began[worker], self._took[worker])
        self._began[worker], self._took[worker] = None, 0.0
        self._clock.after(self._work.restart, self._now(worker, self._send))


def simulate(
    way: Callable[..., Way],
    costs: Costs,
    work: Work,
    workers: int,
    rounds: int = 20,
    seed: int = 0,
    latest: float = math.inf,
) -> Found:
    """Simulate rounds.

    Parameters
    ----------
    way
        :func:`job_per_round`, :func:`star` or :func:`sliced`.
    costs, work
        Of machines, and of workers.
    workers, rounds
        How many.
    seed
        Of what is drawn: step times, slow workers, losses.
    latest
        Seconds after which a round is given up: it takes infinite seconds then. Where workers are lost faster than the weights reach
        them, no round ends.

    Examples
    --------
    >>> found = simulate(star, Costs(bandwidth=1.25e9), Work(244e6, tau=100, step=0.1), workers=8, rounds=1)
    >>> round(found.seconds, 1), round(found.goodput, 2)
    (13.7, 0.73)
    """
    made = way(costs, workers, work.nbytes)
    if _least(made, workers, work.nbytes) > latest:
        return Found(math.inf, 0.0, 0.0, 0.0, 1.0)
    runs = []
    for i in range(rounds):
        runs.append(_Round(made, work, workers, Random(f"{seed} {i}")).run(latest))
        if runs[-1][0] == math.inf:
            return Found(math.inf, 0.0, 0.0, 0.0, 1.0)
    seconds, useful, waiting, lost = (math.fsum(each) for each in zip(*runs, strict=True))
    parts = [each / (workers * seconds) for each in (useful, waiting, lost)]
    return Found(seconds / rounds, *parts, exchange=1 - math.fsum(parts))


def enough(way: Callable[..., Way], costs: Costs, work: Work, least: float = 0.5) -> int:
    """Return up to how many workers a way leaves at least this part of the time to steps, with all workers alike; 0: not for one."""
    alike = replace(work, spread=0.0, slow=0.0, between_failures=math.inf)
    low, high = 0, 1 << 17
    while high - low > 1:
        middle = (low + high) // 2
        made = way(costs, middle, alike.nbytes)
        seconds = _least(made, middle, alike.nbytes) + made.loaded + made.ready + alike.tau * alike.step
        if made.back is not None:
            seconds += max(middle * alike.nbytes / made.back[0], alike.nbytes / made.back[1])
        low, high = (middle, high) if alike.tau * alike.step >= least * seconds else (low, middle)
    return low
