"""Preprocessors: SparkNet's golden values, train against test behaviour, and that inputs stay as they are."""

import math
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sparknet import DataError, Field, NDArray, dumps, loads
from sparknet.data.preprocess import (
    Compose,
    Crop,
    Grayscale,
    LabelMap,
    Mirror,
    Resize,
    Scale,
    SubtractMean,
    ToBGR,
    ToCHW,
)
from sparknet.data.preprocess.base import preprocessed, steps_of
from sparknet.errors import MissingDependency
from sparknet.formats import Contents, read, write


def rng(seed=0):
    return np.random.default_rng(seed)


def apply(step, x, *, train=True, seed=0):
    out = step({"data": NDArray(x)}, rng(seed), train=train)
    return out["data"].to_host()


@given(st.integers(0, 1000))
def test_a_random_2x4_crop_of_the_4x5_ramp_has_its_corner_and_rows_from_it(seed):
    ramp = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)
    crop = apply(Crop("data", 2, 4), ramp, seed=seed)[0, 0]
    corner = int(crop[0, 0])
    assert corner in {0, 1, 5, 6, 10, 11}
    assert crop.tolist() == [[corner + i for i in range(4)], [corner + 5 + i for i in range(4)]]


def test_every_corner_of_a_random_crop_occurs():
    ramp = np.broadcast_to(np.arange(20).reshape(4, 5), (500, 1, 4, 5))
    assert set(apply(Crop("data", 2, 4), ramp)[:, 0, 0, 0].tolist()) == {0, 1, 5, 6, 10, 11}


def test_the_test_crop_is_the_centre():
    ramp = np.arange(16).reshape(1, 1, 4, 4)
    assert apply(Crop("data", 2, 2), ramp, train=False).ravel().tolist() == [5, 6, 9, 10]
    assert apply(Crop("data", 2, 4), ramp, train=False)[0, 0].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]


def test_mean_subtraction_is_exact():
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    image = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    of_channels = np.array([1, 2, 3]).reshape(3, 1, 1)
    for mean, full in ((7, 7), ([1, 2, 3], of_channels), (image, image), (image[None], image), (NDArray(image), image)):
        out = apply(SubtractMean("data", mean), x)
        assert out.dtype == np.float32
        assert np.array_equal(out, x.astype(np.float32) - full)


def test_scale_gives_float32():
    out = apply(Scale("data", 1 / 256), np.array([0, 128, 255], np.uint8))
    assert (out.dtype, out.tolist()) == (np.float32, [0, 0.5, 255 / 256])


@pytest.mark.parametrize(("step", "compute"), [(Scale, np.multiply), (SubtractMean, np.subtract)])
@pytest.mark.parametrize("shape", [(3,), (3, 2, 3), (2, 3)])
def test_a_value_for_each_column_channel_or_pixel_is_computed_with_there(step, compute, shape):
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    values = np.arange(1, 1 + math.prod(shape), dtype=np.float32).reshape(shape)
    for value, meant in ((values, values), (values[None], values), (values.ravel()[0], values.ravel()[0])):
        after = step("data", value)({"data": NDArray(x)}, np.random.default_rng(0), train=True)["data"]
        np.testing.assert_array_equal(after.to_host(), compute(x, meant))
    if len(shape) == 3:  # the last axis has as many values, and is not meant
        after = step("data", [1, 2, 3])({"data": NDArray(x)}, np.random.default_rng(0), train=True)["data"]
        np.testing.assert_array_equal(after.to_host(), compute(x, np.float32([1, 2, 3])[:, None, None]))


@pytest.mark.parametrize("step", [Scale, SubtractMean])
@pytest.mark.parametrize(("value", "shape"), [([1, 2], (3,)), ([1, 2], (3, 2, 2)), ([1, 2, 3], (2, 3))])
def test_values_of_another_shape_are_refused_before_any_batch(step, value, shape):
    with pytest.raises(
        DataError, match=r"of shape \(\d.*does not fit 'data' of shape .*; expected one number, or \(\d"
    ):
        step("data", value).fields([Field("data", shape)])


