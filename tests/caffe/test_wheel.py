"""The wheel of tools/pycaffe: mistakes raise and do no harm, training state moves, other threads go on."""

import re
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import caffe
import numpy as np
import pytest

pytestmark = pytest.mark.caffe

SOLVER_TYPES = ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"]
DATA = 'layer { name: "d" type: "Input" top: "data" input_param { shape { dim: 4 dim: 1 dim: 6 dim: 6 } } }'
LABEL = 'layer { name: "l" type: "Input" top: "label" input_param { shape { dim: 4 } } }'
POOL = 'layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }'
CONV = """layer { name: "c" type: "Convolution" bottom: "data" top: "c"
    convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }"""
HEAD = """layer { name: "ip" type: "InnerProduct" bottom: "p" top: "ip"
    inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }"""
NET = f"{DATA}\n{LABEL}\n{CONV}\n{POOL}\n{HEAD}"
# Its one weight has the gradient 1 at every step, so a step without momentum subtracts the learning rate.
SLOPE = """layer { name: "one" type: "DummyData" top: "x"
    dummy_data_param { shape { dim: 1 dim: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "w" type: "InnerProduct" bottom: "x" top: "w" inner_product_param { num_output: 1 bias_term: false } }
layer { name: "sum" type: "Reduction" bottom: "w" top: "sum" loss_weight: 1 }"""


@pytest.fixture
def solver_of(tmp_path):
    """Return a function that makes a solver of a net's text and the solver's own settings."""

    def make(net=NET, settings='base_lr: 0.1 momentum: 0.9 lr_policy: "fixed"', prefix="at"):
        (tmp_path / "net.prototxt").write_text(net)
        text = f'net: "{tmp_path}/net.prototxt" random_seed: 1 snapshot_prefix: "{tmp_path}/{prefix}" {settings}'
        (tmp_path / "solver.prototxt").write_text(text)
        return caffe.get_solver(str(tmp_path / "solver.prototxt"))

    return make


@pytest.fixture
def net_of(tmp_path):
    """Return a function that makes a net of its text."""

    def make(text):
        (tmp_path / "any.prototxt").write_text(text)
        return caffe.Net(str(tmp_path / "any.prototxt"), caffe.TRAIN)

    return make


@pytest.fixture(autouse=True)
def a_good_net_still_works(solver_of):
    """Train a little after every test: no mistake made in it may spoil the process."""
    yield
    solver = solver_of()
    losses = [train(solver, 1, seed=0) for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]


def train(solver, steps, seed, labels=(0, 1, 2, 0)):
    """Step on random images, the same for each seed; return the last loss."""
    net, rng = solver.net, np.random.default_rng(seed)
    for _ in range(steps):
        net.blobs["data"].data[...] = rng.standard_normal((4, 1, 6, 6))
        net.blobs["label"].data[...] = labels
        solver.step(1)
    return float(net.blobs["loss"].data)


def weights(solver):
    """Return copies of all weights."""
    return [blob.data.copy() for blobs in solver.net.params.values() for blob in blobs]


def same_bits(left, right):
    """Say whether two lists of arrays are equal, bit for bit."""
    return [a.tobytes() for a in left] == [b.tobytes() for b in right]


