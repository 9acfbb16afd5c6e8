"""CaffeNet trains, tests, saves and loads as Caffe does; SparkNet's own expectations of it among them."""

import errno
import os
import pathlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from sparknet import DataError, NDArray, NetError, SchemaError, WeightCollection
from sparknet.nets import Net
from sparknet.nets.caffe import CaffeNet

pytestmark = pytest.mark.caffe

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
PLAIN_SOLVER = 'base_lr: 0.05 lr_policy: "step" gamma: 0.5 stepsize: 20 momentum: 0.9 weight_decay: 0.004'


@pytest.fixture
def net(tiny):
    return CaffeNet(tiny.solver, seed=1)


def trained(net, batches):
    return [net.step(batch) for batch in batches]


# ---- what SparkNet expected of its CaffeNet
def test_forward_leaves_weights_unchanged(net, tiny):
    before = net.get_weights()
    net.forward(tiny.batch())
    assert net.get_weights() == before
    assert net.iteration == 0


def test_save_and_load_is_exact(net, tiny, tmp_path):
    trained(net, tiny.batches[:5])
    net.save_weights(tmp_path / "w.caffemodel")
    fresh = CaffeNet(tiny.solver, seed=2)
    fresh.copy_trained_layers_from(tmp_path / "w.caffemodel")
    assert fresh.get_weights() == net.get_weights()
    assert [path.name for path in tmp_path.iterdir()] == ["w.caffemodel"]


FULL = """
import os, resource, sys
from sparknet.nets.caffe import CaffeNet
text = 'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 4 dim: {} }} }} }}'
text += 'layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param {{ num_output: 20 }} }}'
for columns in (50, 103, 1001):  # all in one piece; less than a buffer after the first piece; more
    net = CaffeNet('base_lr: 0.1 lr_policy: "fixed" net_param { ' + text.format(columns) + ' }')
    net.save_weights(sys.argv[1])
    before = open(sys.argv[1], "rb").read()
    net.set_weights(net.get_weights() + 1)
    for missing in (1, 200, len(before)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - missing, -1))
        try:
            net.save_weights(sys.argv[1])
        except OSError as error:
            print(error.errno, error.filename)
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        assert open(sys.argv[1], "rb").read() == before, (columns, missing)
        assert len(os.listdir(os.path.dirname(sys.argv[1]))) == 1, (columns, missing)
"""


def test_on_a_full_disk_the_file_before_stays_also_where_caffe_says_nothing(tmp_path):
    path = tmp_path / "w.caffemodel"
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"{errno.EFBIG} {path}"] * 9, done.stderr


@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_a_link_is_followed_or_refused(net, tmp_path, suffix):
    target, link = tmp_path / f"target{suffix}", tmp_path / f"link{suffix}"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    with pytest.raises(OSError, match="Is a symbolic link, which is not followed; remove it"):
        net.save_weights(link, follow_links=False)
    assert target.read_bytes() == b"precious"
    net.save_weights(link)
    assert link.is_symlink()
    net.copy_trained_layers_from(target)


def test_fresh_nets_of_different_seeds_differ_and_of_the_same_seed_agree(tiny):
    first, second, again = (CaffeNet(tiny.solver, seed=seed).get_weights() for seed in (1, 2, 1))
    assert first == again
    assert not first.allclose(second)


def test_an_untrained_cifar_net_guesses():
    net = CaffeNet(EXAMPLES / "cifar10_quick" / "cifar10_quick_solver.prototxt", seed=3)
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 10  # as many of each class
    images = rng.integers(-120, 120, (1000, 3, 32, 32)).astype(np.float32)
    batches = [
        {"data": NDArray(images[i : i + 100]), "label": NDArray(labels[i : i + 100])} for i in range(0, 1000, 100)
    ]
    accuracy = np.mean([float(net.forward(batch)["accuracy"]) for batch in batches])
    assert 0.07 <= accuracy <= 0.13  # SparkNet's bounds; 0.1 is a guess


# ---- the protocol
def test_is_a_net(net):
    assert isinstance(net, Net)


