"""The table of element types: what its rows say is so, and a new row is all that a new type needs."""

import subprocess
import sys

import pytest

from sparknet.dtypes import TABLE

NEW = """
import numpy as np
from sparknet import dtypes
dtypes.TABLE += (dtypes.Row(0x90, "float8_e4m3fnuz", "NEW", "ml_dtypes"),)

from sparknet import dumps, loads, nd
from sparknet.backends.namespace import Dtypes
from sparknet.formats import safetensors

new = dtypes.TABLE[-1].dtype()
array = nd.asarray(np.arange(3).astype(new))
back = loads(dumps(array))
assert back.dtype == new and back.tolist() == array.tolist()
assert safetensors._array("a", {"dtype": "NEW", "shape": (3,), "data": array.to_host().tobytes()}).dtype == new
assert Dtypes("a library", np, [new.name]).known == [new]
print("known")
"""


def test_a_new_dtype_is_one_row():
    pytest.importorskip("ml_dtypes")
    done = subprocess.run([sys.executable, "-c", NEW], capture_output=True, text=True, check=False)
    assert done.stdout == "known\n", done.stderr


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_row_says_what_the_dtype_is(row):
    if not row.is_numpys:
        pytest.importorskip(row.package)
    dtype = row.dtype()
    assert (dtype.name, dtype.itemsize) == (row.name, row.itemsize)
    assert dtype.type.__module__.partition(".")[0] == row.package


def test_no_code_and_no_name_is_given_twice():
    for values in ([row.code for row in TABLE], [row.name for row in TABLE]):
        assert len(values) == len(set(values))
    names = [row.safetensors for row in TABLE if row.safetensors is not None]
    assert len(names) == len(set(names))
