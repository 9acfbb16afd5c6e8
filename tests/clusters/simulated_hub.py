"""A hub without sockets, threads and clocks: the machines of the protocol, the real work of workers, and a time that dice decide.

Who is done when, how long a step takes, and who dies follow from the dice. What the machines decide is what they would decide over TCP.
"""

import heapq
import itertools
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

from sparknet.clusters.direct import exchange, sliced, worker
from sparknet.clusters.direct.session import DirectSession
from sparknet.transport import (
    Abandon,
    Answer,
    Begin,
    Combine,
    Done,
    DriverSide,
    Drop,
    End,
    GiveUp,
    Hello,
    Limits,
    Say,
    Send,
    Slice,
    Stop,
    Train,
    WorkerSide,
)
from sparknet.transport.parts import PeerLostError

LIMITS = Limits(beat=1e6, silence=1e7, join=1e6, grace=5.0)


def joined(data):
    """Return bytes, or a sequence of them, as one."""
    return bytes(data) if isinstance(data, bytes | memoryview) else b"".join(map(bytes, data))


class Offered:
    """What workers offer each other, of those that live: stands for :mod:`sparknet.transport.parts`."""

    def __init__(self):
        self.all, self.places, self.lacked = {}, itertools.count(1), 0
        self.at_work, self.owned = None, {}  # the latter: peer -> where it listens

    def offers(self, *_, **__):
        address = self.owned[self.at_work] = "worker", next(self.places)
        return SimulatedOffers(self.all, address)

    def dies(self, peer):
        self.all.pop(self.owned.pop(peer, None), None)

    def pulls(self, *_, **__):
        return self

    def in_step(self, sources, _is_wanted):
        """Yield the slices that were asked for, as sparknet.transport.parts.Pulls does."""
        for step in range(max((len(source.numbers) for source in sources), default=0)):
            yield [self._slice(source, step) for source in sources]

    def close(self):
        """There is nothing to close."""

    def _slice(self, source, step):
        if step >= len(source.numbers):
            return memoryview(b"")
        slices = self.all.get(source.address, {}).get(source.stage, ())
        if source.numbers[step] >= len(slices):
            self.lacked += 1
            raise PeerLostError(source.peer, "it is gone")
        return memoryview(joined(slices[source.numbers[step]]))


class SimulatedOffers:
    strangers = 0

    def __init__(self, everything, address):
        self.all, self.address = everything, address
        self.all[address] = {}

    def put(self, stage, slices):
        self.all[self.address][stage] = slices

    def forget(self, before):
        self.all[self.address] = {stage: each for stage, each in self.all[self.address].items() if stage >= before}

    def close(self):
        self.all.pop(self.address, None)


class SimulatedCluster:
    """A cluster of workers that take as long as the dice say.

    With ``offered`` they combine among themselves; it stands for the connections between them, once :meth:`patched` has put it there.
    """

    def __init__(self, dice, offered=None):
        self.dice, self.offered = dice, offered

    def patched(self, patch):
        for module in exchange, sliced:
            patch.setattr(module, "Pulls", self.offered.pulls)
        patch.setattr(exchange, "Offers", self.offered.offers)
        patch.setattr(exchange, "_host_towards", lambda _: "")
        return self

    def default_workers(self, _data):
        return 3

    @contextmanager
    def session(self, factory, data, workers, **_):
        works = [partial(self.work, factory, data, k, workers) for k in range(workers)]
        hub = SimulatedHub(self.dice, works, self.offered)
        aggregation = "star" if self.offered is None else "sliced"
        yield DirectSession(hub, workers, None, None, aggregation=aggregation, limits=LIMITS)

    def work(self, factory, data, shard, workers):
        """Return what a new worker of this shard does with the bytes of its work."""
        found = []
        before, worker.serve = worker.serve, lambda *_, do, **__: found.append(do)
        try:
            worker.serve_shard(
                None,
                shard,
                secret=bytes(32),
                limits=LIMITS,
                make_net=lambda: factory(seed=0),
                stored=data.shard(shard, workers),
                preprocessor=data.preprocessor,
            )
        finally:
            worker.serve = before
        return found[0]


