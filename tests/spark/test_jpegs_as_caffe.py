"""Photographs in a DataFrame, decoded and computed on Spark: the bits of plain Caffe with its own Transformer."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from sparknet import Field, formats
from sparknet.data import ImageDecoder
from sparknet.data.preprocess import Compose, Crop, SubtractMean, ToBGR
from sparknet.nets.caffe import CaffeNet
from sparknet.nets.caffe.runtime import load
from sparknet.spark import featurize, predict

pytestmark = [pytest.mark.spark, pytest.mark.caffe]

SIDE, CROP = 64, 56
MEAN = np.array([104.0, 117.0, 123.0])  # B, G, R
DEPLOY = """
input: "data" input_shape { dim: 4 dim: 3 dim: 56 dim: 56 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param {
        num_output: 8 kernel_size: 7 stride: 3 weight_filler { type: "gaussian" std: 0.02 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc" inner_product_param {
        num_output: 5 weight_filler { type: "gaussian" std: 0.02 } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def jpegs():
    """Parts of two photographs, as JPEG files of several qualities."""
    for name in ("china.jpg", "flower.jpg"):
        photo = Image.fromarray(load_sample_image(name))
        for i in range(5):
            file = io.BytesIO()
            photo.crop((60 * i, 40 * i, 60 * i + SIDE, 40 * i + SIDE)).save(file, "JPEG", quality=60 + 8 * i)
            yield file.getvalue()


def computed_by_caffe(files, deploy, trained):
    """What a program with nothing but pycaffe computes: load_image (here with Pillow), Transformer, Net."""
    caffe = load()
    from caffe.io import Transformer

    net = caffe.Net(deploy, trained, caffe.TEST)
    steps = Transformer({"data": (1, 3, CROP, CROP)})
    steps.set_transpose("data", (2, 0, 1))
    steps.set_channel_swap("data", (2, 1, 0))
    steps.set_raw_scale("data", 255)
    steps.set_mean("data", MEAN)
    border = (SIDE - CROP) // 2
    for file in files:
        image = np.asarray(Image.open(io.BytesIO(file)), np.float32) / np.float32(255)  # as caffe.io.load_image
        net.blobs["data"].reshape(1, 3, CROP, CROP)
        net.blobs["data"].data[...] = steps.preprocess("data", image[border:-border, border:-border])
        yield net.forward()["prob"][0].copy()


def test_jpegs_in_a_dataframe_give_the_bits_of_plain_caffe(spark, tmp_path):
    (tmp_path / "deploy.prototxt").write_text(DEPLOY)
    factory = CaffeNet.factory(f'net: "{tmp_path}/deploy.prototxt" base_lr: 0.1 lr_policy: "fixed"')
    weights = factory(seed=3).get_weights()
    formats.write(tmp_path / "trained.caffemodel", weights)
    files = list(jpegs())
    frame = spark.createDataFrame(list(enumerate(files)), "id long, jpeg binary").coalesce(2)
    options = {
        "fields": [Field("data", (3, SIDE, SIDE), "uint8")],
        "columns": {"data": "jpeg"},
        "decoder": ImageDecoder(SIDE, SIDE),
        "preprocessor": Compose(ToBGR("data"), SubtractMean("data", MEAN), Crop("data", CROP, CROP)),
        "batch_size": 1,  # as plain Caffe here: BLAS adds up in another order for several rows
    }
    expected = list(computed_by_caffe(files, str(tmp_path / "deploy.prototxt"), str(tmp_path / "trained.caffemodel")))
    found = featurize(frame, factory, weights, {"prob": "p"}, **options).collect()
    assert [np.array(row.p, np.float32).tobytes() for row in found] == [values.tobytes() for values in expected]
    assert len({values.argmax() for values in expected}) > 1  # else the classes would tell nothing
    classes = [row.prediction for row in predict(frame, factory, weights, **options).collect()]
    assert classes == [values.argmax() for values in expected]
