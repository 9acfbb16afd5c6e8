"""The nets that a Python worker keeps from task to task, because making one may take seconds.

pyspark imports this module once in a worker process. A cache, never the truth: idle workers die and tasks move.
"""

from collections import OrderedDict
from collections.abc import Callable

from sparknet.nets.base import Net

__all__ = ["kept_net"]

_NETS: OrderedDict[str, Net] = OrderedDict()  # the one that was used last at the end


def kept_net(key: str, make: Callable[[], Net], *, most: int) -> Net:
    """Return the net of ``key``, made if it is not there; so that at most ``most`` are, others go first."""
    if key not in _NETS:
        while len(_NETS) >= most:
            _NETS.popitem(last=False)
        _NETS[key] = make()
    _NETS.move_to_end(key)
    return _NETS[key]
