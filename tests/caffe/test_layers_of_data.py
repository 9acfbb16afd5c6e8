"""Layers without a bottom or a top: what they read is what they were given, what they write is what they were fed."""

import caffe
import h5py
import numpy as np
import pytest
from layer_cases import OF_DATA

pytestmark = pytest.mark.caffe

ROWS, LABELS = np.arange(12, dtype=np.float32).reshape(4, 3), np.arange(4, dtype=np.float32)


@pytest.fixture
def net_of(tmp_path):
    """Return a function that makes a net of its text."""

    def make(text):
        (tmp_path / "net.prototxt").write_text(text)
        return caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)

    return make


def backward_does_nothing(net):
    """Run the backward pass with a difference in every top; say whether it is still there."""
    for blob in net.blobs.values():
        blob.diff[...] = 1
    net.backward()
    return all((blob.diff == 1).all() for blob in net.blobs.values())


def test_each_of_these_types_has_a_test_here():
    tested = {name.removeprefix("test_").split("_")[0] for name in globals() if name.startswith("test_")}
    assert {kind.lower() for kind in OF_DATA} <= tested


def test_data_raises_for_the_data_bases_that_are_not_compiled_in(net_of):
    for backend in ("LMDB", "LEVELDB"):
        with pytest.raises(RuntimeError, match="Unknown database backend"):
            net_of(f'layer {{ type: "Data" top: "x" data_param {{ source: "x" batch_size: 1 backend: {backend} }} }}')


def test_dummydata_gives_what_its_fillers_fill(net_of):
    shapes = "shape { dim: 2 dim: 3 } shape { dim: 100 }"
    fillers = 'data_filler { value: 5 } data_filler { type: "uniform" min: 1 max: 2 }'
    net = net_of(f'layer {{ type: "DummyData" top: "a" top: "b" dummy_data_param {{ {shapes} {fillers} }} }}')
    first, second = (net.forward()["b"].copy() for _ in range(2))
    assert (net.blobs["a"].data == np.full((2, 3), 5)).all()
    assert ((first >= 1) & (first < 2)).all()
    assert (first != second).any()
    assert backward_does_nothing(net)


def test_hdf5data_gives_the_rows_of_its_files_in_turn(net_of, tmp_path):
    for number in range(2):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["x"], file["y"] = ROWS[number::2], LABELS[number::2]
    (tmp_path / "list").write_text(f"{tmp_path}/0.h5\n{tmp_path}/1.h5\n")
    net = net_of(
        f'layer {{ type: "HDF5Data" top: "x" top: "y" hdf5_data_param {{ source: "{tmp_path}/list" batch_size: 3 }} }}'
    )
    order = [0, 2, 1, 3, 0, 2]
    for rows in (order[:3], order[3:]):
        batch = net.forward()
        assert np.array_equal(batch["x"], ROWS[rows])
        assert np.array_equal(batch["y"], LABELS[rows])
    assert backward_does_nothing(net)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [({"x": ROWS[:0]}, "HDF5 dataset x is empty"), ({"z": ROWS}, "Failed to find HDF5 dataset x")],
)
def test_hdf5data_raises_for_a_file_without_its_rows_and_lets_go_of_it(net_of, tmp_path, datasets, message):
    text = f'layer {{ type: "HDF5Data" top: "x" hdf5_data_param {{ source: "{tmp_path}/list" batch_size: 4 }} }}'
    (tmp_path / "list").write_text(f"{tmp_path}/rows.h5\n")
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file.update(datasets)
    with pytest.raises(RuntimeError, match=message):
        net_of(text)
    with h5py.File(tmp_path / "rows.h5", "w") as file:  # refused while Caffe has it open
        file["x"] = ROWS
    assert np.array_equal(net_of(text).forward()["x"], ROWS)


def test_hdf5output_writes_the_data_and_labels_of_a_batch(net_of, tmp_path):
    fed = "\n".join(
        f'layer {{ type: "Input" top: "{name}" input_param {{ shape {{ dim: 4 {rest} }} }} }}'
        for name, rest in (("x", "dim: 3 dim: 1 dim: 1"), ("y", "dim: 1 dim: 1 dim: 1"))
    )
    output = (
        f'layer {{ type: "HDF5Output" bottom: "x" bottom: "y" hdf5_output_param {{ file_name: "{tmp_path}/out.h5" }} }}'
    )
    net = net_of(f"{fed}\n{output}")
    net.blobs["x"].data[..., 0, 0], net.blobs["y"].data[:, 0, 0, 0] = ROWS, LABELS
    net.forward()
    assert backward_does_nothing(net)
    del net
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.array_equal(file["data"][..., 0, 0], ROWS)
        assert np.array_equal(file["label"][:, 0, 0, 0], LABELS)


def test_input_gives_what_was_written_into_it(net_of):
    net = net_of('layer { type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }')
    net.blobs["x"].data[...] = ROWS
    assert np.array_equal(net.forward()["x"], ROWS)
    assert backward_does_nothing(net)


def test_memorydata_gives_its_arrays_a_batch_at_a_time_and_from_the_start_again(net_of):
    shape = "batch_size: 2 channels: 3 height: 1 width: 1"
    net = net_of(f'layer {{ type: "MemoryData" top: "x" top: "y" memory_data_param {{ {shape} }} }}')
    net.set_input_arrays(rows := ROWS.reshape(4, 3, 1, 1).copy(), LABELS)
    for batch in (slice(2), slice(2, 4), slice(2)):
        given = net.forward()
        assert np.array_equal(given["x"], rows[batch])
        assert np.array_equal(given["y"].ravel(), LABELS[batch])
    assert backward_does_nothing(net)


def test_parameter_gives_its_weights_and_takes_their_gradient(net_of):
    learned = 'layer { name: "w" type: "Parameter" top: "w" parameter_param { shape { dim: 4 dim: 3 } } }'
    net = net_of(learned + 'layer { type: "Power" bottom: "w" top: "x" loss_weight: 1 power_param { scale: 2 } }')
    net.params["w"][0].data[...] = ROWS
    assert np.array_equal(net.forward()["x"], 2 * ROWS)
    net.backward()
    assert (net.params["w"][0].diff == 2).all()


# ------------------------------------------------------------------------------------------ batches of nothing


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ('type: "BatchNorm" bottom: "x"', "BatchNorm: a batch without rows"),
        ('type: "Accuracy" bottom: "x" bottom: "y"', "Accuracy: a batch without labels"),
        ('type: "Reshape" bottom: "x" reshape_param { shape { dim: 0 dim: -1 } }', "Reshape: no axis can be inferred"),
    ],
)
def test_a_layer_that_needs_rows_raises_for_none(net_of, layer, message):
    fed = 'layer { type: "Input" top: "x" top: "y" input_param { shape { dim: 0 dim: 3 } shape { dim: 0 } } }'
    with pytest.raises(RuntimeError, match=message):
        net_of(f'{fed} layer {{ {layer} top: "z" }}')


def test_a_filter_may_select_nothing(net_of):
    learned = 'layer { name: "w" type: "Parameter" top: "x" parameter_param { shape { dim: 4 dim: 3 } } }'
    none = 'layer { type: "DummyData" top: "chosen" dummy_data_param { shape { dim: 4 } } }'
    net = net_of(f'{learned} {none} layer {{ type: "Filter" bottom: "x" bottom: "chosen" top: "f" loss_weight: 1 }}')
    assert net.forward()["f"].shape == (0, 3)
    net.blobs["x"].diff[...] = 1
    net.backward()
    assert not net.params["w"][0].diff.any()
