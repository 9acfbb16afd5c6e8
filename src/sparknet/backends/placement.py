"""Which device ``"cuda"`` without a number is: the one that this task or program was given.

A net's factory is sent to machines that its writer does not know, with other GPUs than the driver's or none. A number in it
would put all workers of a machine on one GPU. Nothing here imports pyspark, which every task of Spark has imported, or
starts CUDA.
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
    """Return the number of the device that ``"cuda"`` is in this process. CUDA counts the devices that the process may use.

    In a task of Spark it is the first address of its resource ``gpu``, if the cluster assigns GPUs; if not, the partitions of a
    job take turns on the devices that ``CUDA_VISIBLE_DEVICES`` names. Outside of tasks it is the current device.

    Parameters
    ----------
    count
        How many devices there are here.
    current
        ``current()`` returns the library's current device.

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
    """Return what decides which device ``"cuda"`` is: ("address", Spark's), or ("partition", its number); None outside of a task."""
    context = _task()
    if context is None:
        return None
    gpu = (context.resources() or {}).get("gpu")
    if gpu is not None and gpu.addresses:
        return "address", str(gpu.addresses[0])
    return "partition", str(context.partitionId())


def _task() -> Any:
    """Return the TaskContext of Spark's task in this thread, or None."""
    pyspark = sys.modules.get("pyspark")
    context = getattr(pyspark, "TaskContext", None)
    return None if context is None else context.get()


def _of_address(address: str, count: int) -> int:
    """Return CUDA's number of a device that Spark calls ``address``.

    CUDA counts the devices in ``CUDA_VISIBLE_DEVICES`` from 0. The scripts that find GPUs for Spark ask nvidia-smi, which ignores
    that variable. So an address in that list means its place there.
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
    """Return the host device of the same library if ``device`` is one of CUDA's; else ``device`` itself.

    Examples
    --------
    >>> host_device("cuda"), host_device("torch:cuda:1"), host_device("torch:cpu")
    ('cpu', 'torch:cpu', 'torch:cpu')
    """
    library, colon, own = device.partition(":") if device.startswith("torch:") else ("", "", device)
    own = own.removeprefix("cupy:")
    return f"{library}{colon}cpu" if _CUDA.fullmatch(own) else device
