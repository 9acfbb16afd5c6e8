"""What workers must have in common with the driver, and with each other: versions, and the nets that the factory makes.

Versions are compared when a worker connects, or where a job is a round, before the work of each task. A net is made with the first work of
a worker, so that an error of the factory is told like any other; so nets are compared after that work.
"""

import hashlib
import platform
import sys
from collections.abc import Mapping

from sparknet.errors import ClusterError, SchemaError
from sparknet.serialization import dump_parts
from sparknet.transport.faults import unfit
from sparknet.weights import WeightCollection
from sparknet.weights.schema import check_same_schema

__all__ = ["FirstWeights", "about", "check_alike", "made"]


def about() -> dict[str, str]:
    """Return what must be the same on the driver and on all workers.

    Examples
    --------
    >>> sorted(about())
    ['Python', 'byte order', 'sparknet']
    """
    python = ".".join(platform.python_version_tuple()[:2])
    ours = sys.modules["sparknet"].__version__  # of what is imported: a zip file on an executor has no other
    return {"sparknet": ours, "Python": python, "byte order": sys.byteorder}


def check_alike(shard: int, expected: Mapping[str, str]) -> None:
    """Raise a ClusterError unless this worker is what the driver's :func:`about` says."""
    ours = about()
    for name, value in expected.items():
        if ours.get(name) != value:
            raise unfit(shard, name, ours.get(name), value)


def made(shard: int, weights: WeightCollection, start: WeightCollection) -> str:
    """Return a hash of the weights that a worker's factory has made, a ClusterError if they cannot be those of the driver's net.

    The hash is that of the message's header, which has names, shapes, dtypes, and a checksum of each array.
    """
    try:
        check_same_schema(
            start, weights, f"shard {shard}: the factory makes another net in this worker than on the driver"
        )
    except SchemaError as error:
        raise ClusterError(str(error), shard=shard) from error
    return hashlib.sha256(dump_parts(weights)[0]).hexdigest()


class FirstWeights:
    """The driver's book of the weights that the factory has made in the workers, before any training."""

    def __init__(self) -> None:
        self._first: tuple[int, str] | None = None

    def check(self, shard: int, told: str) -> None:
        """Compare those of a shard's worker with the first ones that were told; a ClusterError if they differ."""
        if self._first is None:
            self._first = shard, told
        other, expected = self._first
        if told != expected:
            msg = (
                f"the factory makes other weights in the worker of shard {shard} than in that of shard {other}, from the same seed=0; "
                "draw all that is random from the seed, and install the same packages for all workers"
            )
            raise ClusterError(msg, shard=shard)