# ------------------------------------------------------------------------------------------ mistakes in the text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("layer {", "Failed to parse NetParameter", id="a syntax error"),
        pytest.param("layers_of_mine: 3", "Failed to parse NetParameter", id="an unknown field"),
        pytest.param('layer { name: "x" type: "Nope" }', "Unknown layer type: Nope", id="an unknown layer type"),
        pytest.param(DATA + POOL, "Unknown bottom blob 'c'", id="an unknown bottom"),
        pytest.param(DATA + CONV + CONV, "Top blob 'c' produced by multiple sources", id="a top of two layers"),
        pytest.param(DATA + CONV.replace("xavier", "nope"), "Unknown filler name", id="an unknown filler"),
        pytest.param(DATA + CONV.replace("kernel_size: 3", ""), "kernel", id="a convolution without a kernel"),
        pytest.param(
            DATA + CONV.replace("num_output: 2", "num_output: 2 group: 0"), "group_", id="a convolution of 0 groups"
        ),
        pytest.param(DATA + 'layer { type: "Split" bottom: "data" }', "top", id="a layer without its tops"),
        pytest.param(NET.replace("dim: 4 }", "dim: 5 }"), "same first dimension", id="labels of another batch size"),
        pytest.param(
            DATA + LABEL + 'layer { type: "Eltwise" bottom: "data" bottom: "label" top: "e" }',
            "shape",
            id="a sum of two shapes",
        ),
        pytest.param(
            'layer { type: "Data" top: "data" data_param { source: "db" batch_size: 1 backend: LMDB } }',
            "Unknown database backend",
            id="a Data layer, whose data bases are not compiled in",
        ),
    ],
)
def test_a_net_raises_for(net_of, text, message):
    with pytest.raises(RuntimeError, match=message):
        net_of(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param('lr_policy: "fixed" type: "Nope"', "Unknown solver type", id="an unknown solver type"),
        pytest.param('lr_policy: "fixed" test_iter: 1', "test_interval", id="a test without an interval"),
        pytest.param('lr_policy: "nope" weight_decay: 1 net_param { }', "must not contain more", id="two nets"),
    ],
)
def test_a_solver_raises_for(solver_of, settings, message):
    with pytest.raises(RuntimeError, match=message):
        solver_of(settings=settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param('lr_policy: "nope"', "Unknown learning rate policy: nope", id="an unknown lr_policy"),
        pytest.param('lr_policy: "step" gamma: 0.1', "stepsize", id="lr_policy step without a stepsize"),
    ],
)
def test_the_first_step_raises_for(solver_of, settings, message):
    solver = solver_of(settings=f"base_lr: 0.1 {settings}")
    with pytest.raises(RuntimeError, match=message):
        train(solver, 1, seed=0)
    assert solver.iter == 0


# ------------------------------------------------------------------------------------------ mistakes in data and files


@pytest.mark.parametrize("label", [-1, 3, 10**6, float("nan")])
def test_a_label_out_of_range_raises_and_the_solver_goes_on(solver_of, label):
    solver = solver_of()
    with pytest.raises(RuntimeError, match="label_value"):
        train(solver, 1, seed=0, labels=(0, 1, label, 0))
    assert np.isfinite(train(solver, 1, seed=0))


@pytest.mark.parametrize("kind", ["HingeLoss", "MultinomialLogisticLoss"])
def test_every_loss_on_labels_checks_their_range(net_of, kind):
    net = net_of(NET.replace("SoftmaxWithLoss", kind).replace("dim: 4 }", "dim: 4 dim: 1 dim: 1 dim: 1 }", 1))
    net.blobs["label"].data[...] = 3
    with pytest.raises(RuntimeError, match="label"):
        net.forward()


def test_nan_in_max_pooling_raises_instead_of_writing_outside_the_blob(solver_of):
    solver = solver_of()
    solver.net.params["c"][0].data[...] = np.nan
    with pytest.raises(RuntimeError, match="NaN"):
        train(solver, 1, seed=0)