def test_steps_are_caffe_s_own_bit_for_bit(tiny, plain):
    batches = tiny.batches[:60]  # past two changes of the rate
    net = CaffeNet(tiny.solver, seed=7)
    losses = trained(net, batches)
    weights, plain_losses = plain(PLAIN_SOLVER, tiny.net_text, batches, seed=7)
    assert losses == plain_losses
    assert net.get_weights() == WeightCollection(weights)
    assert losses[-1] < losses[0] / 2  # and it has learned


def test_inputs_and_blobs_say_what_a_batch_needs(net):
    assert net.input_shapes == {"data": (8, 1, 6, 6), "label": (8,)}
    assert net.blob_names == ["data", "label", "conv1", "pool1", "ip1", "prob", "accuracy", "loss"]


def test_default_outputs_are_those_of_the_test_phase(net, tiny):
    outputs = net.forward(tiny.batch())
    assert set(outputs) == {"prob", "accuracy", "loss"}
    assert all(isinstance(value, NDArray) and value.dtype == np.float32 for value in outputs.values())


def test_any_blob_is_returned_as_a_copy(net, tiny):
    batch = tiny.batch()
    got = net.forward(batch, outputs=["conv1", "data"])
    assert (got["conv1"].shape, got["data"].shape) == ((8, 4, 4, 4), (8, 1, 6, 6))
    kept = got["data"].to_host().copy()
    net.forward(tiny.batch(), outputs=["data"])
    assert np.array_equal(got["data"].to_host(), kept)
    assert np.array_equal(kept, batch["data"].to_host())


def test_labels_may_be_left_out_where_no_output_asks_for_them(net, tiny):
    batch = tiny.batch(5)
    prob = net.forward({"data": batch["data"]}, outputs=["prob"])["prob"]
    assert np.array_equal(prob.to_host(), net.forward(batch)["prob"].to_host())
    with pytest.raises(DataError, match="no column 'label'"):
        net.forward({"data": batch["data"]}, outputs=["prob", "accuracy"])


def test_the_test_net_sees_every_change_of_the_weights(net, tiny):
    batch = tiny.batch()
    first = float(net.forward(batch)["loss"])
    loss = net.step(batch)  # before the step: the loss that forward gave
    assert loss == first
    after_step = float(net.forward(batch)["loss"])
    assert after_step != first
    net.set_weights(CaffeNet(tiny.solver, seed=1).get_weights())
    assert float(net.forward(batch)["loss"]) == first


def test_weights_got_are_copies(net, tiny):
    weights = net.get_weights()
    kept = weights.copy()
    net.step(tiny.batch())
    assert weights == kept
    assert net.get_weights() != kept
    weights["ip1"][0][...] = 0
    assert float(abs(net.get_weights()["ip1"][0].to_host()).sum()) > 0


# ---- batches
def test_a_short_batch_gives_the_rows_of_a_full_one(net, tiny):
    full = tiny.batch(8)
    expected = net.forward(full, outputs=["prob"])["prob"].to_host()
    for rows in (3, 1, 8, 20):
        repeated = {name: NDArray(np.resize(a.to_host(), (rows, *a.shape[1:]))) for name, a in full.items()}
        got = net.forward(repeated, outputs=["prob"])["prob"].to_host()
        assert np.allclose(got, np.resize(expected, (rows, 5)), atol=1e-6)  # BLAS orders sums by the batch
        assert got.shape == (rows, 5)
    assert net.input_shapes["data"] == (8, 1, 6, 6)


def test_a_short_step_is_that_of_a_net_declared_short(tiny, write):
    short = write(PLAIN_SOLVER, tiny.net_text.replace("dim: 8", "dim: 3"))
    nets = [CaffeNet(tiny.solver, seed=1), CaffeNet(short, seed=1)]
    batches = [tiny.batch(3) for _ in range(4)]
    nets[0].forward(tiny.batch(8))
    assert trained(nets[0], batches) == trained(nets[1], batches)
    assert nets[0].get_weights() == nets[1].get_weights()


