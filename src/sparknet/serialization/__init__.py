"""Arrays and weights to bytes and back: fast, checked, and readable by any MessagePack library.

Every byte of a message is fixed in ``docs/reference/format_v1.md``. This is the only room that imports
msgpack. It knows no pickle: reading a message cannot run code, whoever wrote it.

Examples
--------
>>> import numpy as np
>>> message = dumps({"mean": np.zeros((3, 2), "float32")}, metadata={"epoch": 4})
>>> loads(message)["mean"].shape
(3, 2)
>>> print(inspect(message))
mapping, 1 tensors, 6 parameters, 216 bytes, format 1, checksums not verified
  mean  float32    (3, 2)                            24 bytes
  epoch: 4
"""

from sparknet.serialization.codec import Codec
from sparknet.serialization.inspection import MessageInfo, TensorInfo
from sparknet.serialization.reading import inspect, load, loads, verify
from sparknet.serialization.receiving import load_into
from sparknet.serialization.streaming import iter_load
from sparknet.serialization.writing import dump, dump_parts, dumps, dumps_into, save

__all__ = [
    "Codec",
    "MessageInfo",
    "TensorInfo",
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
    "verify",
]
