"""SparkNet in Python: arrays, weights, their wire format, data for Caffe nets, averaging SGD.

The public names are resolved when they are first used, so that a program pays for the parts that
it takes: ``import sparknet`` itself imports nothing but this file.

Examples
--------
>>> import sparknet
>>> w = sparknet.WeightCollection({"ip": [[1.0, 2.0]]})
>>> sparknet.loads(sparknet.dumps(w)) == w
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparknet import averaging, backends, clusters, data, formats, nd, nets, serialization, spark
    from sparknet.clusters import LocalCluster, SparkCluster
    from sparknet.data import Field
    from sparknet.errors import (
        ClusterError,
        DataError,
        DeviceError,
        FormatError,
        MissingDependency,
        NetError,
        SchemaError,
        SparknetError,
        StreamEnd,
        TrainingError,
    )
    from sparknet.ndarray import NDArray
    from sparknet.serialization import (
        dump,
        dump_parts,
        dumps,
        dumps_into,
        inspect,
        iter_load,
        load,
        load_into,
        loads,
        save,
    )
    from sparknet.training import Round, Rounds, averaged_sgd
    from sparknet.weights import WeightCollection

__version__ = "0.1.0"

# module -> the public names that live there
_HOMES = {
    "clusters": ["LocalCluster", "SparkCluster"],
    "data": ["Field"],
    "errors": [
        "BrokenOff",  # TrainingError of old
        "ClusterError",
        "DataError",
        "DeviceError",
        "FormatError",
        "MissingDependency",
        "NetError",
        "SchemaError",
        "SparknetError",
        "StreamEnd",
        "TrainingError",
    ],
    "ndarray": ["NDArray"],
    "serialization": [
        "dump",
        "dump_parts",
        "dumps",
        "dumps_into",
        "inspect",
        "iter_load",
        "load",
        "load_into",
        "loads",
        "save",
    ],
    "training": ["Round", "Rounds", "averaged_sgd"],
    "weights": ["WeightCollection"],
}
_MODULES = [
    *(
        "averaging",
        "backends",
        "checkpoint",
        "clusters",
        "data",
        "doctor",
        "errors",
        "formats",
        "nd",
        "ndarray",
        "nets",
    ),
    *("serialization", "spark", "testing", "training", "transport", "weights", "worker"),
]
_WHERE = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ClusterError",
    "DataError",
    "DeviceError",
    "Field",
    "FormatError",
    "LocalCluster",
    "MissingDependency",
    "NDArray",
    "NetError",
    "Round",
    "Rounds",
    "SchemaError",
    "SparkCluster",
    "SparknetError",
    "StreamEnd",
    "TrainingError",
    "WeightCollection",
    "averaged_sgd",
    "averaging",
    "backends",
    "clusters",
    "data",
    "dump",
    "dump_parts",
    "dumps",
    "dumps_into",
    "formats",
    "inspect",
    "iter_load",
    "load",
    "load_into",
    "loads",
    "nd",
    "nets",
    "save",
    "serialization",
    "spark",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"sparknet.{name}")
    if name not in _WHERE:
        msg = f"module 'sparknet' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"sparknet.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
