"""Workers in child processes, over the protocol of :mod:`sparknet.transport`: real parallelism, and no Spark."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

from sparknet.clusters.direct.alike import about
from sparknet.clusters.direct.bodies import SLICE
from sparknet.clusters.direct.session import DirectSession
from sparknet.clusters.direct.sliced import Aggregation
from sparknet.clusters.direct.told import raised
from sparknet.clusters.direct.worker import Evaluated, serve_shard
from sparknet.clusters.forks import Forks
from sparknet.clusters.imports import forks_fix, helped
from sparknet.data.dataset import Dataset
from sparknet.nets.base import NetFactory
from sparknet.transport import Hello, Hub, Limits, new_secret

__all__ = ["process_session"]

# A process that dies is noticed at once. Silence is left for one that stands still, and a step may keep all threads waiting for long: how long,
# the hub learns.
_LIMITS = Limits(silence=120.0)


@contextlib.contextmanager
def process_session(
    factory: NetFactory,
    data: Dataset,
    workers: int,
    evaluated: Any,
    elsewhere: Callable[..., dict[str, float]],
    aggregation: Aggregation,
) -> Iterator[DirectSession]:
    """Open a session with one child process for each worker; on leaving it they have ended.

    The workers evaluate the data set ``evaluated``, if there is one, and ``elsewhere`` any other.
    """
    secret = new_secret()
    known = evaluated if isinstance(evaluated, Dataset) else None
    forks = Forks(partial(_work, factory, data, known, workers, secret, _LIMITS))

    def dropped(hello: Hello, reason: str) -> None:
        forks.replace(hello.shard, reason)

    try:
        with Hub(
            workers,
            secret=secret,
            limits=_LIMITS,
            longest=SLICE,
            about=about(),
            raised=lambda shard, reason: helped(raised(shard, reason), forks_fix),
            dropped=dropped,
        ) as hub:
            forks.watch(hub, workers)
            session = DirectSession(
                hub, workers, known, elsewhere, forks.round_ended, aggregation=aggregation, limits=_LIMITS
            )
            with closing(session):
                yield session
    finally:
        forks.close()


def _work(
    factory: NetFactory,
    data: Dataset,
    evaluated: Dataset | None,
    workers: int,
    secret: bytes,
    limits: Limits,
    address: tuple[str, int],
    shard: int,
) -> None:
    """Be the worker of a shard, in a process of its own."""
    serve_shard(
        address,
        shard,
        secret=secret,
        limits=limits,
        make_net=partial(factory, seed=0),
        stored=data.shard(shard, workers),
        preprocessor=data.preprocessor,
        evaluated=None
        if evaluated is None
        else Evaluated(
            lambda part: contextlib.nullcontext(evaluated.shard(part, workers)),
            workers,
            evaluated.preprocessor,
            evaluated.even,
        ),
    )