def test_batch_size_declares_another_number_of_rows(tiny):
    net = CaffeNet(tiny.solver, batch_size=3)
    assert net.input_shapes == {"data": (3, 1, 6, 6), "label": (3,)}


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64", "float16", "bool"])
def test_any_real_dtype_is_cast_to_float32(net, tiny, dtype):
    batch = tiny.batch()
    data = (batch["data"].to_host() > 0.5).astype(dtype)
    as_floats = net.forward({**batch, "data": NDArray(data.astype(np.float32))})["loss"]
    assert float(net.forward({**batch, "data": NDArray(data)})["loss"]) == float(as_floats)


def test_memory_order_does_not_matter(net, tiny):
    batch = tiny.batch()
    strided = {**batch, "data": NDArray(np.asfortranarray(batch["data"].to_host()))}
    assert float(net.forward(strided)["loss"]) == float(net.forward(batch)["loss"])


def test_numpy_arrays_are_taken_as_they_are(net, tiny):
    batch = tiny.batch()
    host = {name: column.to_host() for name, column in batch.items()}
    assert float(net.forward(host)["loss"]) == float(net.forward(batch)["loss"])


def test_other_columns_are_left_alone(net, tiny):
    batch = tiny.batch()
    more = {"id": NDArray(np.arange(3)), **batch}
    assert float(net.forward(more)["loss"]) == float(net.forward(batch)["loss"])


def test_labels_declared_with_trailing_ones_take_plain_labels(tiny, write):
    declared = tiny.net_text.replace("{ dim: 8 } }", "{ dim: 8 dim: 1 dim: 1 dim: 1 } }")
    net, usual = (CaffeNet(path, seed=1) for path in (write(PLAIN_SOLVER, declared), tiny.solver))
    assert net.input_shapes["label"] == (8, 1, 1, 1)
    assert trained(net, tiny.batches[:3]) == trained(usual, tiny.batches[:3])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"label": None},
            r"inputs data \(8, 1, 6, 6\), label \(8,\); the batch has data \(8, 1, 6, 6\): no column 'label'",
        ),
        ({"data": np.zeros((8, 6, 6))}, r"column 'data' needs \(rows, \*\(1, 6, 6\)\)"),
        ({"data": np.zeros((8, 36))}, r"the batch has data \(8, 36\)"),
        ({"data": np.zeros((7, 1, 6, 6))}, "same first length"),
        ({"data": np.zeros((0, 1, 6, 6)), "label": np.zeros(0)}, "no rows"),
        ({"data": np.zeros((8, 1, 6, 6), complex)}, "complex128, expected real"),
        (
            {"label": np.array([0, 1, 2, 3, 4, 5, 0, 0])},
            r"input 'label', example 5: got the label 5; .* 5 classes .* 0 to 4",
        ),
        ({"label": np.array([0, -1, 2, 3, 4, 0, 0, 0])}, "example 1: got the label -1"),
        ({"label": np.array([0.5] * 8)}, "got the label 0.5"),
        ({"label": np.array([2**62] * 8)}, "got the label 4.6"),
    ],
)
@pytest.mark.parametrize("how", ["step", "forward"])
def test_a_batch_that_does_not_fit_is_refused_and_changes_nothing(net, tiny, how, change, match):
    before = net.get_weights()
    batch = {name: column for name, column in {**tiny.batch(), **change}.items() if column is not None}
    with pytest.raises(DataError, match=match):
        getattr(net, how)(batch)
    assert net.get_weights() == before
    assert net.iteration == 0
    net.step(tiny.batch())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_values_that_are_not_finite_are_refused(net, tiny, value):
    data = tiny.batch()["data"].to_host().astype(np.float64)
    data[3, 0, 2, 2] = value
    with pytest.raises(NetError, match=r"input 'data', example 3: got (nan|-?inf), expected finite"):
        net.step({**tiny.batch(), "data": NDArray(data)})


def test_large_values_are_finite_though_their_sum_is_not(net, tiny):
    data = np.full((8, 1, 6, 6), 3e38, np.float32)
    assert net.forward({**tiny.batch(), "data": NDArray(data)}, outputs=["data"])["data"].shape == (8, 1, 6, 6)


