"""The nets that a Python worker keeps from task to task, because making one may take seconds.

pyspark imports this module once in a worker process. A cache, never the truth: idle workers die and tasks move. Where ``"cuda"`` is
may change from task to task, so a net is kept for the device that it was made on.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sparknet.backends import backend_for_device, release_memory
from sparknet.backends.placement import host_device
from sparknet.nets.base import Net

__all__ = ["device_of", "drop_nets", "is_on_gpu", "kept_net"]

_NETS: OrderedDict[tuple[str, str], Net] = OrderedDict()  # the one that was used last at the end


def kept_net(key: str, make: Callable[[], Net], *, most: int, device: str = "cpu") -> Net:
    """Return the net of ``key`` on ``device``, made if it is not there; so that at most ``most`` are, others go first."""
    place = key, backend_for_device(device).device if is_on_gpu(device) else device
    if place not in _NETS:
        if len(_NETS) >= most:
            while len(_NETS) >= most:
                _NETS.popitem(last=False)
            release_memory()
        _NETS[place] = make()
    _NETS.move_to_end(place)
    return _NETS[place]


def device_of(factory: Any) -> str:
    """Return the device of a factory's nets, as the factory says it; those that say nothing are in host memory."""
    return str(getattr(factory, "device", "cpu"))


def is_on_gpu(device: str) -> bool:
    """Say whether a device is one of CUDA, by its name."""
    return host_device(device) != device


def drop_nets(context: Any) -> None:
    """Have the workers of a Spark context let go of nets and GPU memory, as far as a job reaches them.

    As many tasks as run at once reach most of them; one that is idle ends after a minute, and all that it has with it.
    """
    with suppress(Exception):  # what was computed is there; Spark may be gone
        context.parallelize(range(context.defaultParallelism), context.defaultParallelism).foreach(_drop)


def _drop(_number: int) -> None:
    _NETS.clear()
    release_memory()
