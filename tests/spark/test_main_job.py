"""The command on Spark: the same bits from every master, Ctrl-C, and clusters that give nothing."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sparknet

pytestmark = pytest.mark.spark

TRAIN = [sys.executable, "-m", "sparknet.cli", "train", "--tau", "5", "--rounds", "3", "--hidden", "16", "--seed", "7"]


def train(out, *arguments):
    return subprocess.run([*TRAIN, "--out", str(out), *arguments], capture_output=True, text=True, check=False)


LENET = Path(__file__).parents[2] / "examples" / "lenet" / "lenet_solver.prototxt"


NETS = {
    "mlp": (["--net", "mlp"], ["weights.sparknet"]),
    "lenet": (["--solver", str(LENET)], ["weights.sparknet", "weights.caffemodel"]),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "masters"),
    [
        ("mlp", ["local[2]", "local-cluster[2,1,1024]"]),
        pytest.param("lenet", ["local-cluster[2,1,1024]"], marks=pytest.mark.caffe),
        pytest.param("lenet", ["local[2]"], marks=[pytest.mark.caffe, pytest.mark.further]),
    ],
    ids=["mlp", "lenet on a cluster", "lenet on threads"],
)
def test_the_same_bits_without_spark_on_local_threads_and_on_executor_processes(tmp_path, net, masters):
    options, names = NETS[net]
    folders = [tmp_path / str(i) for i in range(1 + len(masters))]
    for folder, master in zip(folders, ["none", *masters], strict=True):
        done = train(folder, "--master", master, *options)
        assert done.returncode == 0, done.stderr
        assert "round 3/3" in done.stdout
    for name in names:
        assert len({(folder / name).read_bytes() for folder in folders}) == 1


def test_standard_error_holds_nothing_of_spark(tmp_path):
    done = train(tmp_path / "out", "--master", "local[2]", "--rounds", "1")
    # WARNING: is what the JVM says of its own options, another text in each Java; Spark's lines begin with a date
    noise = [line for line in done.stderr.splitlines() if not line.startswith(("WARNING: ", "NOTE: "))]
    assert (done.returncode, noise) == (0, [])


def test_a_warning_of_the_library_is_shown_as_it_is_without_spark(tmp_path):
    for name, master in (("a", "none"), ("b", "local[2]")):
        done = train(tmp_path / name, "--master", master, "--rounds", "1", "--scale", "0.00001")
        said = [line for line in done.stderr.splitlines() if not line.startswith(("WARNING: ", "NOTE: "))]
        assert (done.returncode, len(said)) == (0, 1), done.stderr
        assert said[0].startswith("input 'data': all values of the first minibatch lie within 1/100 (0..0.00254")


def test_ctrl_c_leaves_the_last_finished_rounds_weights(tmp_path):
    out = tmp_path / "out"
    command = [*TRAIN, "--rounds", "100000", "--out", str(out)]
    # in a session of its own, so that the whole process group gets the signal, as from a terminal
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not (out / "weights.sparknet").exists() and process.poll() is None:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        text, err = process.communicate()
    assert process.returncode == 130, err
    assert "rounds done; wrote" in text
    assert "Traceback" not in err
    assert sparknet.load(out / "weights.sparknet").num_parameters > 0


def test_a_master_that_answers_but_is_none_is_given_up_after_its_time(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = train(tmp_path / "out", "--master", f"spark://127.0.0.1:{server.getsockname()[1]}", "--timeout", "5")
    assert done.returncode == 2
    assert "gave no executor within 5 s" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
