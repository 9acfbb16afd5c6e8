"""Whether a session can be one long job: each worker needs a core for itself, and has to reach the driver.

Each function returns the obstacle in words, with what to change, or "" if there is none.
"""

import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from sparknet.clusters.spark.jobs.running import run_job
from sparknet.clusters.spark.training.addresses import address_of, cannot_listen, is_local
from sparknet.errors import ClusterError, SparknetError
from sparknet.transport import Credentials, Hello, Hub, new_secret
from sparknet.transport.connecting import connected
from sparknet.transport.wire import send

__all__ = ["direct_obstacle", "has_room", "too_few_cores", "unreachable", "waiting_stages"]

_OF_NOBODY = 1 << 40  # the shard of what only tries whether it reaches the driver
_LOOK = 0.2  # seconds between two looks at what runs
_REGISTERS = 20.0  # seconds in which executors that are starting have registered
_PATIENCE = 15.0  # seconds in which the tasks of a job that was cancelled have gone; Spark ends them after 2 s


def too_few_cores(context: Any, workers: int) -> str:
    """Return what is to be changed so that all workers can run at the same time. Waits a little for executors and for tasks that end."""
    until = time.monotonic() + (0.0 if is_local(context) else _REGISTERS)
    while workers > (most := _slots(context)) and time.monotonic() < until:
        time.sleep(_LOOK)
    if workers > most:
        return (
            f"{workers} workers need as many task slots, and Spark has {most}: {_more_cores(context.master)}, or give "
            f"workers={max(most, 1)}"
        )
    until = time.monotonic() + _PATIENCE
    while (running := _running(context)) and workers > most - running:
        if time.monotonic() > until:
            return (
                f"{workers} workers need as many task slots, and other jobs hold {running} of Spark's {most}: end them first, or "
                "give Spark more cores"
            )
        time.sleep(_LOOK)
    return ""


def has_room(context: Any, workers: int) -> bool:
    """Say whether a task slot is free beside those of a session's workers, also where Spark has not started all of them yet."""
    return _slots(context) > max(workers, _running(context))


def _slots(context: Any) -> int:
    """Return how many tasks the executors that are there can run at the same time, with the GPUs that a task wants."""
    jvm = context._jsc.sc()
    return int(jvm.maxNumConcurrentTasks(jvm.resourceProfileManager().defaultResourceProfile()))


def _more_cores(master: str) -> str:
    if master.startswith("local"):
        return "start it with more cores, as local[N] or local-cluster[N,...]"
    return "raise spark.executor.instances, spark.executor.cores or spark.cores.max, or lower spark.task.cpus"


def _running(context: Any) -> int:
    tracker = context.statusTracker()
    infos = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    return sum(info.numActiveTasks for info in infos if info is not None)


def waiting_stages(context: Any, ours: set[int]) -> set[int]:
    """Return the stages of other jobs of which no task runs."""
    tracker = context.statusTracker()
    found = {stage: tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds() if stage not in ours}
    return {stage for stage, info in found.items() if info is not None and not info.numActiveTasks}


def direct_obstacle(context: Any) -> str:
    """Return why workers cannot connect to this driver, found out by a short job on all cores; "" if they can."""
    bound, host, port = address_of(context, None)
    try:
        with Hub(1, secret=new_secret(), address=bound, port=port) as hub:
            return unreachable(context, (host, hub.address[1]), hub.credentials, context.defaultParallelism)
    except OSError as error:
        return cannot_listen(bound, port, error)


def unreachable(context: Any, address: tuple[str, int], credentials: Credentials, workers: int) -> str:
    """Return why executors cannot reach the driver: a task for each worker tries to. On a local master all is one process."""
    if is_local(context):
        return ""
    probes = context.parallelize(range(workers), workers).mapPartitions(partial(_probed, address, credentials))
    try:
        replies = run_job(probes.collect)
    except ClusterError as error:
        return f"executors could not be asked whether they reach the driver: {error}"
    failed = [reply for reply in replies if reply]
    if not failed:
        return ""
    return (
        f"{len(failed)} of {len(replies)} tasks did not reach the driver at {address[0]}:{address[1]}: {failed[0]}; give address=, "
        "'host' or 'host:port' as executors can reach it, or set spark.driver.host and spark.driver.bindAddress"
    )


# ---- in the Python workers
def _probed(address: tuple[str, int], credentials: Credentials, rows: Iterable[Any]) -> Iterator[str]:
    """Yield why the driver cannot be reached from here, or ""."""
    list(rows)
    try:
        with connected(address, credentials) as connection:
            send(connection, Hello(_OF_NOBODY, {"probe": ""}))  # else the hub would take it for a stranger
            yield ""
    except (SparknetError, OSError) as error:
        yield str(error)
