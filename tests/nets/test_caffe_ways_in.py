"""Three ways into Caffe, one training: Input blobs, an RDDDataLayer in an unmodified loop, a data layer replaced."""

import pathlib

import numpy as np
import pytest

from sparknet import NDArray
from sparknet.data import Field
from sparknet.data.prefetch import prefetch
from sparknet.data.preprocess import Compose, Crop, Mirror, SubtractMean
from sparknet.data.sampling import step_rng
from sparknet.formats import binaryproto
from sparknet.nets.caffe import CaffeNet, data_layer, feeding
from sparknet.nets.caffe.runtime import load

pytestmark = pytest.mark.caffe

caffe = load()
QUICK = pathlib.Path(__file__).parents[2] / "examples" / "cifar10_quick" / "cifar10_quick_train_test.prototxt"
SEED, STEPS = 7, 4


def quick():
    """CIFAR-10-quick without its inputs: text, crop, rows of a batch, side of a stored image, solver."""
    text = QUICK.read_text(encoding="utf-8")
    body = text[text.index('layer {\n  name: "conv1"') :].replace(
        '"centred"', '"data"'
    )  # the mean comes from the inputs
    return body, 32, 20, 36, 'base_lr: 0.001 lr_policy: "fixed" momentum: 0.9'


def small_caffenet():
    """What CaffeNet is made of, in small: strides, groups, LRN, pooling, dropout, two losses."""
    layers, net = caffe.layers, caffe.NetSpec()
    filler = {"type": "gaussian", "std": 0.05}
    net.data, net.label = layers.DummyData(shape=[{"dim": [1]}, {"dim": [1]}], ntop=2)
    net.conv1 = layers.Convolution(net.data, num_output=8, kernel_size=5, stride=2, weight_filler=filler)
    net.relu1 = layers.ReLU(net.conv1, in_place=True)
    net.pool1 = layers.Pooling(net.relu1, pool=caffe.params.Pooling.MAX, kernel_size=3, stride=2)
    net.norm1 = layers.LRN(net.pool1, local_size=5, alpha=1e-4, beta=0.75)
    net.conv2 = layers.Convolution(net.norm1, num_output=8, kernel_size=3, pad=1, group=2, weight_filler=filler)
    net.relu2 = layers.ReLU(net.conv2, in_place=True)
    net.fc6 = layers.InnerProduct(net.relu2, num_output=32, weight_filler=filler)
    net.drop6 = layers.Dropout(net.fc6, dropout_ratio=0.5, in_place=True)
    net.fc8 = layers.InnerProduct(net.drop6, num_output=10, weight_filler=filler)
    net.loss = layers.SoftmaxWithLoss(net.fc8, net.label)
    net.hinge = layers.HingeLoss(net.fc8, net.label, loss_weight=0.1)
    text = str(net.to_proto())
    body = text[text.index('layer {\n  name: "conv1"') :]
    return body, 35, 6, 40, 'base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005'


@pytest.fixture(params=[quick, small_caffenet], ids=["cifar10_quick", "caffenet"])
def case(request, tmp_path):
    """Stored batches, what is done to them, and a function that writes a prototxt with these inputs."""
    body, crop, rows, side, solver = request.param()
    rng = np.random.default_rng(11)
    images = rng.integers(0, 256, (STEPS, rows, 3, side, side), np.uint8)
    labels = rng.integers(0, 10, (STEPS, rows))
    mean = images.mean(axis=(0, 1)).astype(np.float32)
    binaryproto.write(tmp_path / "mean.binaryproto", NDArray(mean), {})
    stored = [{"data": NDArray(x), "label": NDArray(y)} for x, y in zip(images, labels, strict=True)]
    steps = Compose(SubtractMean("data", mean), Crop("data", crop, crop), Mirror("data"))

    def write(inputs):
        (tmp_path / "net.prototxt").write_text(inputs + body, encoding="utf-8")
        path = tmp_path / "solver.prototxt"
        path.write_text(f'net: "{tmp_path / "net.prototxt"}" snapshot_after_train: false {solver}', encoding="utf-8")
        return path

    write.name, write.stored, write.crop, write.rows, write.side = request.param.__name__, stored, crop, rows, side
    write.prepared = [steps(batch, step_rng(SEED, 0, i), train=True) for i, batch in enumerate(stored)]
    return write