def test_ignored_labels_pass(tiny, write):
    ignoring = tiny.net_text.replace('top: "loss" }', 'top: "loss" loss_param { ignore_label: -1 } }')
    ignoring = ignoring.replace('top: "accuracy" ', 'top: "accuracy" accuracy_param { ignore_label: -1 } ')
    net = CaffeNet(write(PLAIN_SOLVER, ignoring))
    batch = {**tiny.batch(), "label": NDArray(np.array([-1, 1, 2, 3, 4, 0, -1, 0]))}
    assert np.isfinite(net.step(batch))
    assert np.isfinite(float(net.forward(batch)["accuracy"]))
    with pytest.raises(DataError, match="from 0 to 4 or -1"):
        net.step({**batch, "label": NDArray(np.full(8, -2))})


def test_unknown_blobs_are_refused_with_the_names_there_are(net, tiny):
    with pytest.raises(NetError, match="no blob 'ip9'; the net has data, label, conv1, pool1, ip1, prob"):
        net.forward(tiny.batch(), outputs=["ip9"])


def test_the_loss_is_the_weighted_sum_of_all_losses(tiny, write):
    second = 'layer { name: "aux" type: "SoftmaxWithLoss" bottom: "ip1" bottom: "label" top: "aux" loss_weight: 0.5 }\n'
    net, single = (CaffeNet(write(PLAIN_SOLVER, text), seed=1) for text in (tiny.net_text + second, tiny.net_text))
    batch = tiny.batch()
    assert net.step(batch) == pytest.approx(1.5 * single.step(batch), rel=1e-6)


# ---- weights
def test_weights_that_do_not_fit_are_refused_and_nothing_changes(net):
    before = net.get_weights()
    cases = {
        "layer 'ip1', array 0": before.map(lambda a: NDArray(np.zeros((5, 9), "float32")) if a.shape == (5, 16) else a),
        "float64": before.astype("float64"),
        "layers": WeightCollection({"ip1": before["ip1"]}),
    }
    for match, weights in cases.items():
        with pytest.raises(SchemaError, match=match):
            net.set_weights(weights)
    assert net.get_weights() == before


def test_layers_are_loaded_by_name(net, tiny, tmp_path, write):
    trained(net, tiny.batches[:3])
    net.save_weights(tmp_path / "w.caffemodel")
    renamed = CaffeNet(write(PLAIN_SOLVER, tiny.net_text.replace('name: "ip1"', 'name: "ip_new"')), seed=2)
    before = renamed.get_weights()
    renamed.copy_trained_layers_from(tmp_path / "w.caffemodel")
    assert WeightCollection({"conv1": renamed.get_weights()["conv1"]}) == WeightCollection(
        {"conv1": net.get_weights()["conv1"]}
    )
    assert WeightCollection({"ip": renamed.get_weights()["ip_new"]}) == WeightCollection({"ip": before["ip_new"]})


def test_weights_files_that_do_not_fit_are_refused(net, tiny, tmp_path, write):
    with pytest.raises(NetError, match=r"no weights file at '.*none\.caffemodel'"):
        net.copy_trained_layers_from(tmp_path / "none.caffemodel")
    with pytest.raises(FileNotFoundError):
        net.copy_trained_layers_from(str(tmp_path / "none.caffemodel"))
    garbage = tmp_path / "garbage.caffemodel"
    for content in (b"", b"garbage", bytes(range(256)) * 20):
        garbage.write_bytes(content)
        with pytest.raises(NetError, match=r"garbage\.caffemodel'"):
            net.copy_trained_layers_from(garbage)
    net.save_weights(tmp_path / "w.caffemodel")
    wide = CaffeNet(write(PLAIN_SOLVER, tiny.net_text.replace("num_output: 5", "num_output: 6")))
    before = wide.get_weights()
    with pytest.raises(NetError, match=r"layer 'ip1' has arrays of the shapes .*\(5, 16\).*needs .*\(6, 16\)"):
        wide.copy_trained_layers_from(tmp_path / "w.caffemodel")
    assert wide.get_weights() == before
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        net.save_weights(tmp_path / "no" / "w.caffemodel")


# ---- seeds, threads, other nets
DROPOUT = 'layer { name: "drop" type: "Dropout" bottom: "pool1" top: "pool1" }\nlayer {\n  name: "ip1"'


