"""Without torch: nothing imports it before a net is made, and then the message names the extra."""

import subprocess
import sys

import pytest

from sparknet.cli import main

ASKS = """
import sys
{before}
import sparknet
from sparknet.nets import TorchNet
from sparknet.nets.torch import accuracy, step_seed
assert step_seed(1, 0) != step_seed(1, 1)
assert not sys.modules.get("torch")
{after}
"""


def run(before="", after="", errors=""):
    program = ASKS.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(errors)
    return done.stdout


def test_nothing_imports_torch_before_a_net_is_made():
    run()


def test_a_missing_torch_is_told_with_the_extra_that_brings_it():
    said = run(
        'sys.modules["torch"] = None',
        "try:\n    TorchNet.factory(dict, optimizer=dict, loss=dict)\n"
        "except sparknet.MissingDependency as error:\n    print(error, error.name)",
    )
    assert "TorchNet needs torch: pip install 'sparknet[torch]'" in said
    assert said.strip().endswith(" torch")


def test_the_command_tells_of_a_missing_torch_in_a_line():
    said = run(
        'sys.modules["torch"] = None',
        "from sparknet.cli import main\nprint(main(['train', '--master', 'none', '--net', 'torch:mine.py:net']))",
        errors="sparknet train: error: TorchNet needs torch: pip install 'sparknet[torch]' ",
    )
    assert said.splitlines()[-1] == "2"


def test_another_net_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--net", "lenet"])
    assert (
        "got 'lenet', expected mlp, torch:package.module:function or torch:FILE.py:function" in capsys.readouterr().err
    )


def test_a_file_of_torch_is_told_with_the_extra_too(tmp_path):
    said = run(
        'sys.modules["torch"] = None',
        f"from sparknet.formats import write\ntry:\n    write({str(tmp_path / 'w.pt')!r}, {{}})\n"
        "except sparknet.MissingDependency as error:\n    print(error, error.name)",
    )
    assert "the torch backend needs torch: pip install 'sparknet[torch]'" in said
    assert not list(tmp_path.iterdir())
