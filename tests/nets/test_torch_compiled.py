"""``compile=``: the bits of a loop that is compiled by torch alone, the module's own names, and what is said where nothing compiles."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch_plain
from torch_plain import Plain, factory, packed, same, small

from sparknet import LocalCluster, averaged_sgd
from sparknet.data.sampling import step_rng
from sparknet.errors import NetError
from sparknet.nets.torch import step_seed

pytestmark = [pytest.mark.torch, pytest.mark.timeout(600)]

NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor compiles by g++")
BACKENDS = ["eager", "aot_eager", pytest.param("inductor", marks=NEEDS_COMPILER)]


def trained(backend, cluster=None, **options):
    net = factory(compile={"backend": backend})
    options = {"workers": 1, "tau": 5, "rounds": 2, "seed": 3, **options}
    return net, list(averaged_sgd(net, packed(), cluster=cluster or LocalCluster(), **options))


class Compiled(Plain):
    """A plain loop with a module that torch compiles, each shape by itself."""

    def __init__(self, backend):
        super().__init__(seed=3)
        self.state = self.module.state_dict
        self.module = torch.compile(self.module, backend=backend, dynamic=False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rounds_of_one_worker_are_a_plain_loop_that_is_compiled(backend):
    net, rounds = trained(backend)
    plain = Compiled(backend)
    (batches,) = packed().map_shards(lambda shard: list(shard.feed(10, seed=3)), workers=1)
    for step, batch in enumerate(batches):
        seed = int(step_rng(3, 0, step // 5 * 5).integers(2**31))
        plain.step(batch, step_seed(seed, step))
    kept = net()
    kept.set_weights(rounds[-1].weights)
    assert same(kept.state_dict(), plain.state())
    assert list(kept.state_dict()) == list(small().state_dict())
    assert list(rounds[-1].weights) == ["0", "1", "4"]


IN_PROCESSES = """
import sys
from torch_plain import factory, packed
from sparknet import LocalCluster, averaged_sgd
from sparknet.errors import NetError

def facts(cluster):
    net = factory(compile={"backend": sys.argv[1]})
    options = {"workers": 2, "tau": 3, "rounds": 2, "seed": 3}
    if sys.argv[1] == "aot_eager":  # inductor compiles for many seconds
        options["evaluate"] = (packed(25), 1)
    return [(r.weights, r.loss, r.metrics) for r in averaged_sgd(net, packed(), cluster=cluster, **options)]

there = facts(LocalCluster(processes=2))
assert facts(LocalCluster()) == there
if sys.argv[1] == "aot_eager":
    try:
        facts(LocalCluster(processes=2))
    except NetError as error:
        assert "before its workers were forked" in str(error), error
    else:
        raise AssertionError
"""


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_workers_in_processes_compile_for_themselves_and_have_the_same_bits(backend):
    done = ran(IN_PROCESSES, backend)
    assert done.returncode == 0, done.stderr[-3000:]


def ran(program, *arguments, **env):
    """Run a program in a process that has not compiled anything: torch cannot fork one that has."""
    paths = os.pathsep.join([str(Path(torch_plain.__file__).parent), *sys.path])
    command = [sys.executable, "-c", program, *arguments]
    env = {**os.environ, **env, "PYTHONPATH": paths}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=500)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bits_of_a_step_do_not_depend_on_the_shapes_before_it(backend):
    first, *others, last = packed(75).batches  # the last one has 5 rows
    net, other = (factory(compile={"backend": backend})(seed=1) for _ in range(2))
    net.step(first)
    for each in (last, others[0], last, others[1]):
        other.forward(each)
    other.step(first)
    assert other.get_weights() == net.get_weights()


def test_a_factory_that_compiles_is_pickled():
    made = factory(compile={"backend": "aot_eager"})
    again = pickle.loads(pickle.dumps(made))
    batch = packed().batches[0]
    assert again(seed=3).step(batch) == made(seed=3).step(batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "no such"}, r"TorchNet: torch.compile\(module\): InvalidBackend.*'no such'"),
        ({"speed": 11}, r"TorchNet: torch.compile\(module\): TypeError.*speed"),
        ("inductor", "compile='inductor'; expected True, False or options of torch.compile, such as"),
        (1, "compile=1; expected True, False or options"),
    ],
)
def test_what_torch_cannot_compile_by_is_refused_when_the_factory_is_made(options, message):
    with pytest.raises(NetError, match=message):
        factory(compile=options)


def test_empty_options_compile_too():
    assert type(factory(compile={})()._stepping.call).__name__ == "OptimizedModule"


PROGRAM = """
import sys
from torch_plain import factory, packed
from sparknet import LocalCluster, averaged_sgd
from sparknet.errors import NetError
net = factory(compile=True)
try:
    list(averaged_sgd(net, packed(), cluster=LocalCluster(), workers=1, tau=1, rounds=1))
except NetError as error:
    print(error)
    sys.exit(3)
"""


def test_a_compiler_that_is_not_there_is_told_at_the_first_step_with_the_way_out(tmp_path):
    done = ran(PROGRAM, CXX="no-such-compiler", TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    assert done.returncode == 3, done.stderr
    assert ": step(): " in done.stdout
    assert "no-such-compiler" in done.stdout
    assert "compile={'backend': 'aot_eager'} needs no compiler, compile=False" in done.stdout
