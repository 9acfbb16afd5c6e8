"""A training of a torch module is the same each time: in other processes, resumed after a kill, with a worker killed in a round."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from torch.nn import functional
from torch_plain import OPTIMIZERS, SCHEDULERS, factory, packed

from sparknet import LocalCluster, averaged_sgd, load

pytestmark = pytest.mark.torch

OPTIONS = {"workers": 2, "tau": 3, "rounds": 6, "seed": 7}
# Trains, and kills itself where the loss is computed for the so manieth time: in the middle of a step.
PROGRAM = """
import os, random, signal, sys
import numpy, torch
from torch.nn import functional
from torch_plain import OPTIMIZERS, SCHEDULERS, factory, packed
from sparknet import LocalCluster, averaged_sgd, save

policy, checkpoint, out, dies = sys.argv[1:]
taken = 0
for seed in (torch.manual_seed, random.seed, numpy.random.seed):
    seed(os.getpid())  # of generators that a training has nothing to do with

def loss(output, label):
    global taken
    taken += 1
    if taken == int(dies):
        os.kill(os.getpid(), signal.SIGKILL)
    return functional.cross_entropy(output, label)

net = factory(optimizer=OPTIMIZERS["AdamW"], scheduler=SCHEDULERS["cosine"], loss=loss)
options = {"workers": 2, "tau": 3, "rounds": 6, "seed": 7, "solver_state": policy, "checkpoint": checkpoint or None}
for each in averaged_sgd(net, packed(), cluster=LocalCluster(), **options):
    print(each.index, each.loss.hex(), flush=True)
save(out, each.weights)
"""


def net(loss=functional.cross_entropy):
    """The net of the program: dropout, a batch norm, Adam's moments, a schedule."""
    return factory(optimizer=OPTIMIZERS["AdamW"], scheduler=SCHEDULERS["cosine"], loss=loss)


def trained(cluster=None, made=None, policy="average"):
    rounds = averaged_sgd(made or net(), packed(), cluster=cluster or LocalCluster(), solver_state=policy, **OPTIONS)
    return list(rounds)


def run(policy, checkpoint, out, dies, **environment):
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    command = [sys.executable, "-c", PROGRAM, policy, str(checkpoint), str(out), str(dies)]
    env = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    assert done.returncode == (-signal.SIGKILL if dies else 0), done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def said(rounds):
    return [[str(each.index), each.loss.hex()] for each in rounds]


def test_two_runs_of_one_seed_are_equal(tmp_path):
    here = trained()
    for name, environment in (
        ("a", {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"}),
        ("b", {"PYTHONHASHSEED": "2", "OMP_NUM_THREADS": "2"}),
    ):
        assert run("average", "", tmp_path / f"{name}.sparknet", 0, **environment) == said(here)
        assert load(tmp_path / f"{name}.sparknet") == here[-1].weights
    other = list(averaged_sgd(net(), packed(), cluster=LocalCluster(), **{**OPTIONS, "seed": 8}))
    assert other[-1].weights != here[-1].weights


@pytest.mark.parametrize("policy", ["average", "local", "reset"])
def test_a_run_that_is_killed_in_a_step_and_resumed_has_the_bits_of_one_without_a_kill(policy, tmp_path):
    here, out = trained(policy=policy), tmp_path / "out.sparknet"
    before = run(policy, tmp_path / "c", out, 24)  # six steps a round, after the trials of the driver
    assert 2 <= len(before) < len(here)
    after = run(policy, tmp_path / "c", out, 0)
    assert 0 < int(after[0][0]) <= len(before)
    assert before + after[len(before) - int(after[0][0]) :] == said(here)
    assert load(out) == here[-1].weights


def test_a_worker_that_is_killed_in_a_step_changes_no_bit(tmp_path):
    driver, killed, taken = os.getpid(), tmp_path / "killed", []

    def loss(output, label):
        taken.append(1)
        # Each worker is a fork of this process, so it counts on from here.
        if os.getpid() != driver and len(taken) > 9 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return functional.cross_entropy(output, label)

    there = trained(LocalCluster(processes=2), net(loss))
    assert killed.exists()
    assert said(there) == said(trained())
    assert there[-1].weights == trained()[-1].weights
