"""Workers in child processes, over the protocol of :mod:`sparknet.transport`: real parallelism, and no Spark."""

import contextlib
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from sparknet import errors
from sparknet.clusters.forks import Forks
from sparknet.data.dataset import Dataset
from sparknet.data.ragged import Even
from sparknet.errors import ClusterError, SparknetError
from sparknet.nets.base import Net, NetFactory, SolverState
from sparknet.serialization import dump_parts, loads
from sparknet.training import Collected
from sparknet.transport import Done, Hello, Hub, Limits, Result, new_secret, serve
from sparknet.weights import WeightCollection
from sparknet.worker import Outcome, Task, train_round

__all__ = ["ProcessSession", "process_session"]

_SLICE = 1 << 20  # bytes
_ALIGNED = 64  # bytes
_TEXT = 20_000  # characters of a traceback, and of a message
# A process that dies is noticed at once. Silence is left for one that stands still, and a step may keep all threads waiting for long.
_LIMITS = Limits(silence=120.0)
_TOLD = 1 << 19  # bytes of all that is told of an error; a message of the hub has room for twice as many
_FACTS = ("loss", "steps", "updates", "examples", "nonfinite")


def packed_up(facts: dict[str, Any], messages: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the parts of facts and messages, each message at a multiple of 64 bytes; :func:`unpacked` takes them apart."""
    sizes = [sum(memoryview(part).nbytes for part in message) for message in messages]
    head = json.dumps({"sizes": sizes, **facts}).encode()
    parts: list[Any] = [len(head).to_bytes(8, "big"), head, bytes(-(8 + len(head)) % _ALIGNED)]
    for message, size in zip(messages, sizes, strict=True):
        parts += [*message, bytes(-size % _ALIGNED)]
    return parts


def unpacked(body: memoryview) -> tuple[dict[str, Any], list[memoryview]]:
    """Return the facts, and views of the messages."""
    at = 8 + int.from_bytes(body[:8], "big")
    facts = json.loads(bytes(body[8:at]))
    messages = []
    for size in facts.pop("sizes"):
        at += -at % _ALIGNED
        messages.append(body[at : at + size])
        at += size
    return facts, messages


def sliced(parts: Sequence[Any]) -> list[list[memoryview]]:
    """Return the parts as slices of 1 MiB, the last one shorter; nothing is copied."""
    slices: list[list[memoryview]] = [[]]
    room = _SLICE
    for part in parts:
        view = memoryview(part).cast("B")
        while view:
            if not room:
                slices.append([])
                room = _SLICE
            slices[-1].append(view[:room])
            taken = slices[-1][-1].nbytes
            view, room = view[taken:], room - taken
    return slices


@contextlib.contextmanager
def process_session(
    factory: NetFactory, data: Dataset, workers: int, evaluate: Callable[..., dict[str, float]]
) -> Iterator["ProcessSession"]:
    """Open a session with one child process for each worker; on leaving it they have ended."""
    secret = new_secret()
    forks = Forks(partial(_work, factory, data, workers, secret, _LIMITS))

    def dropped(shard: int, reason: str) -> None:
        del reason
        forks.replace(shard)

    try:
        with Hub(workers, secret=secret, limits=_LIMITS, longest=_SLICE, raised=_raised, dropped=dropped) as hub:
            forks.watch(hub, workers)
            yield ProcessSession(hub, forks, evaluate)
    finally:
        forks.close()


@dataclass
class ProcessSession:
    """The driver's end."""

    hub: Hub
    forks: Forks
    evaluate: Callable[..., dict[str, float]]

    def train(self, tasks: Sequence[Task], weights: WeightCollection, states: Sequence[SolverState]) -> Collected:
        """Run one round, all workers at the same time."""
        start = time.perf_counter()
        message, state_messages = dump_parts(weights), [dump_parts(state) for state in states]
        bodies = {
            task.worker: packed_up({"task": asdict(task)}, [message, state_messages[task.worker % len(states)]])
            for task in tasks
        }
        results: dict[int, bytearray] = {}

        def begin(done: Mapping[int, Done]) -> None:
            results.clear()
            for shard, said in done.items():
                results[shard] = bytearray(json.loads(said.result)["bytes"])

        def combine(number: int, slices: tuple[memoryview, ...]) -> None:
            for buffer, part in zip(results.values(), slices, strict=True):
                buffer[number * _SLICE : number * _SLICE + len(part)] = part

        done = self.hub.round(bodies, combine=combine, begin=begin)
        self.forks.round_ended()
        elapsed = time.perf_counter() - start
        outcomes = [self._outcome(shard, memoryview(buffer), done[shard]) for shard, buffer in sorted(results.items())]
        sent = sum(memoryview(part).nbytes for body in bodies.values() for part in body)
        slowest = max(o.seconds for o in outcomes)
        return Collected(
            outcomes,
            broadcast=0.0,
            collect=max(0.0, elapsed - slowest),
            bytes_down=sent,
            bytes_up=sum(map(len, results.values())),
        )

    def _outcome(self, shard: int, body: memoryview, done: Done) -> Outcome:
        facts, (weights, state) = unpacked(body)
        seconds = json.loads(done.notes)["seconds"]
        return Outcome(shard, loads(weights), loads(state), **facts, seconds=seconds)


def _work(
    factory: NetFactory,
    data: Dataset,
    workers: int,
    secret: bytes,
    limits: Limits,
    address: tuple[str, int],
    shard: int,
) -> None:
    """Be the worker of a shard, in a process of its own."""
    nets: list[Net] = []  # one, made with the first work, so that an error of the factory is told like any other

    def do(body: memoryview, exactly: int | None, is_wanted: Callable[[], bool]) -> Result:
        del is_wanted  # rounds wait for all
        if not nets:
            nets.append(factory(seed=0))
        facts, (weights, state) = unpacked(body)
        even = facts["task"].pop("even")
        task = Task(**facts["task"], even=None if even is None else Even(**even))
        start, solver = loads(weights), loads(state)
        stored = data.shard(shard, workers)
        outcome = train_round(nets[0], stored, task, start, solver, data.preprocessor, exactly=exactly)
        told = {name: getattr(outcome, name) for name in _FACTS}
        slices = sliced(packed_up(told, [dump_parts(outcome.weights), dump_parts(outcome.state)]))
        size = sum(part.nbytes for each in slices for part in each)
        result = json.dumps({"bytes": size, **told}).encode()
        return Result(outcome.steps, slices, result, json.dumps({"seconds": outcome.seconds}).encode())

    serve(address, Hello(shard), secret=secret, do=do, limits=limits, tell=_told)


def _told(error: Exception) -> bytes:
    """Return what the driver is told of an error of a worker: type, message, facts and traceback. Facts that are too long are left out."""
    try:
        message = str(error)[:_TEXT]
    except Exception as other:  # noqa: BLE001 - of a class of the caller's
        message = f"(no text: {type(other).__name__})"
    facts = {name: value for name, value in vars(error).items() if isinstance(value, str | int | float | None)}
    trace = "".join(traceback.format_exception(error))[-_TEXT:]
    told = json.dumps([type(error).__name__, message, facts, trace]).encode()
    return told if len(told) <= _TOLD else json.dumps([type(error).__name__, message, {}, trace]).encode()


def _raised(shard: int, reason: bytes) -> SparknetError:
    """Return the error of a worker: one of sparknet's as it was, any other as a ClusterError with its traceback."""
    name, message, facts, trace = json.loads(reason)
    kind = getattr(errors, name, None) if name in errors.__all__ else None
    if kind is not None:
        error: SparknetError = kind(message, **facts)
        return error
    return ClusterError(f"worker {shard}: {name}: {message}", worker=shard, traceback=trace)
