"""Without torch: nothing imports it before a net is made, and then the message names the extra."""

import subprocess
import sys

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


def run(before="", after=""):
    program = ASKS.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
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
