"""``sparknet train --net torch:...`` trains a module of a file or of a package."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import sparknet
from sparknet.cli import main

pytestmark = pytest.mark.torch

FAST = ["--master", "none", "--rounds", "2", "--tau", "3", "--seed", "3"]
FILE = """
from dataclasses import dataclass
from functools import partial
import torch
from sparknet.nets import TorchNet

@dataclass
class Size:
    hidden: int = 8

def module():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, Size().hidden), torch.nn.ReLU(), torch.nn.Linear(8, 10))

def factory():
    return TorchNet.factory(module, optimizer=partial(torch.optim.Adam, lr=0.01), loss=torch.nn.functional.cross_entropy)

def failing():
    return undefined

def wrong():
    return 3

number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def run(capsys, *arguments):
    code = main(["train", *FAST, *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_function_of_a_file_that_returns_a_module_is_trained(file, capsys, tmp_path):
    out = tmp_path / "out"
    code, text, err = run(capsys, "--net", f"torch:{file}:module", "--out", str(out))
    assert (code, err) == (0, "")
    assert "(as --net torch has it)" in text
    assert "test accuracy" in text
    weights = sparknet.load(out / "weights.sparknet")
    assert {name: len(arrays) for name, arrays in weights.items()} == {"1": 2, "3": 2}
    other = tmp_path / "other"
    assert run(capsys, "--net", f"torch:{file}:module", "--momentum", "0", "--out", str(other))[0] == 0
    assert sparknet.load(other / "weights.sparknet") != weights


def test_the_weights_of_a_run_become_a_state_dict_by_convert(file, capsys, tmp_path):
    out = tmp_path / "out"
    assert run(capsys, "--net", f"torch:{file}:module", "--out", str(out))[0] == 0
    assert main(["convert", str(out / "weights.sparknet"), str(tmp_path / "w.pt")]) == 0
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
    model.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True))
    weights = sparknet.load(out / "weights.sparknet")
    assert np.array_equal(model[1].weight.detach().numpy(), weights["1"][0].to_host())
    assert np.array_equal(model[3].bias.detach().numpy(), weights["3"][1].to_host())


def test_a_function_that_returns_a_factory_decides_the_optimizer(file, capsys, tmp_path):
    files = []
    for momentum in ("0", "0.9"):  # which Adam has not
        out = tmp_path / momentum
        code, _, err = run(
            capsys, "--net", f"torch:{file}:factory", "--momentum", momentum, "--processes", "2", "--out", str(out)
        )
        assert (code, err) == (0, "")
        files.append((out / "weights.sparknet").read_bytes())
    assert files[0] == files[1]


def test_a_module_of_a_package_is_imported(file, capsys, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    assert run(capsys, "--net", "torch:mine:module", "--out", str(tmp_path / "out"))[0] == 0
    assert sys.modules.pop("mine").__file__ == str(file)


def test_the_code_of_a_file_is_sent_with_the_factory(file, tmp_path):
    from pyspark import cloudpickle

    from sparknet.nets.torch.named import named_factory

    for function in ("module", "factory"):
        made = named_factory(f"{file}:{function}", learning_rate=0.1, momentum=0.9)
        (tmp_path / function).write_bytes(cloudpickle.dumps(made))
    assert "mine" not in sys.modules
    file.unlink()
    program = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))(seed=1).step.__self__.get_weights().num_parameters)"
    for function in ("module", "factory"):
        command = [sys.executable, "-c", program, str(tmp_path / function)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", timeout=240)
        assert (done.returncode, done.stdout.strip()) == (0, "6370"), done.stderr


def test_a_module_beside_the_file_is_told_with_what_to_do(tmp_path, capsys):
    (tmp_path / "layers.py").write_text("WIDTH = 8")
    path = tmp_path / "net.py"
    path.write_text("from layers import WIDTH")
    code, _, err = run(capsys, "--net", f"torch:{path}:module", "--out", str(tmp_path / "out"))
    assert code == 2
    assert (
        "ModuleNotFoundError: No module named 'layers'; one file is sent to the workers: put the code of layers into it"
        in err
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.py:module", "nothing.py cannot be imported: FileNotFoundError"),
        (
            "no.such.package:module",
            "ModuleNotFoundError: No module named 'no'; a file is written as torch:FILE.py:function",
        ),
        ("mine.py", "expected torch:package.module:function or torch:FILE.py:function"),
        ("{file}:nothing", "has no function 'nothing'"),
        ("{file}:number", "has no function 'number'"),
        ("{file}:failing", "the function raised NameError: name 'undefined' is not defined"),
        ("{file}:wrong", "wrong() returned int, expected a torch.nn.Module or a TorchNet.factory(...)"),
    ],
)
def test_what_is_no_net_is_told_in_a_line(name, message, file, capsys, tmp_path):
    code, out, err = run(capsys, "--net", f"torch:{name.format(file=file)}", "--out", str(tmp_path / "out"))
    assert (code, out) == (2, "")
    assert err.startswith("sparknet train: error: --net torch:")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
