"""Names of arrays where a file has flat names: what follows the rule becomes weights, all else a mapping."""

import numpy as np
import pytest

from sparknet import NDArray, WeightCollection
from sparknet.formats import contents, read, write

ONE = np.ones(1, "float32")


@pytest.mark.parametrize(
    ("names", "layers"),
    [
        (["conv1/0", "conv1/1"], {"conv1": 2}),
        (["inception_3a/1x1/0", "inception_3a/1x1/1"], {"inception_3a/1x1": 2}),
        (["b/0", "a/1", "a/0"], {"b": 1, "a": 2}),
        (["/0"], {"": 1}),
        (["a/0/0", "a/0"], {"a/0": 1, "a": 1}),
        (["two\nlines/0"], {"two\nlines": 1}),
        ([f"many/{i}" for i in range(12)], {"many": 12}),
    ],
)
def test_names_that_follow_the_rule_become_layers_split_at_the_last_slash(names, layers):
    obj = contents.assemble({name: np.full(1, i, "f4") for i, name in enumerate(names)})
    assert isinstance(obj, WeightCollection)
    assert {name: len(arrays) for name, arrays in obj.items()} == layers
    assert list(obj) == list(layers)
    assert {name: float(a[0]) for name, a in contents.flatten(obj).items()} == dict(zip(names, range(12), strict=False))


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["conv1.weight", "conv1.bias"],
        ["conv1/0", "mean"],
        ["conv1/1"],
        ["conv1/0", "conv1/2"],
        ["conv1/00"],
        ["conv1/01", "conv1/0"],
        ["conv1/-1"],
        ["conv1/²"],
        ["conv1/\u0660"],
        ["conv1/0\n"],
        ["0"],
        ["arr_0", "arr_1"],
    ],
)
def test_names_that_do_not_follow_it_stay_names(names):
    obj = contents.assemble(dict.fromkeys(names, ONE))
    assert type(obj) is dict
    assert list(obj) == names


def test_a_huge_index_costs_nothing():
    assert type(contents.assemble({"a/9" + "9" * 5000: ONE})) is dict
    assert type(contents.assemble({"a/999999": ONE})) is dict


def test_an_array_without_a_name_is_called_as_numpy_calls_it(tmp_path):
    np.savez(tmp_path / "a.npz", ONE)
    assert isinstance(read(tmp_path / "a.npz").obj, NDArray)
    write(tmp_path / "b.npz", NDArray(ONE))
    assert np.load(tmp_path / "b.npz").files == ["arr_0"]


@pytest.mark.parametrize("suffix", [".msg", ".npy", ".npz", ".safetensors", ".caffemodel", ".binaryproto"])
@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (np.ma.array([1, 2], mask=[0, 1]), "got a MaskedArray; expected an NDArray, a numpy array"),
        ({"a": np.ma.array([1, 2], mask=[0, 1])}, "'a' is a MaskedArray; expected an NDArray or a numpy array"),
        ([1, 2, 3], "got a list; expected an NDArray, a numpy array, a mapping of these or a WeightCollection"),
    ],
)
def test_every_format_takes_the_same_objects(tmp_path, suffix, obj, text):
    with pytest.raises(TypeError, match=text):
        write(tmp_path / f"w{suffix}", obj)
    assert list(tmp_path.iterdir()) == []


def test_names_are_str(tmp_path):
    with pytest.raises(TypeError, match="names in a mapping are str; got 3"):
        write(tmp_path / "w.npz", {3: ONE})
    assert list(tmp_path.iterdir()) == []
