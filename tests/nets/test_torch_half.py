"""Modules of float16 and of bfloat16: K = 1 is a plain torch loop, a mean is rounded from float64, and nothing is lost on the way."""

from functools import partial

import numpy as np
import pytest
import torch
from torch_plain import OPTIMIZERS, SGD, Plain, factory, packed, same, small

from sparknet import LocalCluster, WeightCollection, averaged_sgd, formats
from sparknet.averaging import Mean, Momentum
from sparknet.data.sampling import step_rng
from sparknet.nets.torch import step_seed
from sparknet.testing import check_net

pytestmark = pytest.mark.torch

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
HALVES = pytest.mark.parametrize("dtype", DTYPES)
# Most optimizers divide by a root plus 1e-8, which is 0 in float16.
IN_HALF = {
    "plain SGD": OPTIMIZERS["plain SGD"],
    "SGD with momentum": SGD,
    **{name: partial(OPTIMIZERS[name], eps=1e-3) for name in ("AdamW", "AMSGrad", "NAdam", "RMSprop", "Adagrad")},
    "Rprop": OPTIMIZERS["Rprop"],
}


class Half(torch.nn.Module):
    """The small module in half precision; it takes its input in any."""

    def __init__(self, dtype):
        super().__init__()
        self.inner = small().to(DTYPES[dtype])

    def forward(self, x):
        return self.inner(x.to(self.inner[0].weight.dtype))


def halves(dtype, optimizer="SGD with momentum", **options):
    return factory(partial(Half, dtype), IN_HALF[optimizer], **options)


def fed(data, steps, worker=0, workers=1):
    """Return the minibatches of a worker's first steps."""
    return data.map_shards(lambda shard: list(shard.feed(steps, seed=3)), workers=workers)[worker]


