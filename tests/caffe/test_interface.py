"""The names of BVLC Caffe's Python interface: each is there and does what newest BVLC Caffe does with it."""

import os
import re
import subprocess
import sys
import threading

import caffe
import pytest
from caffe.proto import caffe_pb2

pytestmark = pytest.mark.caffe

# What `import caffe` of newest BVLC Caffe offers, modules aside.
NAMES = [
    *("Net", "SGDSolver", "NesterovSolver", "AdaGradSolver", "RMSPropSolver", "AdaDeltaSolver", "AdamSolver", "NCCL"),
    *("Timer", "init_log", "log", "set_mode_cpu", "set_mode_gpu", "set_device", "Layer", "get_solver", "TRAIN", "TEST"),
    *("layer_type_list", "set_random_seed", "solver_count", "set_solver_count", "solver_rank", "set_solver_rank"),
    *("set_multiprocess", "has_nccl", "Classifier", "Detector", "layers", "params", "NetSpec", "to_proto"),
]
SOLVERS = ["NesterovSolver", "AdaGradSolver", "RMSPropSolver", "AdaDeltaSolver", "AdamSolver"]
NET = """layer { name: "a" type: "DummyData" top: "a" dummy_data_param { shape { dim: 2 dim: 3 }
    data_filler { type: "constant" value: 1 } } }
layer { name: "b" type: "Power" bottom: "a" top: "b" power_param { scale: 2 } }
layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" inner_product_param { num_output: 1 } }
layer { name: "d" type: "Reduction" bottom: "c" top: "d" loss_weight: 1 }"""


@pytest.fixture
def net(tmp_path):
    """A net of four layers."""
    (tmp_path / "net.prototxt").write_text(NET)
    return caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)


@pytest.fixture
def solver_file(tmp_path):
    """Return a function that writes the files of a solver and of its net."""

    def write(settings='base_lr: 0.5 lr_policy: "fixed"', net=NET):
        (tmp_path / "net.prototxt").write_text(net)
        (tmp_path / "solver.prototxt").write_text(f'net: "{tmp_path}/net.prototxt" {settings}')
        return str(tmp_path / "solver.prototxt")

    return write


def in_a_new_process(code):
    """Run Python code with glog as it comes; return what was written to stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GLOG_")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stderr


# ------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize("name", NAMES)
def test_caffe_has_the_name(name):
    assert hasattr(caffe, name)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_is_an_sgd_solver(name):
    assert issubclass(getattr(caffe, name), caffe.SGDSolver)


def test_a_class_of_python_may_extend_a_solver(solver_file):
    class Counting(caffe.AdamSolver):
        def __init__(self, path):
            super().__init__(path)
            self.rounds = 0

        def round(self):
            self.step(3)
            self.rounds += 1

    solver = Counting(solver_file())
    solver.round()
    assert (solver.rounds, solver.iter, isinstance(solver, caffe.SGDSolver)) == (1, 3, True)


# ------------------------------------------------------------------------------------------ solvers


def test_param_shows_what_the_solvers_file_says_and_base_lr_can_be_set(solver_file):
    solver = caffe.get_solver(solver_file('base_lr: 0.5 lr_policy: "fixed" max_iter: 7 display: 3'))
    param = solver.param
    assert (param.base_lr, param.max_iter, param.display, param.layer_wise_reduce) == (0.5, 7, 3, True)
    param.base_lr = 0.25
    assert (solver.param.base_lr, solver.lr) == (0.25, 0.25)


def test_lr_is_the_rate_of_the_coming_update(solver_file):
    solver = caffe.get_solver(solver_file('base_lr: 1 lr_policy: "exp" gamma: 0.5'))
    rates = []
    for _ in range(3):
        rates.append(solver.lr)
        solver.step(1)
    assert rates == [1, 0.5, 0.25]


def test_share_weights_gives_a_net_the_memory_of_the_solvers_weights(net, solver_file):
    solver = caffe.get_solver(solver_file())
    solver.share_weights(net)
    solver.net.params["c"][0].data[...] = 3
    assert (net.params["c"][0].data == 3).all()


def test_share_with_gives_a_net_the_memory_of_another_nets_weights(net, tmp_path):
    other = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    other.share_with(net)
    net.params["c"][0].data[...] = 3
    assert (other.params["c"][0].data == 3).all()


def test_layer_wise_reduce_is_read_as_bvlc_numbers_it():
    message = caffe_pb2.SolverParameter(layer_wise_reduce=False, weights=["a", "b"])
    numbers = {field.name: field.number for field, _ in message.ListFields()}
    assert numbers == {"layer_wise_reduce": 41, "weights": 42}


# ------------------------------------------------------------------------------------------ log, timer and NCCL


def test_log_writes_to_stderr_what_it_is_given():
    said = in_a_new_process("import caffe\ncaffe.init_log(0, True)\ncaffe.init_log(0, True)\ncaffe.log('a message')\n")
    assert "] a message" in said
    assert "before InitGoogleLogging" not in said


def test_init_log_sets_the_level():
    assert "a message" not in in_a_new_process("import caffe\ncaffe.init_log(1, True)\ncaffe.log('a message')\n")


def test_the_log_tells_of_layers_that_copy_from_ignores_and_of_debug_info(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "other.prototxt").write_text("debug_info: true\n" + NET.replace('name: "c"', 'name: "new"'))
    said = in_a_new_process(
        "import caffe\n"
        "caffe.init_log(0, True)\n"
        f"caffe.Net({str(tmp_path / 'net.prototxt')!r}, caffe.TRAIN).save({str(tmp_path / 'w.caffemodel')!r})\n"
        f"net = caffe.Net({str(tmp_path / 'other.prototxt')!r}, caffe.TRAIN)\n"
        f"net.copy_from({str(tmp_path / 'w.caffemodel')!r})\n"
        "net.forward()\n"
    )
    assert "Ignoring source layer c" in said
    assert "Creating Layer new" in said
    assert "[Forward] Layer new, top blob c data" in said


def test_the_log_tells_how_fast_a_solver_steps(solver_file):
    path = solver_file('base_lr: 0.5 lr_policy: "fixed" display: 2')
    said = in_a_new_process(f"import caffe\ncaffe.init_log(0, True)\ncaffe.SGDSolver({path!r}).step(5)\n")
    shown = re.findall(r"Iteration (\d+) \([\d.e+]+ iter/s, [\d.]+s/2 iters\), loss = ", said)
    assert shown == ["0", "2", "4"]


def test_a_timer_counts_milliseconds_between_start_and_stop():
    timer, wait = caffe.Timer(), threading.Event()
    assert timer.ms == 0
    timer.start()
    wait.wait(0.02)
    timer.stop()
    first = timer.ms
    assert first >= 20
    wait.wait(0.02)
    assert timer.ms == first


def test_nccl_stands_in_and_says_that_it_exchanges_nothing(solver_file):
    assert not caffe.has_nccl()
    said = in_a_new_process(
        "import caffe\n"
        f"solver = caffe.SGDSolver({solver_file()!r})\n"
        "nccl = caffe.NCCL(solver, 'uid')\n"
        "solver.add_callback(nccl)\n"
        "solver.net.after_backward(nccl)\n"
        "solver.step(2)\n"
    )
    assert said.count("caffe.NCCL exchanges nothing") == 3
