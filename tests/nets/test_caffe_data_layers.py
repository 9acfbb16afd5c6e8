"""Data layers of a prototxt become inputs that do to their images what the layers say, in each phase."""

import pickle

import numpy as np
import pytest

from sparknet import DataError, NDArray, NetError
from sparknet.data import Field
from sparknet.data.sampling import step_rng
from sparknet.formats import binaryproto
from sparknet.nets.caffe import CaffeNet, Prepared

pytestmark = pytest.mark.caffe

SOLVER = 'base_lr: 0.05 lr_policy: "fixed" momentum: 0.9'
PARAMS = {
    "Data": 'data_param { source: "/none/train_lmdb" backend: LMDB batch_size: 8 }',
    "ImageData": 'image_data_param { source: "/none/list.txt" batch_size: 8 }',
    "MemoryData": "memory_data_param { batch_size: 8 channels: 3 height: 6 width: 6 }",
    "HDF5Data": 'hdf5_data_param { source: "/none/h5.txt" batch_size: 8 }',
    "WindowData": 'window_data_param { source: "/none/windows.txt" batch_size: 8 }',
}
FIELDS = [Field("data", (3, 8, 8), "uint8"), Field("label", (), "int64")]
RNG = np.random.default_rng(4)
IMAGES = RNG.integers(0, 256, (8, 3, 8, 8), np.uint8)
LABELS = RNG.integers(0, 5, 8)
BATCH = {"data": NDArray(IMAGES), "label": NDArray(LABELS)}
MEAN = RNG.uniform(100, 130, (3, 8, 8)).astype(np.float32)
VALUES = np.array([104, 117, 123], np.float32)
CENTRE = IMAGES[..., 1:7, 1:7]


def layer(more="", kind="Data"):
    return f'layer {{ name: "in" type: "{kind}" top: "data" top: "label" {PARAMS[kind]} {more} }}\n'


@pytest.fixture
def make(write, body):
    return lambda layers, fields=FIELDS, **options: CaffeNet(write(SOLVER, layers + body), fields=fields, **options)


def seen(net, batch=BATCH):
    """What the first layer of the test phase gets."""
    return net.forward(batch, outputs=["data"])["data"].to_host()


# ---- values
@pytest.fixture
def mean_file(tmp_path):

    binaryproto.write(tmp_path / "mean.binaryproto", NDArray(MEAN), {})
    return 'mean_file: "mean.binaryproto"'  # beside the prototxt


@pytest.mark.parametrize("kind", ["Data", "ImageData", "MemoryData"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("crop_size: 6", CENTRE.astype(np.float32)),
        ("crop_size: 6 scale: 0.0078125", CENTRE * np.float32(0.0078125)),
        ("crop_size: 6 mean_value: 104 mean_value: 117 mean_value: 123", CENTRE - VALUES[:, None, None]),
        ("crop_size: 6 mean_value: 110 scale: 0.017", (CENTRE - np.float32(110)) * np.float32(0.017)),
        ("crop_h: 6 crop_w: 6 mirror: true", CENTRE.astype(np.float32)),  # an evaluation is the same each time
    ],
)
def test_the_test_phase_sees_the_centre_minus_the_mean_times_the_scale(make, kind, said, expected):
    net = make(layer(f"transform_param {{ {said} }}", kind))
    assert net.input_shapes["data"] == (8, 3, 6, 6)
    assert seen(net).tobytes() == expected.tobytes()


def test_a_mean_image_is_subtracted_where_the_crop_is(make, mean_file):
    net = make(layer(f"transform_param {{ crop_size: 6 scale: 0.5 {mean_file} }}"))
    expected = (CENTRE - MEAN[:, 1:7, 1:7]) * np.float32(0.5)
    assert seen(net).tobytes() == expected.tobytes()


def test_windows_are_cut_already_and_their_mean_image_is_not(make, mean_file):
    net = make(
        layer(f"transform_param {{ crop_size: 6 {mean_file} }}", "WindowData"),
        fields=[Field("data", (3, 6, 6), "uint8"), FIELDS[1]],
    )
    batch = {**BATCH, "data": NDArray(CENTRE)}
    assert seen(net, batch).tobytes() == (CENTRE - MEAN[:, 1:7, 1:7]).tobytes()


def test_prototxts_of_2014_say_it_in_the_layer_s_own_parameters(write):
    v1 = 'layers { name: "in" type: DATA top: "data" top: "label" data_param { scale: 0.5 crop_size: 6 batch_size: 8 } }\n'
    ip = 'layers { name: "ip" type: INNER_PRODUCT bottom: "data" top: "ip" inner_product_param { num_output: 5 } }\n'
    net = CaffeNet(write(SOLVER, v1 + ip), fields=FIELDS)
    assert seen(net).tobytes() == (CENTRE * np.float32(0.5)).tobytes()


def test_each_phase_has_its_own_transformation(make):
    train = layer("include { phase: TRAIN } transform_param { crop_size: 6 mirror: true scale: 2 }")
    test = layer("include { phase: TEST } transform_param { crop_size: 6 scale: 3 }").replace('"in"', '"in2"')
    net = make(train + test)
    assert np.array_equal(seen(net), CENTRE * np.float32(3))
    found = net.prepare(BATCH, np.random.default_rng(0), train=True)["data"].to_host()
    assert found.max() <= 2 * 255
    assert found.shape == (8, 3, 6, 6)