def test_a_shape_that_does_not_fit_the_stored_weights_raises(net_of, tmp_path):
    net_of(NET).save(str(tmp_path / "w.caffemodel"))
    other = net_of(NET.replace("num_output: 3", "num_output: 5"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        other.copy_from(str(tmp_path / "w.caffemodel"))


def test_missing_files_raise(solver_of):
    solver = solver_of()
    for call in (caffe.get_solver, solver.net.copy_from, solver.restore, lambda name: caffe.Net(name, caffe.TEST)):
        with pytest.raises(RuntimeError, match=r"no/such|not found|not open"):
            call("no/such/file")


def test_a_snapshot_to_a_missing_folder_raises(solver_of):
    with pytest.raises(RuntimeError, match="Cannot write to snapshot prefix"):
        solver_of(settings='base_lr: 1 lr_policy: "fixed" snapshot: 1', prefix="no/such")
    with pytest.raises(RuntimeError, match="SerializeToOstream"):
        solver_of(prefix="no/such").snapshot()


def test_restoring_garbage_raises(solver_of, tmp_path):
    (tmp_path / "bad.solverstate").write_bytes(b"garbage")
    with pytest.raises(RuntimeError, match="Check failed"):
        solver_of().restore(str(tmp_path / "bad.solverstate"))


def test_set_input_arrays_checks_net_types_and_rows(net_of):
    rows, labels = np.zeros((2, 1, 1, 3), np.float32), np.zeros(2, np.float32)
    shape = "batch_size: 2 channels: 1 height: 1 width: 3"
    memory = net_of(f'layer {{ type: "MemoryData" top: "d" top: "l" memory_data_param {{ {shape} }} }}')
    for net, data, message in [
        (net_of(""), rows, "no layers"),
        (memory, rows.tolist(), "numpy arrays"),
        (memory, rows[:, :, :, :2].copy(), "width"),
    ]:
        with pytest.raises(RuntimeError, match=message):
            net.set_input_arrays(data, labels)
    with pytest.raises(RuntimeError, match="multiple of batch size"):
        memory.set_input_arrays(rows[:0], labels[:0])
    memory.set_input_arrays(rows, labels)
    assert memory.forward()["d"].shape == rows.shape


# ------------------------------------------------------------------------------------------ state


def test_history_can_be_read_and_written(solver_of):
    solver = solver_of()
    train(solver, 1, seed=0)
    momentum = [blob.data for blob in solver.history]
    assert [m.shape for m in momentum] == [w.shape for w in weights(solver)]
    assert all(m.any() for m in momentum)
    momentum[0][...] = 7
    assert (solver.history[0].data == 7).all()


@pytest.mark.parametrize("kind", SOLVER_TYPES)
def test_weights_history_and_iter_are_the_whole_state_of_a_solver(solver_of, kind):
    momentum = "" if kind in ("AdaGrad", "RMSProp") else "momentum: 0.9"
    settings = f'type: "{kind}" base_lr: 0.01 {momentum} lr_policy: "inv" gamma: 0.1 power: 0.75 delta: 1e-4'
    first, second = solver_of(settings=settings), solver_of(settings=settings)
    train(first, 3, seed=1)
    for target, source in zip(second.net.params.values(), first.net.params.values(), strict=True):
        for blob, other in zip(target, source, strict=True):
            blob.data[...] = other.data
    for blob, other in zip(second.history, first.history, strict=True):
        blob.data[...] = other.data
    second.iter = first.iter
    for solver in (first, second):
        train(solver, 3, seed=2)
    assert second.iter == 6
    assert same_bits(weights(first), weights(second))


def test_a_restored_solver_goes_on_bit_for_bit(solver_of, tmp_path):
    first, second = solver_of(), solver_of()
    train(first, 3, seed=1)
    first.snapshot()
    second.restore(str(tmp_path / "at_iter_3.solverstate"))
    for solver in (first, second):
        train(solver, 3, seed=2)
    assert (first.iter, second.iter) == (6, 6)
    assert same_bits(weights(first), weights(second))


def test_solve_runs_to_max_iter_and_takes_up_a_solver_state(solver_of, tmp_path):
    settings = 'base_lr: 1 lr_policy: "fixed" max_iter: 5'
    first, second = solver_of(SLOPE, settings), solver_of(SLOPE, settings)
    first.step(2)
    first.snapshot()
    first.solve()
    second.solve(str(tmp_path / "at_iter_2.solverstate"))
    assert [(solver.iter, solver.net.params["w"][0].data.item()) for solver in (first, second)] == [(5, -5), (5, -5)]


def test_apply_update_takes_the_gradients_as_they_are_and_counts(solver_of):
    solver = solver_of(SLOPE, 'base_lr: 0.5 lr_policy: "fixed"')
    solver.net.params["w"][0].diff[...] = 4
    solver.apply_update()
    assert (solver.iter, solver.net.params["w"][0].data.item()) == (1, -2)


@pytest.mark.parametrize("policy", ["step", "exp", "inv", "multistep", "poly", "sigmoid"])
@pytest.mark.parametrize("kind", SOLVER_TYPES)
def test_a_loop_of_forward_backward_and_apply_update_is_step_bit_for_bit(solver_of, kind, policy):
    momentum = "" if kind in ("AdaGrad", "RMSProp") else "momentum: 0.9"
    settings = f'type: "{kind}" base_lr: 0.05 {momentum} lr_policy: "{policy}" gamma: 0.5 power: 0.75 delta: 1e-4'
    settings += " stepsize: 2 stepvalue: 1 stepvalue: 3 max_iter: 9"
    by_step, by_hand = solver_of(SLOPE, settings), solver_of(SLOPE, settings)
    net = by_hand.net
    by_step.step(5)
    for _ in range(5):
        net.clear_param_diffs()
        net.forward()
        net.backward()
        by_hand.apply_update()
    assert (by_step.iter, by_hand.iter) == (5, 5)
    assert by_step.current_step == by_hand.current_step
    assert same_bits(weights(by_step), weights(by_hand))


@pytest.mark.parametrize("policy", ["fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid"])
def test_a_schedule_continues_where_iter_and_current_step_say(solver_of, policy):
    settings = f'lr_policy: "{policy}" base_lr: 1 gamma: 0.5 power: 2 max_iter: 16'
    settings += {"multistep": " stepvalue: 2 stepvalue: 5", "step": " stepsize: 3", "sigmoid": " stepsize: 4"}.get(
        policy, ""
    )

    def rates(solver, count):
        steps = []
        for _ in range(count):
            solver.net.params["w"][0].data[...] = 0
            solver.step(1)
            steps.append(-solver.net.params["w"][0].data.item())
        return steps

    whole, fresh = solver_of(SLOPE, settings), solver_of(SLOPE, settings)
    start = rates(whole, 4)
    fresh.iter, fresh.current_step = whole.iter, whole.current_step
    assert (fresh.iter, fresh.current_step) == (4, {"multistep": 1, "step": 1}.get(policy, 0))
    rest = rates(whole, 4)
    assert rates(fresh, 4) == rest
    assert (rest == start) == (policy == "fixed")


def test_a_negative_iter_or_current_step_raises(solver_of):
    solver = solver_of()
    for name in ("iter", "current_step"):
        with pytest.raises(RuntimeError, match=name):
            setattr(solver, name, -1)
        assert getattr(solver, name) == 0


# ------------------------------------------------------------------------------------------ threads and callbacks


def test_other_python_threads_run_while_a_solver_steps(solver_of):
    solver, ticks, done = solver_of(), [], threading.Event()

    def tick():
        while not done.wait(0.001):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        start = time.perf_counter()
        solver.step(20_000)
        end = time.perf_counter()
    finally:
        done.set()
        thread.join()
    # Only the middle half counts: at its edges the interpreter may switch threads just outside of step().
    quarter = (end - start) / 4
    assert any(start + quarter < tick < end - quarter for tick in ticks)


@pytest.mark.parametrize(
    ("module", "layer", "error"),
    [("no_such_module", "X", ModuleNotFoundError), ("math", "NoSuchLayer", AttributeError)],
)
def test_a_python_layer_that_cannot_be_made_raises_its_own_error(net_of, module, layer, error):
    with pytest.raises(error, match=f"no_such_module|{layer}"):
        net_of(f'layer {{ type: "Python" top: "x" python_param {{ module: "{module}" layer: "{layer}" }} }}')


def test_callbacks_may_change_gradients_and_their_exceptions_arrive_as_themselves(solver_of):
    solver = solver_of(SLOPE, 'base_lr: 1 lr_policy: "fixed"')

    def double():
        solver.net.params["w"][0].diff[...] *= 2
        if solver.iter == 1:
            raise KeyError(solver.iter)

    solver.add_callback(lambda: None, double)
    solver.step(1)
    assert solver.net.params["w"][0].data.item() == -2
    with pytest.raises(KeyError):
        solver.step(1)
    assert solver.iter == 1


def test_the_wheel_carries_its_licence_and_needs_three_packages():
    assert any("LICENSE" in path.name for path in metadata.files("caffe"))
    assert sorted(name.split(">")[0] for name in metadata.requires("caffe") if "extra" not in name) == [
        "numpy",
        "protobuf",
        "six",
    ]


def test_the_wheel_says_which_one_it_is_and_for_which_python_and_libraries():
    # the cache key is part of the version, so that pip tells wheels apart
    assert re.fullmatch(r"1\.0\.0\+cpu\.[0-9a-f]{1,12}", metadata.version("caffe"))
    assert metadata.metadata("caffe")["Requires-Python"] == f"=={sys.version_info[0]}.{sys.version_info[1]}.*"
    release, *_ = Path(caffe.__file__).with_name("built_on.txt").read_text().splitlines()
    assert re.fullmatch(r"[a-z]+( [a-z0-9.]+)?", release)
