"""What ends a session, in words."""

from sparknet.errors import ClusterError, SparknetError
from sparknet.transport.messages import Done

__all__ = ["JOB_FAILED", "MAKES_ROOM", "differs", "disagree", "missing", "raised", "unfit"]

# Why a worker is given up that has done nothing wrong.
JOB_FAILED = "its job failed"
MAKES_ROOM = "another shard has no worker, and this one has a spare"


def missing(shard: int, since: float, most: float, waiting: str, reason: str) -> SparknetError:
    """Return the error for a shard that has no worker."""
    msg = (
        f"shard {shard} has been without a worker for {since:.0f} s, expected one within "
        f"{most:.0f} s; waited for: {waiting}"
    )
    if reason:
        msg += f"; the last one sent what cannot be taken: {reason}"
    return ClusterError(msg, shard=shard)


def disagree(first: Done, second: Done) -> bool:
    """Say whether two attempts at the same work gave different results. Of one that gave nothing there is nothing to compare."""
    if not first.slices and not second.slices and (first.is_nothing or second.is_nothing):
        return False
    return (first.steps, first.slices, first.result) != (second.steps, second.slices, second.result)


def unfit(shard: int, name: str, got: str | None, expected: str) -> SparknetError:
    """Return the error for a worker that is not like the driver."""
    return ClusterError(f"the worker of shard {shard} has {name} {got!r}, the driver {expected!r}", shard=shard)


def raised(shard: int, reason: bytes) -> SparknetError:
    """Return the error for work that raised one."""
    return ClusterError(f"shard {shard}: {reason.decode(errors='replace')}", shard=shard)


def differs(shard: int, first: Done, second: Done) -> SparknetError:
    """Return the error for two attempts at the same work that do not agree."""
    msg = (
        f"shard {shard}: two attempts at the same work gave different results, after {first.steps} and {second.steps} steps; "
        "the net, its factory or the data is not the same each time: seed what is random by the step"
    )
    return ClusterError(msg, shard=shard)
