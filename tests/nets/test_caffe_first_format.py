"""A prototxt of 2013 means what Caffe's own upgrade makes of it."""

import logging

import numpy as np
import pytest

from sparknet import Field, NDArray, NetError
from sparknet.nets.caffe import CaffeNet
from sparknet.nets.caffe.first_format import second_format
from sparknet.nets.caffe.old_format import upgraded
from sparknet.nets.caffe.runtime import load, messages, text_format

pytestmark = pytest.mark.caffe

SOLVER = 'base_lr: 0.1 lr_policy: "fixed" momentum: 0.9\nnet_param {{ {} }}'


def today(text):
    """The layers of a net in an old format, as texts in today's."""
    net = text_format().Parse(text, messages().NetParameter())
    return [text_format().MessageToString(upgraded(layer), as_one_line=True) for layer in second_format(net.layers)]


def old(said, more=""):
    return f"layers {{ layer {{ {said} }} {more} }}\n"


# What BVLC Caffe's own upgrade (master of 2020) makes of one layer of each type.
GOLDEN = [
    (
        (
            'type: "conv" num_output: 4 biasterm: false pad: 1 kernelsize: 3 group: 2 stride: 2 weight_filler { type: "xavier" } '
            "bias_filler { value: 1 } blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0"
        ),
        (
            'type: "Convolution" param { lr_mult: 1.0 decay_mult: 1.0 } param { lr_mult: 2.0 decay_mult: 0.0 } convolution_param '
            '{ num_output: 4 bias_term: false pad: 1 kernel_size: 3 group: 2 stride: 2 weight_filler { type: "xavier" } '
            "bias_filler { value: 1.0 } }"
        ),
    ),
    (
        'type: "pool" pool: AVE pad: 1 kernelsize: 3 stride: 2',
        'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }',
    ),
    ('type: "innerproduct" num_output: 3', 'type: "InnerProduct" inner_product_param { num_output: 3 }'),
    ('type: "dropout" dropout_ratio: 0.25', 'type: "Dropout" dropout_param { dropout_ratio: 0.25 }'),
    (
        'type: "lrn" local_size: 3 alpha: 0.5 beta: 0.25 k: 2',
        'type: "LRN" lrn_param { local_size: 3 alpha: 0.5 beta: 0.25 k: 2.0 }',
    ),
    ('type: "concat" concat_dim: 2', 'type: "Concat" concat_param { concat_dim: 2 }'),
    ('type: "infogain_loss" source: "h"', 'type: "InfogainLoss" infogain_loss_param { source: "h" }'),
    (
        'type: "data" source: "x" batchsize: 8 scale: 0.5 meanfile: "m" cropsize: 6 mirror: true rand_skip: 3',
        (
            'type: "Data" transform_param { scale: 0.5 mirror: true crop_size: 6 mean_file: "m" } '
            'data_param { source: "x" batch_size: 8 rand_skip: 3 }'
        ),
    ),
    (
        'type: "images" source: "x" batchsize: 8 shuffle_images: true new_height: 9 new_width: 7',
        'type: "ImageData" image_data_param { source: "x" batch_size: 8 shuffle: true new_height: 9 new_width: 7 }',
    ),
    (
        (
            'type: "window_data" source: "x" batchsize: 8 det_fg_threshold: 0.25 det_bg_threshold: 0.5 det_fg_fraction: 0.75 '
            'det_context_pad: 16 det_crop_mode: "square"'
        ),
        (
            'type: "WindowData" window_data_param { source: "x" batch_size: 8 fg_threshold: 0.25 bg_threshold: 0.5 '
            'fg_fraction: 0.75 context_pad: 16 crop_mode: "square" }'
        ),
    ),
    ('type: "hdf5_data" source: "x" batchsize: 8', 'type: "HDF5Data" hdf5_data_param { source: "x" batch_size: 8 }'),
    (
        'type: "hdf5_output" hdf5_output_param { file_name: "f" }',
        'type: "HDF5Output" hdf5_output_param { file_name: "f" }',
    ),
    *(
        (f'type: "{name}"', f'type: "{new}"')
        for name, new in {
            "accuracy": "Accuracy",
            "bnll": "BNLL",
            "euclidean_loss": "EuclideanLoss",
            "flatten": "Flatten",
            "im2col": "Im2col",
            "multinomial_logistic_loss": "MultinomialLogisticLoss",
            "relu": "ReLU",
            "sigmoid": "Sigmoid",
            "softmax": "Softmax",
            "softmax_loss": "SoftmaxWithLoss",
            "split": "Split",
            "tanh": "TanH",
        }.items()
    ),
]


@pytest.mark.parametrize(("said", "expected"), GOLDEN, ids=[new.split('"')[1] for _, new in GOLDEN])
def test_each_type_becomes_what_caffe_makes_of_it(said, expected):
    (got,) = today(old(f'name: "l" {said}', 'bottom: "b" top: "t"'))
    wanted = f'name: "l" bottom: "b" top: "t" {expected}'
    parsed = [text_format().Parse(text, messages().LayerParameter()) for text in (got, wanted)]
    assert parsed[0] == parsed[1]


