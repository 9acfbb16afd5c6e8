"""TorchNet takes the steps of a plain torch loop, bit for bit, alone and in rounds; and rounds average what a reader would average."""

from functools import partial

import numpy as np
import pytest
import torch
import torch_plain
from torch_plain import CHOOSY, OPTIMIZERS, SCHEDULERS, Plain, chained, factory, packed, same, warm_up

from sparknet import LocalCluster, averaged_sgd, nd
from sparknet.data.sampling import step_rng
from sparknet.nets.torch import step_seed

pytestmark = pytest.mark.torch

CASES = [
    *[(name, "none") for name in OPTIMIZERS],
    *[("SGD with momentum", name) for name in (*SCHEDULERS, "warm-up", "chained") if name != "none"],
    ("AdamW", "cosine"),
]
SPARSE = pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # of torch's own Adagrad, once a process
SCHEDULES = {**SCHEDULERS, "warm-up": warm_up, "chained": chained}


def made(optimizer, schedule, **options):
    options = {"optimizer": OPTIMIZERS[optimizer], "scheduler": SCHEDULES[schedule], **options}
    return factory(**options), Plain(**options)


def seed_of_round(seed, worker, first_step):
    """The seed that a worker gives its net before the steps of a round."""
    return int(step_rng(seed, worker, first_step).integers(2**31))


def trained(net_factory, data, **options):
    return list(averaged_sgd(net_factory, data, cluster=LocalCluster(), seed=3, **options))[-1]


@pytest.mark.parametrize(("optimizer", "schedule"), CASES)
def test_steps_are_those_of_a_plain_loop(optimizer, schedule):
    net, plain = made(optimizer, schedule)
    net = net(seed=0)
    for step, batch in enumerate(packed().batches):
        assert net.step(batch) == plain.step(batch, step_seed(0, step))
    assert same(net.module.state_dict(), plain.module.state_dict())


