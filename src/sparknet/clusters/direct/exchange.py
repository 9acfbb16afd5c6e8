"""The workers' end of sliced aggregation: a worker gets the start of a round from the others, and combines a part of the results.

Each piece of work is small and says what to do; the weights go from worker to worker. A worker that cannot get what it needs says of which
worker, and the driver decides what follows (:mod:`.sliced`). With a worker nothing is lost but its own work: the driver has the start.
"""

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from sparknet.clusters.direct.bodies import SLICE, unpacked
from sparknet.clusters.direct.combining import taken
from sparknet.clusters.direct.payload import of_bytes, whole
from sparknet.serialization.memory.buffers import aligned
from sparknet.transport import Credentials, Limits, Result
from sparknet.transport.parts import NotWantedError, Offers, PeerLostError, Pulls, Source
from sparknet.transport.serving import Do

__all__ = ["COMBINE", "GIVE", "PHASE", "TRAIN", "Exchange", "cut"]

# The fact that says what a piece of work is: to take a part of the start, to train, or to combine a part of the results.
PHASE = "phase"
GIVE, TRAIN, COMBINE = "give", "train", "combine"


def cut(count: int, parts: int) -> list[range]:
    """Return the numbers from 0 to ``count`` in so many parts, of which none has more than one number more than another.

    Examples
    --------
    >>> cut(5, 3)
    [range(0, 1), range(1, 3), range(3, 5)]
    """
    return [range(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


class Exchange:
    """What a worker has of the others, and for them.

    Parameters
    ----------
    shard
        That it serves.
    driver
        Where the driver listens. The worker listens on the same network, on any free port, once there is something for others.
    credentials, limits
        Of the session.
    """

    def __init__(self, shard: int, driver: tuple[str, int], credentials: Credentials, limits: Limits) -> None:
        self._shard, self._driver, self._credentials, self._limits = shard, driver, credentials, limits
        self._pulls = Pulls(shard, credentials, silence=limits.silence)
        self._offers: Offers | None = None

    def doing(self, work: Callable[..., Result | None]) -> Do:
        """Return what does a piece of work, of sliced aggregation or any other. ``work`` does the latter, and trains, from facts and messages."""

        def do(body: memoryview, exactly: int | None, is_wanted: Callable[[], bool]) -> Result | None:
            if not is_wanted():  # it has waited behind other work of a round that did not wait for this worker
                return None
            facts, messages = unpacked(body)
            body.release()  # what of it is needed, the messages hold
            its_work = partial(work, exactly=exactly, is_wanted=is_wanted)
            return self._done(facts, messages, is_wanted, its_work) if PHASE in facts else its_work(facts, messages)

        return do

    def _done(
        self,
        facts: dict[str, Any],
        messages: list[memoryview],
        is_wanted: Callable[[], bool],
        work: Callable[[dict[str, Any], list[memoryview]], Result | None],
    ) -> Result | None:
        try:
            if facts[PHASE] == GIVE:
                return self._taken(facts, messages[0])
            if facts[PHASE] == TRAIN:
                return self._trained(facts, is_wanted, work)
            return self._combined(facts, is_wanted)
        except NotWantedError:
            return None
        except PeerLostError as error:
            return self._said(lacks=error.peer, why=error.reason)

    def close(self) -> None:
        """End all connections to other workers."""
        self._pulls.close()
        if self._offers is not None:
            self._offers.close()

    def _taken(self, facts: dict[str, Any], part: memoryview) -> Result:
        """Take a part of the start of a round, for all workers. What was offered in earlier rounds is not, any more."""
        offers = self._opened(facts)
        offers.forget(before=facts["forget"])
        offers.put(facts["stage"], [part[first : first + SLICE] for first in range(0, len(part), SLICE)])
        return self._said()

    def _opened(self, facts: dict[str, Any]) -> Offers:
        """Return what this worker offers; the first time, listen for others."""
        if self._offers is None:
            key = facts["key"]
            try:
                self._offers = Offers(
                    _host_towards(self._driver),
                    secret=self._credentials.secret,
                    key=None if key is None else key.encode(),
                    peers=facts["peers"],
                    silence=self._limits.silence,
                )
            except OSError as error:
                raise PeerLostError(self._shard, f"it cannot listen for others: {error}") from error
            self._pulls.own = self._offers
        return self._offers

    def _trained(
        self,
        facts: dict[str, Any],
        is_wanted: Callable[[], bool],
        work: Callable[[dict[str, Any], list[memoryview]], Result | None],
    ) -> Result | None:
        offers = self._opened(facts)
        more, messages = unpacked(self._start(facts["start"], is_wanted))
        result = work({**facts, **more}, messages)
        if result is None:
            return None
        offers.put(facts["stage"], result.slices)
        said = {**json.loads(result.notes), "slices": len(result.slices), **self._place()}
        return replace(result, slices=[], notes=json.dumps(said).encode())

    def _start(self, told: dict[str, Any], is_wanted: Callable[[], bool]) -> memoryview:
        """Return the start of the round, of parts that workers have. Its messages have checksums of their own."""
        parts = cut(told["bytes"], len(told["holders"]))
        sources = [
            Source(worker, (host, port), stage, range(-(-len(part) // SLICE)))
            for (worker, host, port, stage), part in zip(told["holders"], parts, strict=True)
        ]
        memory = aligned(told["bytes"]).data
        for number, slices in enumerate(self._pulls.in_step(sources, is_wanted)):
            for part, received in zip(parts, slices, strict=True):
                first = part.start + number * SLICE
                memory[first : first + len(received)] = received
        return memory

    def _combined(self, facts: dict[str, Any], is_wanted: Callable[[], bool]) -> Result:
        """Combine some slices of the results of those that take part, in the order in which they are told."""
        offers = self._opened(facts)
        size, numbers = facts["size"], range(*facts["numbers"])
        begin = numbers.start * size
        memory = aligned(min(numbers.stop * size, facts["bytes"]) - begin) if numbers else aligned(0)
        memory[:] = 0  # what lies between arrays
        takers = [taken(told, memory, begin) for told in facts["told"]]
        sources = [Source(worker, (host, port), stage, numbers) for worker, host, port, stage in facts["results"]]
        for number, slices in zip(numbers, self._pulls.in_step(sources, is_wanted), strict=True):
            parts = [whole(received, source.peer, number) for source, received in zip(sources, slices, strict=True)]
            for taker in takers:
                taker.take(number * size, parts)
        offers.put(facts["stage"], of_bytes(memory, size))
        return self._said()

    def _place(self) -> dict[str, Any]:
        return {} if self._offers is None else {"at": self._offers.address, "strangers": self._offers.strangers}

    def _said(self, **notes: Any) -> Result:
        return Result(0, [], notes=json.dumps({**notes, **self._place()}).encode())


def _host_towards(address: tuple[str, int]) -> str:
    """Return the address of this machine on the way to another one; nothing is sent."""
    family, kind, protocol, _, place = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as way:
        way.connect(place)
        host: str = way.getsockname()[0]
    return host
