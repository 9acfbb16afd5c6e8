"""Which device ``"cuda"`` is, where it stands without a number: the one that this task or program was given.

A net's factory travels to machines that its writer does not know, with other GPUs than the driver's or none, so a number in it
would put all workers of a machine on one GPU. Nothing here imports pyspark or starts CUDA: a task of Spark has pyspark imported.
"""

import os
import re
import sys
from collections.abc import Callable
from typing import Any

from sparknet.errors import DeviceError

__all__ = ["cuda_index", "host_device", "task_placement"]

_CUDA = re.compile(r"cuda(:(0|[1-9]\d*))?")


def cuda_index(count: int, current: Callable[[], int]) -> int:
    """Return the number of the device that ``"cuda"`` is in this process, as CUDA counts those that it may use.

    In a task of Spark the first address of its resource ``gpu``, where the cluster hands out such; else the tasks of a job
    take turns by their partitions, over the devices that ``CUDA_VISIBLE_DEVICES`` leaves. Elsewhere the current device.

    Parameters
    ----------
    count
        How many devices there are here.
    current
        Asks the library which one is the current device.

    Raises
    ------
    DeviceError
        Spark's address is none of these devices.
    """
    placement = task_placement()
    if placement is None:
        return current()
    kind, where = placement
    return _of_address(where, count) if kind == "address" else int(where) % count


def task_placement() -> tuple[str, str] | None:
    """Return what decides about ``"cuda"`` in this task: ("address", Spark's) or ("partition", its number); None outside of one."""
    context = _task()
    if context is None:
        return None
    gpu = (context.resources() or {}).get("gpu")
    if gpu is not None and gpu.addresses:
        return "address", str(gpu.addresses[0])
    return "partition", str(context.partitionId())


def _task() -> Any:
    """Return Spark's TaskContext of the task that runs in this thread, or None."""
    pyspark = sys.modules.get("pyspark")
    context = getattr(pyspark, "TaskContext", None)
    return None if context is None else context.get()


def _of_address(address: str, count: int) -> int:
    """Return CUDA's number of a device that Spark calls ``address``.

    CUDA counts the devices of ``CUDA_VISIBLE_DEVICES`` from 0, while the scripts that find GPUs for Spark ask nvidia-smi, which
    does not look at that variable: so an address that is in the list is a place in it.
    """
    visible = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    if address in visible:
        index = visible.index(address)
    else:
        index = int(address) if address.isascii() and address.isdigit() else count
    if index >= count:
        among = f", CUDA_VISIBLE_DEVICES={','.join(visible)}" if visible else ""
        msg = (
            f"Spark gave this task the GPU {address!r}, and CUDA finds {count} here, counted from 0{among}; does the discovery "
            "script of spark.worker.resource.gpu (or spark.executor.resource.gpu) list the GPUs that the executors may use?"
        )
        raise DeviceError(msg, got=address, expected=count)
    return index


def host_device(device: str) -> str:
    """Return a device of the same library in host memory, where ``device`` is one of CUDA; else ``device`` itself.

    Examples
    --------
    >>> host_device("cuda"), host_device("torch:cuda:1"), host_device("torch:cpu")
    ('cpu', 'torch:cpu', 'torch:cpu')
    """
    library, colon, own = device.partition(":") if device.startswith("torch:") else ("", "", device)
    own = own.removeprefix("cupy:")
    return f"{library}{colon}cpu" if _CUDA.fullmatch(own) else device
