"""What is given in the place of an array or an object: taken where it is one, else an error with the way to one."""

import re

import numpy as np
import pytest

from sparknet import SchemaError, WeightCollection, dumps, loads
from sparknet.serialization import Codec

W, B = np.ones((2, 3), "float32"), np.zeros(3, "float32")


@pytest.mark.parametrize("scalar", [np.float32(2.5), np.float64(-0.0), np.int64(3), np.bool_(1), np.complex64(1j)])
def test_a_scalar_of_numpy_is_an_array_without_axes(scalar):
    array = np.asarray(scalar)
    assert dumps(scalar) == dumps(array)
    assert dumps({"loss": scalar, "w": W}) == dumps({"loss": array, "w": W})
    assert dumps(WeightCollection({"layer": [scalar]})) == dumps(WeightCollection({"layer": [array]}))
    back = loads(dumps({"loss": scalar}))["loss"]
    assert (back.shape, back.dtype, back.to_host().tobytes()) == ((), array.dtype, array.tobytes())


class Frame:
    """Has its values where pandas has them."""

    def to_numpy(self):
        raise AssertionError


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"ip": [W, B]}, "'ip' is a list; expected an NDArray or a numpy array; layers of several arrays are WeightCollection("),
        ({"opt": {"m": W}}, "'opt' is a dict; expected an NDArray or a numpy array; a mapping has one level: write its arrays into it as 'opt/...'"),
        ({"opt": WeightCollection({"m": [W]})}, "'opt' is a WeightCollection; expected an NDArray or a numpy array; a mapping has one level"),
        ({"lr": 0.1}, "'lr' is a float; expected an NDArray or a numpy array; write np.asarray(x), or metadata={'lr': x}"),
        ({"name": "lenet"}, "'name' is a str; expected an NDArray or a numpy array; write metadata={'name': x}"),
        ({"a": [1.0, 2.0]}, "'a' is a list; expected an NDArray or a numpy array; write np.asarray(x)"),
        ({"a": Frame()}, "; write x.to_numpy()"),
        ([W, B], "got a list; expected an NDArray, a numpy array, a mapping of these or a WeightCollection; write {str(n): array for n, array in enumerate(arrays)}"),
        ([1.0], "; write np.asarray(x)"),
        (3.5, "got a float; expected an NDArray, a numpy array, a mapping of these or a WeightCollection; write np.asarray(x)"),
        (np.ma.masked_array([1.0], [True]), "; write x.filled(value)"),
    ],
    ids=["layer", "nested", "nested weights", "number", "text", "numbers", "frame", "arrays", "list", "float", "masked"],
)  # fmt: skip
def test_what_is_no_array_is_told_how_it_becomes_one(given, text):
    with pytest.raises(TypeError, match=re.escape(text)):
        dumps(given)


def test_the_kinds_of_objects_are_told_how_one_becomes_the_other():
    flat, layers = {"w": W}, WeightCollection({"w": [W]})
    with pytest.raises(SchemaError, match=r"kind 'mapping', .*; WeightCollection\(\{name: \[array\] for"):
        Codec(layers).dumps(flat)
    with pytest.raises(SchemaError, match=r"kind 'weights', .*; \{name: array for name, \(array,\) in w\.items\(\)\}"):
        Codec(flat).loads(dumps(layers))
    assert Codec(layers).dumps(WeightCollection({name: [array] for name, array in flat.items()})) == dumps(layers)
    assert Codec(flat).dumps({name: array for name, (array,) in layers.items()}) == dumps(flat)