def blobs_written(case):
    """(a): batches written into Input blobs by a CaffeNet."""
    shape = f"shape {{ dim: {case.rows} dim: 3 dim: {case.crop} dim: {case.crop} }}"
    inputs = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ {shape} }} }}\n'
    inputs += f'layer {{ name: "label" type: "Input" top: "label" input_param {{ shape {{ dim: {case.rows} }} }} }}\n'
    net = CaffeNet(case(inputs), seed=SEED)
    return [net.step(batch) for batch in case.prepared], net.get_weights()


def plain_loop(case):
    """(b): an RDDDataLayer in the prototxt, stepped by Caffe's own solver, its batches prefetched."""
    spec = caffe.NetSpec()
    spec.data, spec.label = data_layer([Field("data", (3, case.crop, case.crop)), Field("label")], case.rows)
    path = case(f"{spec.to_proto()}")
    path.write_text(f"{path.read_text()} random_seed: {SEED}")
    solver = caffe.get_solver(str(path))
    net, losses = solver.net, []
    weights = [(name, w) for name, w in zip(net._blob_names, net._blob_loss_weights, strict=True) if w]

    def reseed():  # as a CaffeNet does before each step, so that dropout agrees
        caffe.set_random_seed(int(np.random.SeedSequence([SEED, solver.iter]).generate_state(1)[0]))

    solver.add_callback(reseed, lambda: None)
    with prefetch(case.prepared) as batches, feeding(solver, batches):
        for _ in range(STEPS):
            reseed()
            solver.step(1)
            losses.append(float(sum(w * net.blobs[name].data.sum(dtype=np.float64) for name, w in weights)))
    return losses, {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}


def layer_replaced(case):
    """(c): the prototxt of a net that reads LMDB, with a transform_param for each phase."""
    transform = 'transform_param {{ crop_size: {} mirror: {} mean_file: "mean.binaryproto" }}'
    inputs = "".join(
        f'layer {{ name: "{phase}" type: "Data" top: "data" top: "label" include {{ phase: {phase} }} '
        f'data_param {{ source: "/none" batch_size: {case.rows} }} {transform.format(case.crop, mirror)} }}\n'
        for phase, mirror in (("TRAIN", "true"), ("TEST", "false"))
    )
    fields = [Field("data", (3, case.side, case.side), "uint8"), Field("label", (), "int64")]
    net = CaffeNet(case(inputs), fields=fields, seed=SEED)
    return [net.step(batch) for batch in case.stored], net.get_weights()


def test_the_three_ways_in_have_the_same_losses_and_weights_bit_for_bit(case):
    losses, weights = blobs_written(case)
    again, plain = plain_loop(case)
    replaced, last = layer_replaced(case)
    assert len(set(losses)) == STEPS
    assert losses == again == replaced
    assert weights == last
    for name, arrays in weights.items():
        assert [a.to_host().tobytes() for a in arrays] == [b.tobytes() for b in plain[name]]


# What Caffe computes from these bytes, so that a change of crop, mean or order shows even if it is one in all three ways.
# Another number of BLAS threads or another kernel moves the losses by 2e-7 of themselves (measured).
GOLDEN = {
    "quick": [2.3028788566589355, 2.3014683723449707, 2.301090955734253, 2.3025710582733154],
    "small_caffenet": [5.124507824871166, 3.203420032233204, 6.544132922562817, 3.308431973990963],
}


def test_golden_losses(case):
    losses, _ = layer_replaced(case)
    assert losses == pytest.approx(GOLDEN[case.name], rel=2e-6)
