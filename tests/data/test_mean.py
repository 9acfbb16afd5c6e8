"""The mean image in this process: numpy's bits, however the images are batched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import DataError, Field
from sparknet.data import pack
from sparknet.data.mean import PixelSum, channel_means, mean_image
from sparknet.data.preprocess import Compose, Crop, LabelMap, Scale, SubtractMean, ToBGR
from sparknet.data.preprocess.summary import summary

IMAGES = np.random.default_rng(1).integers(0, 256, (23, 3, 4, 5), dtype=np.uint8)
FIELD = Field("data", (3, 4, 5), "uint8")


@given(count=st.integers(1, 23), batch_size=st.integers(1, 25), shuffle=st.none() | st.integers(0, 9))
def test_the_mean_has_the_bits_of_numpy_s_in_any_order_and_any_batches(count, batch_size, shuffle):
    data = pack({"data": IMAGES[:count]}, [FIELD], batch_size, shuffle=shuffle)
    expected = IMAGES[:count].mean(axis=0, dtype=np.float64), IMAGES[:count].mean(axis=(0, 2, 3), dtype=np.float64)
    assert mean_image(data).to_host().tobytes() == expected[0].tobytes()
    assert channel_means(data).to_host().tobytes() == expected[1].tobytes()


def test_sums_of_very_many_images_stay_exact():
    # 2**53 / 255 images fit; float32 sums, as Caffe's own tool has them, stop growing at 2**24.
    half = PixelSum(np.full((1, 1, 1), 255.0 * 2**44), 2**44)
    total = half + half + PixelSum(np.full((1, 1, 1), 1.0), 1)
    assert total.total.item() == 255 * 2**45 + 1
    assert total.mean_image().to_host().item() == (255 * 2**45 + 1) / (2**45 + 1)


def test_steps_before_the_mean_change_it_and_the_set_s_own_do_not():
    data = pack({"data": IMAGES}, [FIELD], 4, SubtractMean("data", 100))
    assert np.array_equal(mean_image(data).to_host(), IMAGES.mean(axis=0, dtype=np.float64))
    cut = mean_image(data, "data", Crop("data", 2, 2)).to_host()
    assert np.array_equal(cut, IMAGES[:, :, 1:3, 1:3].mean(axis=0, dtype=np.float64))


class Doubled:
    """A preprocessor of one's own, which does not say what it changes."""

    def __call__(self, batch, rng, *, train):
        del rng, train
        return {**batch, "data": batch["data"] * 2}

    def fields(self, fields):
        return list(fields)


@pytest.mark.parametrize("mean", [mean_image, channel_means])
@pytest.mark.parametrize("own", [ToBGR("data"), Compose(LabelMap("y", {1: 0}), ToBGR("data")), Doubled()])
def test_leaving_out_the_set_s_own_steps_is_warned_of_once(caplog, mean, own):
    data = pack({"data": IMAGES, "y": np.ones(23, int)}, [FIELD, Field("y", (), "int64")], 4, own)
    stored = mean(data)
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"without the data's own preprocessor [{summary(own)}]" in said
    assert "mean_image(data, 'data', ToBGR('data')), or Compose() for none" in said
    assert np.array_equal(mean(data, "data", Compose()).to_host(), stored.to_host())  # none on purpose
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("own", "given"), [(None, None), (LabelMap("y", {1: 0}), None), (ToBGR("data"), Scale("data", 0.5))]
)
def test_no_warning_where_no_step_on_the_images_is_left_out_unsaid(caplog, own, given):
    data = pack({"data": IMAGES, "y": np.ones(23, int)}, [FIELD, Field("y", (), "int64")], 4, own)
    mean_image(data, "data", given)
    assert not caplog.records


def test_a_field_that_holds_no_images_is_named():
    data = pack({"y": [1, 2]}, [Field("y", (), "int64")], 2)
    with pytest.raises(
        DataError, match=r"mean of 'y': expected a field of images \(c, h, w\); there are 'y' int64 \(\)"
    ):
        mean_image(data, "y")
