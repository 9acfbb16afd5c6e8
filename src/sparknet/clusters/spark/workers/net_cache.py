"""The nets that a Python worker keeps from task to task, because making one may take seconds.

pyspark imports this module once in a worker process. It is only a cache: idle workers end, and tasks move to other workers.
``"cuda"`` may mean another GPU in the next task, so a net is kept under the device that it was made on.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from sparknet.backends import backend_for_device, release_memory
from sparknet.backends.placement import host_device
from sparknet.clusters.spark.jobs.running import run_job

__all__ = ["cached_net", "device_of", "drop_nets", "is_on_gpu"]

T = TypeVar("T")  # a net, or a net and what is known of it
_NETS: OrderedDict[tuple[str, str], Any] = OrderedDict()  # in the order of their last use


def cached_net(key: str, make: Callable[[], T], *, most: int, device: str = "cpu") -> T:
    """Return the net of ``key`` on ``device``, made if it is not kept. Those not used for longest go, so that ``most`` are kept at most."""
    place = key, backend_for_device(device).device if is_on_gpu(device) else device
    if place not in _NETS:
        if len(_NETS) >= most:
            while len(_NETS) >= most:
                _NETS.popitem(last=False)
            release_memory()
        _NETS[place] = make()
    _NETS.move_to_end(place)
    kept: T = _NETS[place]
    return kept


def device_of(factory: Any) -> str:
    """Return the ``device`` of a factory's nets; nets of a factory without one are in host memory."""
    return str(getattr(factory, "device", "cpu"))


def is_on_gpu(device: str) -> bool:
    """Say whether this is the name of a CUDA device."""
    return host_device(device) != device


def drop_nets(context: Any) -> None:
    """Let the workers of a Spark context free their nets and their GPU memory, if a job reaches them.

    One task for each core reaches most workers. An idle worker ends after a minute, which frees its memory too.
    """
    with suppress(Exception):  # the results are there already, and Spark may have ended
        tasks = context.parallelize(range(context.defaultParallelism), context.defaultParallelism)
        run_job(partial(tasks.foreach, _drop))  # it tells where the job waits for cores that others have


def _drop(_number: int) -> None:
    _NETS.clear()
    release_memory()
