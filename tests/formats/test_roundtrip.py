"""What is written to a file of any format is what is read from it, bit for bit."""

from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from strategies import NUMPY_DTYPES, layer_names, mappings, ndarrays, weight_collections

from sparknet import NDArray, SchemaError, WeightCollection
from sparknet.formats import convert, read, write

SUFFIXES = (".sparknet", ".npz", ".safetensors", ".caffemodel")
FOREIGN = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
# what safetensors has no name for
NOT_COMPLEX128 = tuple(dtype for dtype in NUMPY_DTYPES if dtype != "complex128")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


def with_arrays(weights):
    """The collection without the layers that have no arrays, which other formats cannot express."""
    return WeightCollection({name: arrays for name, arrays in weights.items() if arrays})


def bits(array):
    """What an array is: dtype, shape and bytes in C order, little-endian."""
    host = array.to_host()
    return host.dtype.name, host.shape, host.astype(host.dtype.newbyteorder("<")).tobytes()


def bits_of(obj):
    """What weights or a mapping are, the order of weights included."""
    if isinstance(obj, WeightCollection):
        return [(name, [bits(array) for array in arrays]) for name, arrays in obj.items()]
    return {name: bits(array) for name, array in obj.items()}


@pytest.mark.parametrize("suffix", SUFFIXES[1:])
@given(weights=weight_collections())
@example(weights=WeightCollection({"a/0": [np.ones(2)], "a": [np.ones(2), np.zeros(1)], "": [np.ones(1)]}))
@example(weights=WeightCollection({"z": [np.ones(1)], "conv10": [np.ones(1)], "conv2": [np.ones(1)]}))
@example(weights=WeightCollection({"ip": [np.ones((1, 1, 3, 4), "f4"), np.ones((1, 1, 1, 3), "f4"), np.ones(())]}))
@example(weights=WeightCollection({"many": [np.full(i, i, "f4") for i in range(12)]}))
def test_any_weights_come_back_in_their_order(folder, suffix, weights):
    weights = with_arrays(weights)
    assume(weights)
    write(folder / f"w{suffix}", weights)
    assert bits_of(read(folder / f"w{suffix}").obj) == bits_of(weights)


@given(weights=weight_collections())
def test_a_chain_of_conversions_through_every_format_changes_no_byte(folder, weights):
    weights = with_arrays(weights)
    assume(weights)
    files = [folder / f"chain{i}{suffix}" for i, suffix in enumerate([*SUFFIXES, ".msg"])]
    write(files[0], weights)
    for source, target in pairwise(files):
        convert(source, target)
    assert files[-1].read_bytes() == files[0].read_bytes()


@pytest.mark.parametrize(("suffix", "dtypes"), [(".npz", NUMPY_DTYPES), (".safetensors", NOT_COMPLEX128)])
@given(data=st.data())
def test_any_mapping_comes_back(folder, suffix, dtypes, data):
    arrays = data.draw(mappings(dtypes))
    # those that follow the rule for the arrays of layers come back as weights, and numpy's name as an array
    assume(not any("/" in name or name == "arr_0" for name in arrays))
    write(folder / f"m{suffix}", arrays)
    back = read(folder / f"m{suffix}").obj
    assert type(back) is dict
    assert bits_of(back) == bits_of(arrays)


@pytest.mark.parametrize(
    ("suffix", "dtypes"), [(".npy", NUMPY_DTYPES), (".npz", NUMPY_DTYPES), (".safetensors", NOT_COMPLEX128)]
)
@given(data=st.data())
def test_a_single_array_comes_back(folder, suffix, dtypes, data):
    array = data.draw(ndarrays(dtypes))
    write(folder / f"a{suffix}", array)
    back = read(folder / f"a{suffix}").obj
    assert isinstance(back, NDArray)
    assert bits(back) == bits(array)


@pytest.mark.parametrize("dtype", FOREIGN)
def test_bfloat16_and_float8_go_through_safetensors_and_nothing_else(tmp_path, dtype):
    every = np.arange(256, dtype="uint8").repeat(np.dtype(getattr(ml_dtypes, dtype)).itemsize)
    weights = WeightCollection({"ip": [every.view(getattr(ml_dtypes, dtype))]})
    write(tmp_path / "w.msg", weights)
    convert(tmp_path / "w.msg", tmp_path / "w.safetensors")
    convert(tmp_path / "w.safetensors", tmp_path / "back.msg")
    assert read(tmp_path / "back.msg").obj == weights
    for name in "w.npz", "w.npy", "w.caffemodel", "w.binaryproto":
        with pytest.raises(SchemaError, match=rf"tensor 'ip/0' is {dtype}; a \.\w+ file holds .*float32.*astype"):
            convert(tmp_path / "w.msg", tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"w.msg", "w.safetensors", "back.msg"}


@given(weights=weight_collections(max_layers=2), name=layer_names)
def test_writing_the_same_gives_the_same_bytes(folder, weights, name):
    weights = WeightCollection({**weights, name: [np.ones(2, "f4")]})
    for suffix in SUFFIXES:
        write(folder / f"one{suffix}", weights)
        write(folder / f"two{suffix}", weights.copy())
        assert (folder / f"one{suffix}").read_bytes() == (folder / f"two{suffix}").read_bytes()