def plain_loop(plain, batches, tau, worker=0, first=0):
    for step, batch in enumerate(batches, first):
        seed = int(step_rng(3, worker, step // tau * tau).integers(2**31))
        plain.step(batch, step_seed(seed, step))


@HALVES
@pytest.mark.parametrize("policy", ["average", "local"])
@pytest.mark.parametrize("optimizer", ["SGD with momentum", "AdamW"])
def test_rounds_of_one_worker_in_half_precision_are_a_plain_loop(dtype, policy, optimizer):
    data, net = packed(), halves(dtype, optimizer)
    rounds = averaged_sgd(net, data, cluster=LocalCluster(), workers=1, tau=5, rounds=3, seed=3, solver_state=policy)
    plain = Plain(partial(Half, dtype), IN_HALF[optimizer], seed=3)
    plain_loop(plain, fed(data, 15), 5)
    trained = net()
    trained.set_weights(list(rounds)[-1].weights)
    assert same(trained.state_dict(), plain.module.state_dict())
    assert trained.module.inner[0].weight.dtype == DTYPES[dtype]


@HALVES
def test_the_mean_of_two_workers_is_that_in_float64_rounded(dtype):
    data, net = packed(), halves(dtype, "plain SGD")
    last = list(averaged_sgd(net, data, cluster=LocalCluster(), workers=2, tau=3, rounds=1, seed=3))[-1]
    loops = [Plain(partial(Half, dtype), IN_HALF["plain SGD"], seed=3) for _ in range(2)]
    for worker, plain in enumerate(loops):
        plain_loop(plain, fed(data, 3, worker, 2), 3, worker)
    trained = net()
    trained.set_weights(last.weights)
    for name, value in trained.state_dict().items():
        one, two = (plain.module.state_dict()[name] for plain in loops)
        mean = (one.double() + two.double()) / 2
        kept = mean.float() if dtype == "bfloat16" else mean  # the mean of bfloat16 travels as float32
        assert torch.equal(value, kept.to(one.dtype))


@HALVES
@pytest.mark.parametrize("rule", [Mean(), Momentum(0.7, 0.9)], ids=repr)
def test_workers_in_processes_have_the_same_bits_in_half_precision(dtype, rule):
    options = {"workers": 2, "tau": 3, "rounds": 3, "seed": 5, "rule": rule, "evaluate": (packed(30), 1)}
    here, there = (
        [(r.weights, r.loss, r.metrics) for r in averaged_sgd(halves(dtype, "AdamW"), packed(), cluster=c, **options)]
        for c in (LocalCluster(), LocalCluster(processes=2))
    )
    assert here == there


@HALVES
@pytest.mark.parametrize("optimizer", IN_HALF)
def test_a_new_net_goes_on_with_the_bits_and_dtypes_of_the_state(dtype, optimizer):
    net, other = (halves(dtype, optimizer)(seed=seed) for seed in (1, 2))
    batches = packed().batches
    for batch in batches[:3]:
        net.step(batch)
    state = net.get_state()
    other.set_weights(net.get_weights())
    other.set_state(state)
    other.reseed(1)
    entries, others = (
        [{key: getattr(v, "dtype", type(v)) for key, v in kept.items()} for kept in each.optimizer.state.values()]
        for each in (net, other)
    )
    assert entries == others
    for batch in batches[3:]:
        assert other.step(batch) == net.step(batch)
    assert other.get_weights() == net.get_weights()


@HALVES
def test_a_state_in_half_precision_is_written_into_the_memory_of_the_optimizers_own(dtype):
    net = halves(dtype)()
    net.step(packed().batches[0])
    state, weights = net.get_state(), net.get_weights()

    def places():
        return [entry["momentum_buffer"].data_ptr() for entry in net.optimizer.state.values()]

    before = places()
    net.step(packed().batches[1])
    net.set_state(state)
    net.set_weights(weights)
    assert places() == before
    assert {n: a.to_host().tobytes() for n, a in net.get_state().items()} == {
        n: a.to_host().tobytes() for n, a in state.items()
    }
    assert net.get_weights() == weights


@HALVES
def test_modules_of_half_precision_keep_the_laws_of_nets(dtype):
    check_net(halves(dtype), packed())


def test_float16_travels_as_it_is_and_bfloat16_as_float32():
    for dtype, carried in (("float16", "float16"), ("bfloat16", "float32")):
        weights = halves(dtype)().get_weights()
        assert {str(array.dtype) for array in weights.arrays()} == {carried, "int64"}


@HALVES
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".sparknet"])
def test_a_file_gives_back_the_bits_of_a_module_in_half_precision(dtype, suffix, tmp_path):
    net, other = halves(dtype)(seed=1), halves(dtype)(seed=2)
    formats.write(tmp_path / f"w{suffix}", net.state_dict())
    other.load_state_dict(formats.read(tmp_path / f"w{suffix}").obj)
    assert same(other.state_dict(), net.state_dict())
    assert net.state_dict()["inner.0.weight"].dtype == DTYPES[dtype]


def test_all_bits_of_bfloat16_come_back():
    class Bits(torch.nn.Linear):
        def __init__(self):
            super().__init__(4, 2)
            bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
            self.register_buffer("all", bits.view(torch.bfloat16))

    net, other = factory(Bits)(), factory(Bits)()
    weights = net.get_weights()
    with torch.no_grad():
        other.module.all.zero_()
    other.set_weights(weights)
    numbers = ~torch.isnan(net.module.all)
    assert torch.equal(other.module.all[numbers].view(torch.int16), net.module.all[numbers].view(torch.int16))
    assert torch.isnan(other.module.all).equal(~numbers)
    assert other.get_weights().arrays()[0].dtype == np.float32


def test_numbers_between_two_of_bfloat16_are_rounded_half_to_even():
    net = factory(lambda: torch.nn.Linear(4, 2).to(torch.bfloat16), SGD)()
    step = 2.0**-7  # between 1 and 2
    given = np.array([1 + step / 2, 1 + step * 3 / 2], "f")
    net.set_weights(WeightCollection({"weight": [np.ones((2, 4), "f")], "bias": [given]}))
    assert net.module.bias.tolist() == [1, 1 + 2 * step]
