"""A discrete-event model of rounds: what a round takes, and how much of the workers' time is steps, for up to 10,000 workers.

A round sends the weights to each worker, each takes its steps, and the results come back and are combined. The model knows bandwidth,
latency, the time of a step with its spread, slow workers, and workers that are lost. Its ways of the bytes are in ``round_costs.py``.

``bench_round_model.py`` compares it with rounds that are measured; ``bench_round_table.py`` prints the table of the docs.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from round_costs import Costs, Way, undisturbed


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
        self._missing = set()  # workers whose part of the weights is lost
        self._waiting = []  # what is to be done once all parts are there
        self._done = {}  # worker -> when
        self._closing, self._left, self._since = 0, way.closing, 0.0
        self._lost, self._is_over = 0.0, False

    def run(self, latest=math.inf):
        """Return its seconds, and the workers' seconds of steps, of waiting and of lost steps; infinite seconds if it takes too long."""
        for worker in range(self._workers):
            at = self._way.opening + (worker + 1) * self._way.messages
            self._clock.after(at, self._now(worker, self._begin))
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

    def _begin(self, worker):
        self._with_all_parts(self._now(worker, self._send))

    def _send(self, worker):
        self._out.take(self._work.nbytes - self._way.part, self._now(worker, self._sent))

    def _sent(self, worker):
        self._with_all_parts(self._now(worker, self._load))

    def _load(self, worker):
        self._cores.take(self._way.loaded, self._now(worker, self._train))

    def _with_all_parts(self, then):
        """Call ``then`` once no part of the weights is lost: who has not got all of them waits for the worker that takes over."""
        self._waiting.append(then)
        self._go_on()

    def _go_on(self):
        if not self._missing:
            going, self._waiting = self._waiting, []
            for then in going:
                then()

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
        """Lose a worker. Another one takes the same steps.

        A result that was being pulled is pulled on from where it was; where workers combine, they begin anew.
        """
        self._await_failure()
        worker = self._rng.randrange(self._workers)
        if self._back is not None and worker in self._done:
            return  # with a job for each round, the driver has its result by then
        if len(self._done) == self._workers and not self._way.part:
            self._left -= self._clock.now - self._since
        self._done.pop(worker, None)
        self._attempts[worker] += 1
        if self._began[worker] is not None:
            self._lost += min(self._clock.now - self._began[worker], self._took[worker])
        self._began[worker], self._took[worker] = None, 0.0
        if self._way.part:
            self._missing.add(worker)
        back = self._work.restart + self._way.part / self._way.out[1]
        self._clock.after(back, self._now(worker, self._replace))

    def _replace(self, worker):
        self._missing.discard(worker)
        self._go_on()
        self._begin(worker)


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
        :func:`~round_costs.job_per_round`, :func:`~round_costs.star` or :func:`~round_costs.sliced`.
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
    >>> from round_costs import star
    >>> found = simulate(star, Costs(bandwidth=1.25e9), Work(244e6, tau=100, step=0.1), workers=8, rounds=1)
    >>> round(found.seconds, 1), round(found.goodput, 2)
    (13.4, 0.75)
    """
    made = way(costs, workers, work.nbytes)
    if undisturbed(made, workers, work.nbytes) > latest:
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
        seconds = undisturbed(made, middle, alike.nbytes) + made.loaded + made.ready + alike.tau * alike.step
        if made.back is not None:
            seconds += max(middle * alike.nbytes / made.back[0], alike.nbytes / made.back[1])
        low, high = (middle, high) if alike.tau * alike.step >= least * seconds else (low, middle)
    return low
