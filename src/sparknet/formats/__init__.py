"""Weight files of other programs: read, written, and converted to and from sparknet's own format.

Each format is one module with ``read`` and ``write``. None of them imports a package of another program before it is used.
``docs/reference/formats.md`` says what becomes of names, kinds and dtypes.

Examples
--------
>>> import tempfile
>>> from pathlib import Path
>>> import numpy as np
>>> import sparknet
>>> folder = Path(tempfile.mkdtemp())
>>> weights = sparknet.WeightCollection({"ip": [np.ones((2, 3), "float32"), np.zeros(2, "float32")]})
>>> sparknet.save(folder / "w.sparknet", weights)
>>> convert(folder / "w.sparknet", folder / "w.npz").parameters
8
>>> np.load(folder / "w.npz").files
['ip/0', 'ip/1']
>>> read(folder / "w.npz").obj == weights
True
"""

from sparknet.formats.contents import Contents
from sparknet.formats.conversion import Conversion, convert, read, write
from sparknet.formats.description import ArrayInfo, FileInfo, describe
from sparknet.formats.layers import Taken, take_layers
from sparknet.formats.sniffing import format_of

__all__ = [
    "ArrayInfo",
    "Contents",
    "Conversion",
    "FileInfo",
    "Taken",
    "convert",
    "describe",
    "format_of",
    "read",
    "take_layers",
    "write",
]
