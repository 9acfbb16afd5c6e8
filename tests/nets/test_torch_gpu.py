"""TorchNet on a GPU: the bits of a plain loop there, and weights that travel through host memory. Without a device these tests fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch_plain
from torch_plain import OPTIMIZERS, SCHEDULERS, Plain, factory, packed

from sparknet import LocalCluster, averaged_sgd
from sparknet.nets.torch import step_seed

pytestmark = [pytest.mark.torch, pytest.mark.gpu]

DEVICE = "cuda"


@pytest.fixture(autouse=True)
def device():
    if not torch.cuda.is_available():
        pytest.fail("marked gpu, but torch finds no CUDA device here", pytrace=False)


def on_device():
    """The plain loop's module: its initial weights are made in host memory, as a net's are."""
    return torch_plain.small().to(DEVICE)


class PlainThere(Plain):
    def step(self, batch, seed=None):
        torch.manual_seed(seed)  # of all devices
        self.module.train()
        self.optimizer.zero_grad()
        data, label = (torch_plain.tensor(batch[name]).to(DEVICE) for name in ("data", "label"))
        with torch_plain.one_thread():  # for a try of this test without a GPU, DEVICE = "cpu"
            loss = self.loss(self.module(data), label)
            loss.backward()
            self.optimizer.step()
        if self.scheduler:
            self.scheduler.step()
        return loss.item()


def host(state):
    return {name: value.cpu() for name, value in state.items()}


@pytest.mark.parametrize("optimizer", ["SGD with momentum", "AdamW"])
def test_steps_on_a_gpu_are_those_of_a_plain_loop_there(optimizer):
    options = {"optimizer": OPTIMIZERS[optimizer], "scheduler": SCHEDULERS["cosine"]}
    net, plain = factory(device=DEVICE, **options)(seed=0), PlainThere(on_device, **options)
    for step, batch in enumerate(packed().batches):
        assert net.step(batch) == plain.step(batch, step_seed(0, step))
    assert torch_plain.same(net.state_dict(), host(plain.module.state_dict()))
    assert {p.device.type for p in net.module.parameters()} == {DEVICE}


def test_weights_and_state_go_to_another_net_there_and_are_written_where_its_own_are():
    net, other = (factory(device=DEVICE, optimizer=OPTIMIZERS["AdamW"])(seed=seed) for seed in (1, 2))
    batches = packed().batches
    for each in (net, other):
        each.step(batches[0])
    places = [tensor.data_ptr() for tensor in other.module.state_dict().values()]
    weights, state = net.get_weights(), net.get_state()
    assert {array.device for array in (*weights.arrays(), *state.values())} == {"cpu"}
    other.set_weights(weights)
    other.set_state(state)
    other.reseed(1)
    assert [tensor.data_ptr() for tensor in other.module.state_dict().values()] == places
    assert [other.step(batch) for batch in batches[1:]] == [net.step(batch) for batch in batches[1:]]
    assert other.get_weights() == net.get_weights()


def test_a_training_there_is_the_same_twice_and_near_that_of_the_host():
    options = {"cluster": LocalCluster(), "workers": 2, "tau": 3, "rounds": 3, "seed": 3, "evaluate": (packed(30), 3)}
    # Without dropout: its random numbers are others on a GPU.
    one, two, here = (
        list(averaged_sgd(factory(torch_plain.linear, device=device), packed(), **options))[-1]
        for device in (DEVICE, DEVICE, "cpu")
    )
    assert one.weights == two.weights
    assert one.metrics == two.metrics
    # Sums of 10 products in another order, in 9 steps.
    assert one.weights.allclose(here.weights, rtol=0, atol=1e-5)


PROCESSES = """
import torch, torch_plain
from torch_plain import factory, packed
from sparknet import LocalCluster, averaged_sgd

options = {"workers": 2, "tau": 3, "rounds": 2, "seed": 3}
there = list(averaged_sgd(factory(device="DEVICE"), packed(), cluster=LocalCluster(processes=2), **options))[-1]
assert not torch.cuda.is_initialized()  # in the driver, which needs no GPU
here = list(averaged_sgd(factory(device="DEVICE"), packed(), cluster=LocalCluster(), **options))[-1]
assert there.weights == here.weights
"""


def test_child_processes_share_the_device_and_the_driver_does_not_touch_it():
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    command = [sys.executable, "-c", PROCESSES.replace("DEVICE", DEVICE)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=240
    )
    assert done.returncode == 0, done.stderr
