"""pyarrow takes an NDArray as it takes a numpy array."""

import numpy as np
import pyarrow as pa
import pytest

from sparknet import NDArray, dumps, loads, nd


@pytest.mark.parametrize("dtype", [*nd.__array_namespace_info__().dtypes(kind=("bool", "integral", "real floating"))])
def test_an_arrow_array_has_the_elements(dtype):
    a = nd.asarray([0, 1, 1], dtype=dtype)
    found = pa.array(a)
    assert found.to_pylist() == a.tolist()
    assert pa.table({"a": a})["a"].to_pylist() == a.tolist()


def test_the_type_can_be_named():
    assert pa.array(NDArray([1, 2]), type=pa.float32()).type == pa.float32()


def test_a_view_of_a_message_is_taken():
    assert pa.array(loads(dumps(np.arange(3)))).to_pylist() == [0, 1, 2]


def test_more_axes_than_one_are_pyarrows_error():
    with pytest.raises(pa.ArrowInvalid, match="1-dimensional"):
        pa.array(nd.zeros((2, 2)))