class SimulatedHub:
    """What :class:`sparknet.transport.Hub` is to a session."""

    def __init__(self, dice, works, offered=None):
        self.dice, self.works, self.offered, self.now = dice, works, offered, 0.0
        self.machine = DriverSide(len(works), LIMITS, 0.0)
        self.events, self.order = [], itertools.count()  # what happens, by its time
        self.came = {}  # when the last message of a connection comes
        self.sides, self.does_work, self.results, self.peers = {}, {}, {}, itertools.count()
        for shard in range(len(works)):
            self.start(shard)

    @property
    def lost_work(self):
        return self.machine.lost_work

    strangers, key, credentials = 0, None, None

    @property
    def ignored(self):
        return self.machine.ignored

    @property
    def served(self):
        return self.machine.served

    def round(self, bodies, *, combine, begin=lambda _: None, kind="", **more):  # noqa: ARG002 - as a hub has it
        done, actions = {}, self.machine.open(bodies, self.now, **more)
        while True:
            for action in actions:
                match action:
                    case Begin(_, done):
                        begin(done)
                    case Combine(_, number, slices):
                        combine(number, tuple(map(memoryview, slices)))
                    case End():
                        return done
                    case GiveUp(error):
                        raise error
                    case Send(peer, message):
                        self.sent(self.heard_by_worker, peer, message)
                    case Drop(peer, _):
                        self.sides.pop(peer, None)
            actions = self.next()

    def at(self, later, event, *args):
        heapq.heappush(self.events, (self.now + later, next(self.order), event, args))

    def sent(self, event, peer, message):
        """Let a message come later, behind those that went the same way before."""
        came = max(self.now + self.dice.random() * 0.1, self.came.get((event, peer), 0.0))
        self.came[event, peer] = came
        heapq.heappush(self.events, (came, next(self.order), event, (peer, message)))

    def next(self):
        """Let the next thing happen; return what the machine asks for."""
        if self.events and self.events[0][0] <= self.machine.wake():
            self.now, _, event, args = heapq.heappop(self.events)
            return event(*args)
        self.now = self.machine.wake()
        return self.machine.tick(self.now)

    def start(self, shard):
        peer = next(self.peers)
        self.sides[peer] = (shard, WorkerSide(Hello(shard), LIMITS, self.now))
        self.does_work[peer] = self.works[shard]()
        self.at(self.dice.random(), self.heard_by_driver, peer, Hello(shard))

    def dies(self, peer):
        if peer not in self.sides:
            return []
        shard, _ = self.sides.pop(peer)
        if self.offered is not None:
            self.offered.dies(peer)
        self.start(shard)
        return self.machine.lost(peer, self.now)

    def heard_by_driver(self, peer, message):
        if peer not in self.sides:
            return []
        if isinstance(message, Hello):
            return self.machine.joined(peer, message, self.now)
        return self.machine.received(peer, message, self.now)

    def heard_by_worker(self, peer, message):
        if peer in self.sides:
            self.does(peer, self.sides[peer][1].received(message, self.now))
        return []

    def ends(self, peer, done):
        if peer in self.sides:
            self.does(peer, self.sides[peer][1].ended(done, self.now))
        return []

    def does(self, peer, actions):
        for action in actions:
            match action:
                case Say(message):
                    self.sent(self.heard_by_driver, peer, message)
                case Train(work):
                    body = memoryview(b"".join(bytes(part) for part in work.body))
                    if self.offered is not None:
                        self.offered.at_work = peer
                    result = self.does_work[peer](body, work.exactly, lambda: True)
                    self.results[peer] = result.slices
                    done = Done(work.round, result.steps, len(result.slices), result.result, result.notes)
                    self.at(self.dice.choice([0.0, 0.0, 0.1, 0.5, 20.0]), self.ends, peer, done)
                    if self.dice.random() < 0.1:
                        self.at(self.dice.random() * 2, self.dies, peer)
                case Answer(round_, number):
                    data = joined(self.results[peer][number])
                    self.sent(self.heard_by_driver, peer, Slice(round_, number, data))
                case Abandon() | Stop():
                    pass


def random_clock(dice):
    """Return what stands for the module ``time`` of a worker: its clock jumps, back too."""
    now = [0.0]

    def perf_counter():
        now[0] += dice.choice([0.0, 0.5, 2.0, 8.0, -0.5])
        return now[0]

    return SimpleNamespace(perf_counter=perf_counter)