def test_a_factor_is_told_in_a_few_words():
    assert Scale("data", [0.5, 2]).describe() == "x 0.5, 2"
    assert SubtractMean("data", np.arange(30)).describe() == "- 0, 1, 2, 3, ... (30 in all)"
    assert (Scale("data", np.ones((3, 2, 2))).describe(), Scale("data", 0.5).describe()) == ("x (3, 2, 2)", "x 0.5")


def test_mirror_flips_some_images_in_training_and_none_in_test():
    x = np.broadcast_to(np.arange(3), (50, 1, 1, 3))
    rows = {tuple(r) for r in apply(Mirror("data"), x).reshape(50, 3).tolist()}
    assert rows == {(0, 1, 2), (2, 1, 0)}
    assert np.array_equal(apply(Mirror("data"), x, train=False), x)


def test_bytes_over_127_are_unsigned_in_every_step():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    values = np.arange(256, dtype=np.float32)
    for step, expected in ((Scale("data", 2), 2 * values), (SubtractMean("data", 200), values - 200)):
        assert np.array_equal(apply(step, ramp).ravel(), expected)
    for step in (Crop("data", 16, 16), Resize("data", 16, 16), Mirror("data")):
        assert np.array_equal(apply(step, ramp, train=False), ramp)
    gray = apply(Grayscale("data"), np.repeat(ramp, 3, axis=1))
    assert (gray.dtype, gray.tolist()) == (np.uint8, ramp.tolist())


@given(
    st.permutations(["crop", "mirror", "mean", "scale"]).filter(
        lambda order: order.index("mean") < order.index("scale")
    )
)
def test_moving_pixels_before_or_after_computing_with_them_gives_the_same_bits(order):
    # One mean a channel; the crop draws before the mirror, in whichever place they stand.
    moves = [step for step in order if step in ("crop", "mirror")]
    steps = {"mean": SubtractMean("data", [1.5, 2.25, 3]), "scale": Scale("data", 0.017)}
    steps |= {"crop": Crop("data", 3, 4), "mirror": Mirror("data")}
    x = rng(5).integers(0, 256, (6, 3, 5, 7)).astype(np.uint8)
    first = [*moves, "mean", "scale"]
    out, expected = (apply(Compose(*map(steps.get, names)), x, seed=3) for names in (order, first))
    assert out.tobytes() == expected.tobytes()


STEPS = {
    "crop": Crop("data", 3, 4),
    "mirror": Mirror("data"),
    "bgr": ToBGR("data"),
    "mean": SubtractMean("data", [1.5, 2.25, 3]),
    "mean image": SubtractMean("data", rng(4).random((3, 5, 7))),
    "scale": Scale("data", 0.017),
    "one mean": SubtractMean("data", 100),
    "other field": Scale("other", 3.0),
}