@pytest.mark.parametrize("policy", ["average", "local"])
@pytest.mark.parametrize(("optimizer", "schedule"), CASES)
def test_rounds_of_one_worker_are_a_plain_loop(optimizer, schedule, policy):
    data = packed()
    net, plain = made(optimizer, schedule)
    plain = Plain(optimizer=OPTIMIZERS[optimizer], scheduler=SCHEDULES[schedule], seed=3)
    last = trained(net, data, workers=1, tau=5, rounds=4, solver_state=policy)
    for step, batch in enumerate(fed(data, 20)):
        plain.step(batch, step_seed(seed_of_round(3, 0, step // 5 * 5), step))
    kept = net()
    kept.set_weights(last.weights)
    assert same(kept.state_dict(), plain.module.state_dict())


@SPARSE
@pytest.mark.parametrize("policy", ["average", "local"])
@pytest.mark.parametrize("name", CHOOSY)
def test_optimizers_that_take_some_modules_alone_are_plain_loops_with_these(name, policy):
    module, optimizer = CHOOSY[name]
    data, plain = packed(), Plain(module, optimizer, seed=3)
    last = trained(factory(module, optimizer), data, workers=1, tau=5, rounds=4, solver_state=policy)
    for step, batch in enumerate(fed(data, 20)):
        plain.step(batch, step_seed(seed_of_round(3, 0, step // 5 * 5), step))
    kept = factory(module, optimizer)()
    kept.set_weights(last.weights)
    assert same(kept.state_dict(), plain.module.state_dict())


def test_rounds_of_two_workers_average_two_plain_loops():
    data = packed()
    last = trained(factory(), data, workers=2, tau=3, rounds=3)
    loops = [Plain(seed=3), Plain(seed=3)]
    feeds = [fed(data, 9, worker, 2) for worker in range(2)]
    for start in range(0, 9, 3):
        for worker, plain in enumerate(loops):
            for step in range(start, start + 3):
                plain.step(feeds[worker][step], step_seed(seed_of_round(3, worker, start), step))
        average(loops)
    got = factory()()
    got.set_weights(last.weights)
    assert same(got.state_dict(), loops[0].module.state_dict())


def fed(data, steps, worker=0, workers=1):
    """Return the minibatches of a worker's first steps."""
    return data.map_shards(lambda shard: list(shard.feed(steps, seed=3)), workers=workers)[worker]


def average(loops):
    """Write the mean of weights, buffers and momentum into all loops: in float64, rounded once."""
    states = [plain.module.state_dict() for plain in loops]
    momenta = [[plain.optimizer.state[p] for p in plain.module.parameters()] for plain in loops]
    groups = [
        *zip(*(state.values() for state in states), strict=True),
        *zip(*([entry["momentum_buffer"] for entry in each] for each in momenta), strict=True),
    ]
    for group in groups:
        mean = (torch.stack(group).double().sum(0) / len(group)).to(group[0].dtype)
        for value in group:
            value.copy_(mean)


@pytest.mark.parametrize("policy", ["average", "local"])
@pytest.mark.parametrize("optimizer", ["plain SGD", "SGD with momentum", "SGD with Nesterov's"])
def test_rounds_of_one_step_are_steps_on_the_minibatches_of_all_workers(optimizer, policy):
    # The step of SGD is linear in the gradient, with momentum and decay too, so the mean of steps is the step on the mean gradient. That of
    # Adam is not, and a batch norm has other statistics of more rows.
    data, options = packed(80), {"module": torch_plain.linear, "optimizer": OPTIMIZERS[optimizer]}
    last = trained(factory(**options), data, workers=2, tau=1, rounds=8, solver_state=policy)
    plain = Plain(**options, seed=3)
    for one, two in zip(fed(data, 8, 0, 2), fed(data, 8, 1, 2), strict=True):
        plain.step({name: nd.concat([one[name], two[name]]) for name in one})
    kept = factory(**options)()
    kept.set_weights(last.weights)
    for name, value in plain.module.state_dict().items():
        # Float32 rounds each of the 8 steps at 6e-8; the numbers are below 1.
        assert torch.allclose(kept.state_dict()[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("policy", ["average", "local", "reset"])
@pytest.mark.parametrize(("optimizer", "schedule"), [("AdamW", "cosine"), ("SGD with momentum", "warm-up")])
def test_a_resumed_training_has_the_bits_of_one_without_a_break(optimizer, schedule, policy, tmp_path):
    options = {"workers": 2, "tau": 3, "solver_state": policy}
    whole = trained(made(optimizer, schedule)[0], packed(), rounds=4, **options)
    for rounds in (2, 4):
        last = trained(made(optimizer, schedule)[0], packed(), rounds=rounds, checkpoint=tmp_path / "c", **options)
    assert last.weights == whole.weights
    assert last.index == 3


@pytest.mark.parametrize("policy", ["average", "local", "reset"])
def test_workers_in_processes_have_the_bits_of_workers_in_turn(policy):
    options = {"workers": 2, "tau": 3, "rounds": 3, "solver_state": policy, "seed": 5}
    net = made("AdamW", "one cycle")[0]
    here, there = (
        list(averaged_sgd(net, packed(), cluster=cluster, evaluate=(packed(30), 2), **options))
        for cluster in (LocalCluster(), LocalCluster(processes=2))
    )
    for mine, theirs in zip(here, there, strict=True):
        assert mine.weights == theirs.weights
        assert (mine.loss, mine.metrics) == (theirs.loss, theirs.metrics)


@SPARSE
@pytest.mark.parametrize("name", [*OPTIMIZERS, *CHOOSY])
def test_a_new_net_with_weights_and_state_goes_on_with_the_same_bits(name):
    module, optimizer = CHOOSY[name] if name in CHOOSY else (torch_plain.small, OPTIMIZERS[name])
    net, other = (factory(module, optimizer, scheduler=SCHEDULES["cosine"])(seed=seed) for seed in (1, 2))
    batches = packed().batches
    for batch in batches[:4]:
        net.step(batch)
    other.set_weights(net.get_weights())
    other.set_state(net.get_state())
    other.reseed(1)
    for batch in batches[4:]:
        assert other.step(batch) == net.step(batch)
    assert other.get_weights() == net.get_weights()
    assert {n: a.to_host().tobytes() for n, a in other.get_state().items()} == {
        n: a.to_host().tobytes() for n, a in net.get_state().items()
    }


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "none"])
def test_the_learning_rate_follows_from_the_iteration_alone(schedule):
    net, plain = made("SGD with momentum", schedule)
    net, rates = net(), []
    for batch in packed(200).batches:
        rates.append([dict(group, params=None) for group in plain.optimizer.param_groups])
        plain.step(batch)
    for iteration in (7, 3, 12, 0, 12, 1):  # on, back to the beginning, back to a place kept
        net.set_state({"iteration": nd.asarray(iteration, dtype=nd.int64)})
        assert [dict(group, params=None) for group in net.optimizer.param_groups] == rates[iteration]
        net.step(packed().batches[0])


def test_a_reset_solver_state_leaves_the_schedule_where_it_is():
    data = packed()
    options = {"workers": 1, "tau": 4, "rounds": 2, "solver_state": "reset"}
    last = trained(factory(scheduler=SCHEDULERS["cosine"]), data, **options)
    plain = Plain(scheduler=SCHEDULERS["cosine"], seed=3)
    for step, batch in enumerate(fed(data, 8)):
        if step == 4:
            plain.optimizer.state.clear()
        plain.step(batch, step_seed(seed_of_round(3, 0, step // 4 * 4), step))
    kept = factory()()
    kept.set_weights(last.weights)
    assert same(kept.state_dict(), plain.module.state_dict())


def add_gradients_of_parts(plain, batch, parts):
    """Add up the gradients of a minibatch in parts, whose losses count by their rows."""
    rows = [torch_plain.tensor(batch[name]).tensor_split(parts) for name in ("data", "label")]
    for data, label in zip(*rows, strict=True):
        (plain.loss(plain.module(data), label) * (len(data) / len(batch["label"]))).backward()


def test_gradients_of_parts_add_up_as_in_a_plain_loop():
    net, plain = factory(accumulate=3)(), Plain()
    for step, batch in enumerate(packed().batches):
        torch.manual_seed(step_seed(0, step))
        with torch_plain.one_thread():
            plain.optimizer.zero_grad()
            add_gradients_of_parts(plain, batch, 3)
            plain.optimizer.step()
        net.step(batch)
    assert same(net.module.state_dict(), plain.module.state_dict())


def test_clipped_gradients_are_those_of_a_plain_loop():
    net, plain = factory(clip_norm=0.1)(), Plain()
    for step, batch in enumerate(packed().batches):
        torch.manual_seed(step_seed(0, step))
        with torch_plain.one_thread():
            plain.optimizer.zero_grad()
            plain.loss(plain.module(torch_plain.tensor(batch["data"])), torch_plain.tensor(batch["label"])).backward()
            torch.nn.utils.clip_grad_norm_(plain.module.parameters(), 0.1)
            plain.optimizer.step()
        net.step(batch)
    assert same(net.module.state_dict(), plain.module.state_dict())


def test_gradients_of_parts_are_clipped_once_they_are_added_up():
    net, plain, unclipped = factory(accumulate=3, clip_norm=0.1)(), Plain(), factory(accumulate=3)()
    for step, batch in enumerate(packed().batches):
        torch.manual_seed(step_seed(0, step))
        with torch_plain.one_thread():
            plain.optimizer.zero_grad()
            add_gradients_of_parts(plain, batch, 3)
            torch.nn.utils.clip_grad_norm_(plain.module.parameters(), 0.1)
            plain.optimizer.step()
        net.step(batch)
        unclipped.step(batch)
    assert same(net.module.state_dict(), plain.module.state_dict())
    assert net.get_weights() != unclipped.get_weights()


def test_mixed_precision_is_that_of_a_plain_loop():
    net, plain, other = factory(autocast="bfloat16")(), Plain(), factory()()
    for step, batch in enumerate(packed().batches):
        torch.manual_seed(step_seed(0, step))
        with torch_plain.one_thread():
            plain.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                scores = plain.module(torch_plain.tensor(batch["data"]))
                loss = plain.loss(scores, torch_plain.tensor(batch["label"]))
            loss.backward()
            plain.optimizer.step()
        net.step(batch)
        other.step(batch)
    assert same(net.module.state_dict(), plain.module.state_dict())
    assert net.get_weights() != other.get_weights()
    assert net.forward(packed().batches[0], ["output"])["output"].dtype == np.float32


@pytest.mark.parametrize("policy", ["average", "local"])
def test_rounds_of_one_worker_in_mixed_precision_are_a_plain_loop(policy):
    data = packed()
    last = trained(
        factory(autocast="bfloat16"), data, workers=1, tau=5, rounds=3, solver_state=policy, evaluate=(packed(30), 3)
    )
    plain = Plain(seed=3)
    for step, batch in enumerate(fed(data, 15)):
        torch.manual_seed(step_seed(seed_of_round(3, 0, step // 5 * 5), step))
        with torch_plain.one_thread():
            plain.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = plain.loss(plain.module(torch_plain.tensor(batch["data"])), torch_plain.tensor(batch["label"]))
            loss.backward()
            plain.optimizer.step()
    kept = factory()()
    kept.set_weights(last.weights)
    assert same(kept.state_dict(), plain.module.state_dict())
    assert 0 < last.metrics["loss"] < 2


def test_a_compiled_module_has_the_names_and_here_the_bits_of_the_module():
    net, plain = factory(compile={"backend": "eager"})(), Plain()
    assert type(net._stepping.call).__name__ == "OptimizedModule"
    for step, batch in enumerate(packed().batches[:3]):
        net.step(batch)
        plain.step(batch, step_seed(0, step))
    assert same(net.state_dict(), plain.module.state_dict())


def test_the_seed_decides_the_weights_and_dropout_and_nothing_else_does():
    batch = packed().batches[0]
    torch.manual_seed(1)
    first = factory()(seed=4)
    torch.manual_seed(2)
    second, other = factory()(seed=4), factory()(seed=5)
    assert first.get_weights() == second.get_weights()
    assert first.get_weights() != other.get_weights()
    torch.rand(3)
    assert first.step(batch) == second.step(batch)
    third = factory()(seed=4)
    third.reseed(9)
    third.step(batch)
    assert third.get_weights() != first.get_weights()


def test_generators_threads_and_the_mode_of_gradients_are_left_as_they_were():
    net, batch = factory()(), packed().batches[0]
    torch.manual_seed(0)
    expected = torch.rand(4)
    torch.manual_seed(0)
    torch.set_num_threads(2)
    net.step(batch)
    net.forward(batch)
    net.rehearse(batch)
    assert torch.equal(torch.rand(4), expected)
    assert torch.get_num_threads() == 2
    assert torch.is_grad_enabled()


def test_a_net_computes_with_one_thread():
    seen = []

    class Asking(torch.nn.Linear):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return super().forward(x)

    torch.set_num_threads(2)
    for threads in (1, 2):
        net = factory(partial(Asking, 4, 2), threads=threads)()
        net.step(packed().batches[0])
        net.forward(packed().batches[0])
    assert seen == [1, 1, 2, 2]
