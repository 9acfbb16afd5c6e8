"""Files of weights: read by what they hold, whatever they are called, and refused where a shape differs."""

import caffe
import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.caffe

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
IP = """layer { name: "i" type: "InnerProduct" bottom: "x" top: "i" inner_product_param { num_output: 3
    weight_filler { type: "gaussian" } } }
"""
NET = INPUT + IP
SHARED = (
    INPUT
    + IP.replace("inner_product_param", 'param { name: "w" } param { name: "b" } inner_product_param')
    + (
        IP.replace('"i"', '"j"').replace(
            "inner_product_param", 'param { name: "w" } param { name: "b" } inner_product_param'
        )
    )
)


@pytest.fixture
def net_of(tmp_path):
    """Return a function that makes a net of its text."""

    def make(text=NET):
        (tmp_path / "any.prototxt").write_text(text)
        return caffe.Net(str(tmp_path / "any.prototxt"), caffe.TRAIN)

    return make


def weights(net):
    """Return copies of a net's weights."""
    return {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}


def same(left, right):
    """Say whether two nets' weights are equal."""
    return left.keys() == right.keys() and all(
        np.array_equal(a, b) for name in left for a, b in zip(left[name], right[name], strict=True)
    )


def write(path, datasets):
    """Write an HDF5 file of a dataset name -> value; return its name."""
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            if value is None:
                file.create_group(name)
            else:
                file[name] = value
    return str(path)


@pytest.mark.parametrize("name", ["w.h5", "w.hdf5", "w.caffemodel", "w", "w.caffemodel.h5", "w.h5.bak"])
@pytest.mark.parametrize("form", ["save", "save_hdf5"])
def test_copy_from_reads_weights_under_any_name(net_of, tmp_path, form, name):
    source, target = net_of(), net_of()
    getattr(source, form)(str(tmp_path / name))
    assert not same(weights(source), weights(target))
    target.copy_from(str(tmp_path / name))
    assert same(weights(source), weights(target))


def test_a_net_made_with_weights_reads_hdf5_too(net_of, tmp_path):
    source = net_of()
    source.save_hdf5(str(tmp_path / "w.weights"))
    made = caffe.Net(str(tmp_path / "any.prototxt"), str(tmp_path / "w.weights"), caffe.TEST)
    assert same(weights(source), weights(made))


GOOD = np.arange(6, dtype=np.float32).reshape(3, 2)
BIAS = np.zeros(3, np.float32)


@pytest.mark.parametrize("load", ["load_hdf5", "copy_from"])
@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        pytest.param({"data/i/0": GOOD[:2], "data/i/1": BIAS}, "the net needs 3 2 ", id="fewer rows"),
        pytest.param({"data/i/0": GOOD.T, "data/i/1": BIAS}, "The file has 2 3 ", id="as many entries"),
        pytest.param({"data/i/0": GOOD.ravel(), "data/i/1": BIAS}, "shape mismatch", id="one axis less"),
        pytest.param({"data/i/0": GOOD[None], "data/i/1": BIAS}, "shape mismatch", id="one axis more"),
        pytest.param({"data/i/0": np.float32(1), "data/i/1": BIAS}, "shape mismatch", id="no axis"),
        pytest.param({"data/i/0": GOOD, "data/i/1": BIAS[:0]}, "shape mismatch", id="an empty bias"),
        pytest.param({"data/i/0": GOOD}, "Incompatible number of blobs for layer i", id="no bias"),
        pytest.param({"data/i/0": GOOD, "data/i/1": BIAS, "data/i/2": BIAS}, "number of blobs", id="a blob too many"),
        pytest.param({"data/i/0": "text", "data/i/1": BIAS}, "H5T_STRING", id="text"),
        pytest.param({"data/i/0": None, "data/i/1": BIAS}, "0", id="a group for a blob"),
        pytest.param({"data/i": GOOD}, "Error reading weights", id="a dataset for a layer"),
        pytest.param({"weights": GOOD}, "Error reading weights", id="another program's file"),
    ],
)
def test_hdf5_weights_of_another_form_raise_and_leave_the_file_free(net_of, tmp_path, load, datasets, message):
    net, path = net_of(), write(tmp_path / "w.hdf5", datasets)
    before = weights(net)["i"][0].shape
    with pytest.raises(RuntimeError, match=message):
        getattr(net, load)(path)
    assert net.params["i"][0].data.shape == before
    net.save_hdf5(path)  # refused while the file is open
    net.load_hdf5(path)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint8, ">f4"])
def test_hdf5_weights_of_other_dtypes_are_converted(net_of, tmp_path, dtype):
    net = net_of()
    net.copy_from(write(tmp_path / "w", {"data/i/0": GOOD.astype(dtype), "data/i/1": BIAS.astype(dtype)}))
    assert np.array_equal(net.params["i"][0].data, GOOD)


def test_layers_that_the_net_or_the_file_lacks_are_left_alone(net_of, tmp_path):
    net = net_of()
    before = weights(net)
    net.copy_from(write(tmp_path / "w", {"data/other/0": GOOD}))
    assert same(weights(net), before)


def test_shared_weights_are_stored_once_and_come_back_to_both_layers(net_of, tmp_path):
    source, target = net_of(SHARED), net_of(SHARED)
    source.save_hdf5(str(tmp_path / "w"))
    with h5py.File(tmp_path / "w") as file:
        assert (list(file["data/i"]), list(file["data/j"])) == (["0", "1"], [])
    target.copy_from(str(tmp_path / "w"))
    assert np.array_equal(target.params["j"][0].data, source.params["i"][0].data)


@pytest.mark.parametrize("name", ["a/b", "x"])
def test_a_layer_that_hdf5_cannot_save_is_named_and_the_file_stays_free(net_of, tmp_path, name):
    path = str(tmp_path / "w.h5")
    with pytest.raises(RuntimeError, match=f"layer '{name}'. In HDF5 a name is used once, and a slash divides it"):
        net_of(INPUT + IP.replace('name: "i"', f'name: "{name}"')).save_hdf5(path)
    net = net_of()
    net.save_hdf5(path)
    net.load_hdf5(path)