@given(
    names=st.lists(st.sampled_from(list(STEPS)), min_size=1, max_size=6).filter(
        lambda names: "crop" not in names or "mean image" not in names[names.index("crop") :]  # it would not fit
    ),
    rows=st.integers(0, 9),
    train=st.booleans(),
)
def test_a_composition_has_the_bits_of_its_steps_one_by_one(names, rows, train):
    steps = [STEPS[name] for name in names]
    x = rng(5).integers(0, 256, (rows, 3, 5, 7)).astype(np.uint8)
    x.flags.writeable = False
    batch = one_by_one = {"data": NDArray(x), "other": NDArray(np.arange(rows))}
    at_once = Compose(*steps)(batch, rng(3), train=train)
    generator = rng(3)
    for step in steps:
        one_by_one = step(one_by_one, generator, train=train)
    for name, array in one_by_one.items():
        found, expected = at_once[name].to_host(), array.to_host()
        assert (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


def test_steps_are_checked_against_what_the_steps_before_them_make():
    x = np.zeros((2, 3, 4, 4), np.uint8)
    with pytest.raises(DataError, match=r"a mean of shape \(3, 4, 4\) does not fit 'data' of shape \(3, 2, 2\)"):
        apply(Compose(Crop("data", 2, 2), SubtractMean("data", np.zeros((3, 4, 4)))), x)
    with pytest.raises(DataError, match="LabelMap: example 1 of the batch has the data 9"):
        apply(Compose(Mirror("data"), LabelMap("data", {0: 1})), np.array([[[0, 0]], [[0, 9]]]))


@pytest.mark.torch
@pytest.mark.parametrize("train", [True, False])
def test_torch_takes_what_steps_that_move_pixels_make(train):
    # It ends the process at a negative stride.
    import torch

    x = rng(6).integers(0, 256, (8, 3, 4, 5)).astype(np.uint8)
    crop, mirror, bgr, chw = Crop("data", 2, 3), Mirror("data"), ToBGR("data"), ToCHW("data")
    for step in (crop, mirror, bgr, chw, Compose(bgr, crop, mirror), Compose(Scale("data", 2), mirror, bgr)):
        out = step({"data": NDArray(x)}, rng(), train=train)["data"]
        assert torch.from_dlpack(out).numpy().tobytes() == out.to_host().tobytes()


def test_images_of_numpy_become_those_of_nets_and_channels_are_reversed():
    ramp = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    chw = apply(ToCHW("data"), ramp)
    assert (chw.shape, chw[0, :, 0, 0].tolist(), chw.flags.c_contiguous) == ((1, 3, 2, 4), [0, 1, 2], True)
    bgr = apply(ToBGR("data"), chw)
    assert bgr[0, :, 1, 3].tolist() == [23, 22, 21]
    assert np.array_equal(apply(ToBGR("data"), bgr), chw)
    assert bgr.flags.c_contiguous


def test_gray_is_luma_rounded_as_pillow_does():
    x = rng(2).integers(0, 256, (4, 3, 5, 6)).astype(np.uint8)
    expected = [np.asarray(Image.fromarray(np.moveaxis(image, 0, -1)).convert("L")) for image in x]
    assert np.array_equal(apply(Grayscale("data"), x)[:, 0], expected)


def test_labels_are_mapped_and_an_unknown_one_is_named_with_its_place():
    step = pickle.loads(pickle.dumps(LabelMap("data", {12: 1, -3: 0, 7: 7})))
    out = apply(step, np.array([7, 12, -3, 12], np.int32))
    assert (out.dtype, out.tolist()) == (np.int64, [7, 1, 0, 1])
    assert apply(step, np.zeros(0, np.int64)).tolist() == []
    for label in (8, 13, -4):
        with pytest.raises(
            DataError, match=f"example 1 of the batch has the data {label}; expected one of the 3 labels -3"
        ):
            apply(step, np.array([7, label]))
    with pytest.raises(DataError, match="got no labels for 'y', expected at least one"):
        LabelMap("y", {})


@pytest.mark.parametrize("labels", [[5, 7], {"cat": 0}, {0.5: 0}, {0: "cat"}, {2**63: 0}, {True: 0}])
def test_a_map_of_other_than_whole_numbers_is_refused_before_any_batch(labels):
    with pytest.raises(
        DataError, match=r"LabelMap: got .* for 'y', expected a mapping from stored labels to the net's, int64"
    ):
        LabelMap("y", labels)


@pytest.mark.parametrize("size", [(0, 2), (2.5, 2), ("a", 2), (2, -1)])
@pytest.mark.parametrize("step", [Crop, Resize])
def test_a_size_that_is_none_is_refused_before_any_batch(step, size):
    with pytest.raises(DataError, match=r"got a size of .*, expected whole numbers, at least 1x1"):
        step("data", *size)


@pytest.mark.parametrize("step", [None, "data", Scale, [Scale("data", 2)]])
def test_a_step_that_is_no_preprocessor_is_refused_before_any_batch(step):
    with pytest.raises(DataError, match=r"^Compose: got .*, expected one such as Scale\('data', 1 / 256\)"):
        Compose(Scale("data", 2), step)


def test_the_steps_of_compositions_in_each_other_are_told_one_by_one():
    first, second, third = Scale("data", 2), Mirror("data"), LabelMap("y", {0: 1})
    assert steps_of(Compose(first, Compose(second, Compose(), Compose(third)))) == [first, second, third]
    assert (steps_of(first), steps_of(Compose()), steps_of(None)) == ([first], [], [])


def test_the_same_generator_gives_the_same_batch_and_inputs_are_not_written_to():
    steps = Compose(Scale("data", 0.5), Crop("data", 3, 3), Mirror("data"), SubtractMean("data", 1.0))
    x = rng(3).integers(0, 255, (8, 3, 5, 5)).astype(np.uint8)
    x.flags.writeable = False
    first, again = apply(steps, x, seed=1), apply(pickle.loads(pickle.dumps(steps)), x, seed=1)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != apply(steps, x, seed=2).tobytes()


def test_fields_say_what_comes_out_and_misfits_are_named():
    image = Field("data", (1, 4, 5), "uint8")
    color, label = Field("data", (3, 4, 5), "uint8"), Field("y", (), "int32")
    assert Crop("data", 2, 3).fields([image]) == [Field("data", (1, 2, 3), "uint8")]
    assert ToCHW("data").fields([Field("data", (4, 5, 3), "uint8"), label]) == [color, label]
    assert Grayscale("data").fields(ToBGR("data").fields([color])) == [image]
    assert Resize("data", 9, 8).fields([color]) == [Field("data", (3, 9, 8), "uint8")]
    assert LabelMap("y", {1: 0}).fields([color, label]) == [color, Field("y", (), "int64")]
    with pytest.raises(DataError, match="Crop: 6x6 does not fit into 'data'"):
        Crop("data", 6, 6).fields([image])
    with pytest.raises(DataError, match="Scale: no field 'pixels'; there are 'data'"):
        Compose(Scale("pixels", 2)).fields([image])
    with pytest.raises(DataError, match="Mirror: 'y' has examples of shape"):
        Mirror("y").fields([Field("y")])
    with pytest.raises(
        DataError, match=r"ToBGR: 'data' has examples of shape \(1, 4, 5\), uint8; expected .* \(3, h, w\)"
    ):
        ToBGR("data").fields([image])
    with pytest.raises(DataError, match=r"ToCHW: 'y' .* expected images \(h, w, c\)"):
        ToCHW("y").fields([label])
    with pytest.raises(DataError, match=r"Resize: 'data' .* float64; expected images \(c, h, w\), uint8 or float32"):
        Resize("data", 2, 2).fields([Field("data", (1, 4, 5), "float64")])
    with pytest.raises(DataError, match="put Grayscale before ToBGR, the mean and the scale"):
        Compose(Scale("data", 2), Grayscale("data")).fields([color])
    with pytest.raises(DataError, match=r"LabelMap: 'y' has examples of shape \(\), float32; expected whole numbers"):
        LabelMap("y", {1: 0}).fields([Field("y")])
    with pytest.raises(DataError, match=r"a mean of shape \(3,\) does not fit 'data' of shape \(1, 4, 5\)"):
        SubtractMean("data", [1, 2, 3]).fields([image])
    with pytest.raises(DataError, match=r"a mean of shape \(3,\) does not fit 'data' of shape \(2, 4, 5\)"):
        apply(SubtractMean("data", [1, 2, 3]), np.zeros((1, 2, 4, 5), np.float32))


def test_a_mean_is_taken_as_it_was_read_from_a_file(tmp_path):
    mean = rng(3).random((3, 4, 5)).astype("f4")
    x = rng(4).random((2, 3, 4, 5)).astype("f4")
    write(tmp_path / "mean.binaryproto", NDArray(mean))
    assert np.array_equal(apply(SubtractMean("data", read(tmp_path / "mean.binaryproto")), x), x - mean)


@pytest.mark.parametrize(
    ("given_mean", "text"),
    [
        (
            "mean.binaryproto",
            r"the path 'mean\.binaryproto', expected finite numbers: sparknet\.formats\.read\(path\)\.obj",
        ),
        (Path("a.npy"), r"the path 'a\.npy', expected finite numbers"),
        (Contents({"mean": NDArray(1.0)}, {}), "a dict of 'mean', expected finite numbers: take the mean from it"),
    ],
    ids=["str", "Path", "mapping of a file"],
)
def test_a_mean_that_is_no_numbers_is_told_where_they_are(given_mean, text):
    with pytest.raises(DataError, match=f"SubtractMean of 'data': got {text}"):
        SubtractMean("data", given_mean)


@pytest.mark.parametrize("value", [None, np.nan, [1.0, np.inf, 2.0], "x", np.full((3, 2, 2), np.nan), [[1], [2, 3]]])
@pytest.mark.parametrize("step", [Scale, SubtractMean])
def test_what_would_leave_no_finite_number_is_refused(step, value):
    with pytest.raises(DataError, match=f"{step.__name__} of 'data': got .*, expected finite numbers"):
        step("data", value)


def test_a_preprocessor_that_returns_no_batch_is_named():
    with pytest.raises(DataError, match="Forgets returned NoneType, expected a mapping of field to array"):
        preprocessed({"x": NDArray([1, 2])}, Forgets(), rng(), train=True)


class Forgets:
    """Forgets to return the batch."""

    def __call__(self, batch, rng, *, train):
        pass


# ---- what a preprocessor fails of
class Refuses:
    """Refuses batches in which ``is_bad`` is true of a value of x, with an error."""

    def __init__(self, is_bad, error):
        self.is_bad, self.error = is_bad, error

    def __call__(self, batch, rng, *, train):
        del rng, train
        if any(map(self.is_bad, batch["x"].to_host().tolist())):
            raise self.error
        return batch


@given(
    values=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    error=st.sampled_from([ValueError("no"), DataError("no", field="x"), MissingDependency("no", name="PIL")]),
)
def test_the_first_row_that_is_refused_alone_is_named_unless_all_are(values, error):
    batch, bad = {"x": NDArray(values)}, [value == 0 for value in values]
    refuses = Refuses(lambda value: value == 0, error)
    if not any(bad):
        assert preprocessed(batch, refuses, rng(), train=True) == batch
        return
    ours, reason = (DataError, "ValueError: no") if type(error) is ValueError else (type(error), "no")
    with pytest.raises(ours) as caught:
        preprocessed(batch, refuses, rng(), train=True)
    of_a_row = not all(bad)
    assert str(caught.value) == (f"row {bad.index(True)}: {reason}" if of_a_row else reason)
    assert getattr(caught.value, "row", None) == (bad.index(True) if of_a_row else None)
    assert [getattr(caught.value, name, None) for name in ("field", "name")] == [
        getattr(error, name, None) for name in ("field", "name")
    ]


def test_without_a_preprocessor_a_batch_is_as_it_was():
    batch = {"x": NDArray([1, 2])}
    assert preprocessed(batch, None, rng(), train=True) == batch


def test_a_prepared_batch_does_not_keep_its_message_for_the_labels():
    message = np.frombuffer(
        dumps({"data": NDArray(np.ones((4, 3, 5, 5), np.uint8)), "label": NDArray(range(4))}), np.uint8
    )
    alive = weakref.ref(message)
    batch = preprocessed(loads(message), Compose(Crop("data", 3, 3), Scale("data", 2)), rng(), train=True)
    del message
    assert alive() is None
    assert batch["label"].to_host().tolist() == [0, 1, 2, 3]


def test_columns_that_are_most_of_a_batch_are_not_copied():
    batch = {"data": NDArray(np.ones((4, 9))), "label": NDArray(np.arange(4))}
    out = preprocessed(batch, LabelMap("label", dict.fromkeys(range(4), 0)), rng(), train=True)
    assert out["data"] is batch["data"]