@pytest.fixture
def random_net(tiny, write):
    path = write(PLAIN_SOLVER, tiny.net_text.replace('layer {\n  name: "ip1"', DROPOUT))
    return lambda seed=1: CaffeNet(path, seed=seed)


def test_dropout_depends_on_seed_and_iteration_alone(random_net, tiny):
    batches = tiny.batches[:6]
    expected = trained(random_net(), batches)
    net, other = random_net(), random_net(9)
    interleaved = []
    for batch in batches:
        other.step(batch)
        interleaved.append(net.step(batch))
    assert interleaved == expected
    in_thread = []
    thread = threading.Thread(target=lambda: in_thread.extend(trained(random_net(), batches)))
    thread.start()
    thread.join()
    assert in_thread == expected


def test_reseed_gives_other_random_numbers_and_leaves_weights(random_net, tiny):
    batch = tiny.batch()
    nets = [random_net() for _ in range(3)]
    for net, seed in zip(nets, (5, 6, 5), strict=True):
        net.reseed(seed)
    first, second, again = (net.step(batch) for net in nets)
    assert first == again != second
    with pytest.raises(NetError, match="seed -1"):
        nets[0].reseed(-1)


def test_dropout_is_off_in_the_test_phase(random_net, tiny):
    net, batch = random_net(), tiny.batch()
    assert float(net.forward(batch)["loss"]) == float(net.forward(batch)["loss"])


def test_two_nets_do_not_disturb_one_another(tiny):
    expected = trained(CaffeNet(tiny.solver, seed=1), tiny.batches[:10])
    first, second = CaffeNet(tiny.solver, seed=1), CaffeNet(tiny.solver, seed=2)
    losses = []
    for batch in tiny.batches[:10]:
        losses.append(first.step(batch))
        second.step(batch)
        second.forward(tiny.batch(3))
        first.forward(tiny.batch(4))
    assert losses == expected


def test_seeds_of_any_size_make_a_net(tiny):
    nets = [CaffeNet(tiny.solver, seed=seed).get_weights() for seed in (3, 2**32 + 3, 2**100)]
    assert not nets[0].allclose(nets[1])
    assert not nets[1].allclose(nets[2])


# ---- the factory
def test_the_factory_works_in_another_process_without_the_files(tiny, write, tmp_path):
    path = write(PLAIN_SOLVER, tiny.net_text)
    factory = CaffeNet.factory(path)
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "factory.pickle").write_bytes(pickle.dumps(factory))
    program = """
import pickle, sys
net = pickle.loads(open("factory.pickle", "rb").read())(seed=4)
sys.stdout.buffer.write(net.get_weights()["ip1"][0].to_host().tobytes())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True)
    assert done.stderr == b""
    assert done.stdout == factory(seed=4).get_weights()["ip1"][0].to_host().tobytes()


def test_caffe_computes_in_one_thread_and_leaves_the_environment_alone(tiny):
    program = f"""
import ctypes, os, pathlib
before = dict(os.environ)
from sparknet.nets import CaffeNet
CaffeNet({str(tiny.solver)!r})
assert os.environ == before
files = {{line.split()[-1] for line in pathlib.Path("/proc/self/maps").read_text().splitlines() if "/libopenblas" in line}}
print([ctypes.CDLL(file).openblas_get_num_threads() for file in files])
"""
    hidden = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "GLOG_minloglevel")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True)
    assert (done.stdout, done.stderr) == ("[1]\n", "")


def test_a_net_does_not_pickle_and_says_what_does(net):
    with pytest.raises(TypeError, match="factory"):
        pickle.dumps(net)


# ---- the examples
@pytest.mark.parametrize("example", ["lenet", "cifar10_quick"])
def test_the_examples_learn_a_batch(example):
    net = CaffeNet(EXAMPLES / example / f"{example}_solver.prototxt", seed=1)
    shape = net.input_shapes["data"]
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, shape[0])
    images = rng.normal(128, 20, shape) + rng.normal(0, 40, (10, *shape[1:]))[labels]
    batch = {"data": NDArray(images.clip(0, 255).astype(np.uint8)), "label": NDArray(labels)}
    losses = trained(net, [batch] * 12)
    assert losses[-1] < losses[0]