def test_several_data_layers_each_change_their_own_images(make):
    second = (
        'layer { name: "in2" type: "Data" top: "other" data_param { batch_size: 8 } transform_param { scale: 3 } }\n'
    )
    net = make(layer("transform_param { crop_size: 6 }") + second, [*FIELDS, Field("other", (1, 2, 2))])
    batch = {**BATCH, "other": NDArray(np.ones((8, 1, 2, 2), np.float32))}
    found = net.forward(batch, outputs=["data", "other"])
    assert found["data"].shape == (8, 3, 6, 6)
    assert set(found["other"].to_host().ravel().tolist()) == {3}


# ---- training
RANDOM = layer("transform_param { crop_size: 6 mirror: true mean_value: 110 scale: 0.01 }")


def test_training_crops_and_mirrors_at_random_as_seed_and_iteration_say(make):
    net, again = make(RANDOM, seed=3), make(RANDOM, seed=3)
    assert [net.step(BATCH) for _ in range(5)] == [again.step(BATCH) for _ in range(5)]
    other = make(RANDOM, seed=3)
    other.reseed(4)
    assert other.step(BATCH) != make(RANDOM, seed=3).step(BATCH)


def test_a_step_on_a_batch_as_it_is_is_a_step_on_one_prepared_before(make):
    net, prepared = make(RANDOM, seed=3), make(RANDOM, seed=3)
    for i in range(5):
        batch = prepared.prepare(BATCH, step_rng(3, 0, i), train=True)
        assert isinstance(batch, Prepared)
        assert net.step(BATCH) == prepared.step(batch)
    assert net.get_weights() == prepared.get_weights()
    ready = net.prepare(BATCH, step_rng(0, 0, 0), train=False)
    assert float(net.forward(ready)["loss"]) == float(net.forward(BATCH)["loss"])


def test_batches_that_come_with_it_done_are_taken_with_ignore_transform(make):
    net = make(RANDOM, seed=3)
    done = make(RANDOM, [Field("data", (3, 6, 6)), FIELDS[1]], seed=3, ignore_transform=True)
    for i in range(3):
        assert done.step(dict(net.prepare(BATCH, step_rng(3, 0, i), train=True))) == net.step(BATCH)


def test_the_factory_carries_the_transformation_and_the_mean_image(write, body, mean_file, tmp_path):
    text = layer(f"transform_param {{ crop_size: 6 mirror: true {mean_file} }}") + body
    factory = CaffeNet.factory(write(SOLVER, text), fields=FIELDS)
    (tmp_path / "mean.binaryproto").unlink()
    first, again = factory(seed=2), pickle.loads(pickle.dumps(factory))(seed=2)
    assert [first.step(BATCH) for _ in range(3)] == [again.step(BATCH) for _ in range(3)]


def test_a_transformation_that_does_nothing_passes(make, tiny):
    nothing = "transform_param { scale: 1 mirror: false crop_size: 0 force_gray: true }"
    net = make(layer(nothing), [Field("data", (1, 6, 6)), Field("label")])
    batch = tiny.batch()
    assert np.array_equal(seen(net, batch), batch["data"].to_host())


# ---- mistakes
@pytest.mark.parametrize(
    ("layers", "match"),
    [
        (
            layer("transform_param { emit_constraint { } }"),
            r'TransformationParameter has no field named "emit_constraint" \(known to SSD',
        ),
        (layer('transform_param { mean_file: "m" mean_value: 1 }'), "both mean_file and mean_value"),
        (layer("transform_param { force_color: true force_gray: true }"), "both force_color and force_gray"),
        (layer('transform_param { mean_file: "none.binaryproto" }'), r"no mean_file at '.*none\.binaryproto'"),
        (layer('transform_param { mean_file: "net.prototxt" }'), r"the mean_file '.*net\.prototxt' cannot be read"),
        (layer("transform_param { scale: 2 }", "HDF5Data"), r"transform_param \(scale\), but this type of layer takes none"),
        (layer("transform_param { crop_size: 9 }"), r"does not fit the fields given: Crop: 9x9 does not fit into 'data'"),
        (layer("transform_param { mean_value: 1 mean_value: 2 }"), r"a mean of shape \(2,\) does not fit 'data'"),
        (layer("transform_param { force_gray: true }"), r"force_gray, so its images have 1 channels; the field given is"),
        (
            layer("transform_param { crop_size: 5 }", "MemoryData"),
            r"'data' is declared with examples of shape \(3, 6, 6\); the field given is 'data' uint8 \(3, 5, 5\)",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named(make, layers, match):
    with pytest.raises(NetError, match=match):
        make(layers)


def test_images_that_do_not_fit_are_refused_and_change_nothing(make):
    net = make(RANDOM, seed=3)
    before = net.get_weights()
    with pytest.raises(DataError, match=r"Crop: 6x6 does not fit into 'data' of shape \(3, 5, 5\)"):
        net.step({**BATCH, "data": NDArray(IMAGES[..., :5, :5])})
    with pytest.raises(DataError, match=r"column 'data' needs \(rows, \*\(3, 6, 6\)\)"):
        net.step({**BATCH, "data": NDArray(IMAGES[:, :1])})
    assert (net.get_weights(), net.iteration) == (before, 0)
    net.step(BATCH)