def test_a_padding_layer_becomes_the_pad_of_what_reads_it():
    text = (
        old('name: "p1" type: "padding" pad: 2', 'bottom: "data" top: "padded"')
        + old('name: "c1" type: "conv" num_output: 1 kernelsize: 3 pad: 9', 'bottom: "padded" top: "c1"')
        + old('name: "c2" type: "pool" kernelsize: 3', 'bottom: "padded" top: "c2"')
        + old('name: "r" type: "relu"', 'bottom: "c1" top: "padded"')
        + old('name: "s" type: "softmax"', 'bottom: "padded" top: "s"')
    )
    layers = today(text)
    assert [layer.split('"')[1] for layer in layers] == ["c1", "c2", "r", "s"]
    assert 'bottom: "data"' in layers[0]
    assert "pad: 2" in layers[0]
    assert 'bottom: "data"' in layers[1]
    assert "pad: 2" in layers[1]
    assert 'bottom: "padded"' in layers[3]  # made anew in between


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            old('name: "x" type: "convolution"'),
            "layer 'x' .'convolution', in Caffe's first format.: .*has a type of .*conv,",
        ),
        (
            old('type: "padding"', 'bottom: "a" top: "p"') + old('name: "r" type: "relu"', 'bottom: "p" top: "r"'),
            "'r' .*reads a padding layer, which only a conv or a pool",
        ),
        (
            old('type: "padding"', 'bottom: "a" top: "p"') + old('name: "q" type: "padding"', 'bottom: "p" top: "q"'),
            "'q' .*no padding layer's",
        ),
    ],
)
def test_what_caffe_refuses_is_named(text, match):
    with pytest.raises(NetError, match=match):
        today(text)


def test_what_means_nothing_for_a_type_is_left_out_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        assert today(old('name: "r" type: "relu" kernelsize: 3 num_output: 2')) == ['name: "r" type: "ReLU"']
    assert "layer 'r' (relu) of the first format: num_output, kernelsize left out" in caplog.text


def test_a_net_of_2013_trains_as_pycaffe_trains_it(plain):
    net = (
        'input: "data" input_dim: 4 input_dim: 3 input_dim: 8 input_dim: 8 '
        'input: "label" input_dim: 4 input_dim: 1 input_dim: 1 input_dim: 1 '
        + old('name: "p" type: "padding" pad: 1', 'bottom: "data" top: "p"')
        + old(
            'name: "c" type: "conv" num_output: 4 kernelsize: 3 weight_filler { type: "xavier" } blobs_lr: 1 blobs_lr: 2',
            'bottom: "p" top: "c"',
        )
        + old('name: "r" type: "relu"', 'bottom: "c" top: "c"')
        + old('name: "f" type: "innerproduct" num_output: 3 weight_filler { type: "xavier" }', 'bottom: "c" top: "f"')
        + old('name: "loss" type: "softmax_loss"', 'bottom: "f" bottom: "label" top: "loss"')
    )
    rng = np.random.default_rng(3)
    batches = [
        {
            "data": NDArray(rng.random((4, 3, 8, 8)).astype(np.float32)),
            "label": NDArray(rng.integers(0, 3, (4, 1, 1, 1))),
        }
        for _ in range(3)
    ]
    expected, losses = plain('base_lr: 0.1 lr_policy: "fixed" momentum: 0.9', net, batches, 5)
    ours = CaffeNet(SOLVER.format(net), seed=5)
    assert [np.float32(ours.step(batch)) for batch in batches] == [np.float32(loss) for loss in losses]
    got = ours.get_weights()
    assert got["c"][0].shape == (4, 3, 3, 3)
    assert all((a.to_host() == b).all() for name in expected for a, b in zip(got[name], expected[name], strict=True))


def test_a_data_layer_of_2013_does_to_its_images_what_it_says():
    net = (
        old('name: "d" type: "data" batchsize: 2 scale: 0.5 cropsize: 4', 'top: "data" top: "label"')
        + old('name: "f" type: "innerproduct" num_output: 3', 'bottom: "data" top: "f"')
        + old('name: "loss" type: "softmax_loss"', 'bottom: "f" bottom: "label"')
    )
    fields = [Field("data", (1, 6, 6), "uint8"), Field("label", (), "int64")]
    ours = CaffeNet(SOLVER.format(net), fields=fields)
    images = np.arange(72, dtype=np.uint8).reshape(2, 1, 6, 6)
    seen = ours.forward({"data": NDArray(images), "label": NDArray(np.zeros(2))}, ["data"])["data"].to_host()
    assert (seen == images[..., 1:5, 1:5] * 0.5).all()


def test_every_type_of_2013_is_one_of_today():
    names = {text.split('"')[1] for _, text in GOLDEN}
    assert names - {"ImageData", "WindowData"} <= set(load().layer_type_list())
