"""``sparknet train --net torch:...`` on executors of their own: the code of a file is sent to them, a package is not."""

import os
import subprocess
import sys

import pytest

import sparknet

# Importing torch takes a worker many seconds where others use the cores.
pytestmark = [pytest.mark.spark, pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(1200)]

FILE = """
import torch
from torch import nn

HIDDEN = 8

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, HIDDEN), nn.Dropout(0.2), nn.Linear(HIDDEN, 10))

    def forward(self, x):
        return self.layers(x)

def module():
    return Net()
"""
# The folder of the file is on the path of this process alone: executors have neither it nor the folder that it runs in.
MAIN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from sparknet.cli import main; raise SystemExit(main(sys.argv[1:]))"
OPTIONS = ["--workers", "2", "--tau", "2", "--rounds", "2", "--seed", "3", "--batch-size", "32"]


@pytest.fixture
def train(tmp_path):
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "mine.py").write_text(FILE)

    def train(net, master, out):
        command = [sys.executable, "-c", MAIN, str(folder), "train", "--net", f"torch:{net}", "--master", master]
        path = os.pathsep.join(filter(None, sys.path))
        return subprocess.run(
            [*command, *OPTIONS, "--out", str(tmp_path / out)],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": path},
        )

    return train


def test_a_file_is_sent_to_executors_that_do_not_have_it(train, tmp_path):
    file = tmp_path / "program" / "mine.py"
    for master, out in (("none", "here"), ("local-cluster[2,1,1024]", "there")):
        done = train(f"{file}:module", master, out)
        assert done.returncode == 0, done.stdout + done.stderr
    here, there = (sparknet.load(tmp_path / out / "weights.sparknet") for out in ("here", "there"))
    assert here == there


def test_a_module_that_executors_do_not_have_is_told_with_what_to_do(train):
    done = train("mine:module", "local-cluster[1,2,1024]", "out")
    assert done.returncode == 1, done.stdout + done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("sparknet train: error: ")]
    assert "No module named 'mine'" in said
    assert "; the driver has it as " in said
    assert said.endswith("Or write --net torch:FILE.py:function: this command sends the code of a file")
