"""Any module: its names, shared and frozen parameters, buffers of all kinds, several inputs and outputs; its file gives it back."""

import copy
import pickle
import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch_plain import SGD, Counting, Mixed, Plain, columns, factory, linear, packed, same, small
from without_steps import rounds_without_steps
from written import written

from sparknet import LocalCluster, averaged_sgd, formats, load, nd, save
from sparknet.averaging import Mean, Median, Momentum, Nesterov, WeightedMean
from sparknet.data import Field, pack
from sparknet.errors import NetError, SchemaError
from sparknet.nets import Net, TorchNet
from sparknet.nets.torch import TorchFactory, accuracy
from sparknet.nets.torch.batches import placed

pytestmark = pytest.mark.torch


class Tied(torch.nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.last = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.second(self.first(x).relu()))


def test_a_torch_net_is_a_net():
    assert isinstance(factory()(), Net)


def test_layers_have_the_names_of_state_dict_without_the_last_part():
    assert factory()().get_weights().schema() == {
        "0": (((16, 4), "float32"), ((16,), "float32")),
        "1": (*[((16,), "float32")] * 4, ((), "int64")),
        "4": (((2, 16), "float32"), ((2,), "float32")),
    }


def test_tensors_of_the_outermost_module_are_layers_and_all_kinds_of_buffers_travel():
    assert factory(Mixed)().get_weights().schema() == {
        "scale": (((4,), "float32"),),
        "order": (((4,), "int64"),),
        "mask": (((4,), "uint8"),),
        "seen": (((2,), "float64"),),
        "layer": (((2, 4), "float32"), ((2,), "float32")),
    }


def test_a_net_with_all_kinds_of_buffers_trains_and_takes_them_back():
    net, other = factory(Mixed)(seed=1), factory(Mixed)(seed=2)
    net.step(packed().batches[0])
    with torch.no_grad():
        net.module.mask[1] = True
        net.module.seen += 0.1
    other.set_weights(net.get_weights())
    assert other.module.mask.tolist() == [True] * 4
    assert same(other.state_dict(), net.state_dict())


INTEGER_RULES = [Mean(), WeightedMean(), Median(), Momentum(0.7, 0.9), Nesterov(), Momentum(0.7, 0.9, Median())]


@pytest.mark.parametrize("rule", INTEGER_RULES, ids=repr)
def test_integers_and_booleans_are_not_averaged_on_any_cluster(rule):
    data, options = packed(), {"workers": 3, "tau": 2, "rounds": 3, "seed": 4, "rule": rule}
    here, there = (
        [each.weights for each in averaged_sgd(factory(Counting), data, cluster=cluster, **options)]
        for cluster in (LocalCluster(), LocalCluster(processes=3))
    )
    assert here == there
    feeds = data.map_shards(lambda shard: list(shard.feed(6, seed=4)), workers=3)
    sums = np.stack([feed[-1]["data"].to_host().sum(axis=0) for feed in feeds])
    for name, of_workers in (("order", sums.argsort(axis=1)), ("mask", sums > 0)):
        assert len({tuple(each) for each in of_workers}) > 1
        chosen = np.sort(of_workers, axis=0)[1] if "Median" in repr(rule) else of_workers[0]
        assert here[-1][name][0].to_host().tolist() == chosen.tolist()


def test_integers_that_a_training_changes_are_told_and_the_counter_of_a_batch_norm_is_not(caplog):
    for module in (small, Mixed):
        factory(module)().rehearse(packed().batches[0])
    assert not caplog.records
    factory(Counting)().rehearse(packed().batches[0])
    assert "'order'" in caplog.text
    assert "integers" in caplog.text


def test_a_trial_leaves_the_net_as_it_is():
    net, other = factory()(), factory()()
    net.rehearse(packed().batches[0])
    net.rehearse(packed().batches[0], train=False)
    assert net.get_weights() == other.get_weights()
    assert net.step(packed().batches[1]) == other.step(packed().batches[1])
    assert net.get_weights() == other.get_weights()


class Assigning(torch.nn.Linear):
    """Assigns its buffers anew, and lets two change places; a cache grows."""

    def __init__(self):
        super().__init__(4, 2)
        self.register_buffer("level", torch.zeros(4))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("last", torch.ones(4))
        self.register_buffer("cache", torch.zeros(0), persistent=False)

    def forward(self, x):
        if self.training:
            self.level = 0.9 * self.level + 0.1 * x.mean(0)
            self.mean, self.last = self.last, self.mean
            self.cache = torch.zeros(len(self.cache) + 1)
        return super().forward(x - self.level - self.mean)


def test_buffers_that_a_module_assigns_anew_travel_and_are_written():
    net, plain = factory(Assigning)(), Plain(Assigning)
    places = [tensor.data_ptr() for tensor in net.module.state_dict().values()]
    net.rehearse(packed().batches[0])
    for batch in packed().batches[:3]:
        assert net.step(batch) == plain.step(batch)
    assert same(net.state_dict(), plain.module.state_dict())
    assert net.get_weights()["level"][0].to_host().tolist() == plain.module.level.tolist() != [0.0] * 4
    assert [tensor.data_ptr() for tensor in net.module.state_dict().values()] == places
    other = factory(Assigning)(seed=1)
    other.step(packed().batches[5])
    other.set_weights(net.get_weights())
    assert same(other.module.state_dict(), plain.module.state_dict())


class Growing(Assigning):
    def forward(self, x):
        self.mean = torch.zeros(1, 4)
        return super(Assigning, self).forward(x)


def test_a_buffer_that_gets_another_shape_is_found_on_the_driver():
    with pytest.raises(NetError, match=r"assigned torch.float32 \(1, 4\) to the buffer 'mean', expected .* \(4,\)"):
        averaged_sgd(factory(Growing), packed(), cluster=LocalCluster(), rounds=1)


def with_a_fixed_norm():
    """A batch norm whose statistics stay, as in fine-tuning."""
    made = small()
    made[1].eval()
    return made


def test_a_layer_in_evaluation_mode_stays_there_after_an_evaluation():
    net, other = factory(with_a_fixed_norm)(), factory(with_a_fixed_norm)()
    for batch in packed().batches:
        net.forward(batch)
        assert net.step(batch) == other.step(batch)
    assert net.module.training
    assert net.module[3].training
    assert net.state_dict()["1.running_mean"].tolist() == [0.0] * 16
    assert net.get_weights() == other.get_weights()


def test_a_module_that_is_all_in_evaluation_mode_is_trained():
    net, other = factory(lambda: small().eval())(), factory()()
    assert net.step(packed().batches[0]) == other.step(packed().batches[0])
    assert net.get_weights() == other.get_weights()


def test_weights_are_copies_and_are_written_into_the_memory_of_the_parameters():
    net = factory()()
    places = [tensor.data_ptr() for tensor in net.module.state_dict().values()]
    before = net.get_weights()
    net.step(packed().batches[0])
    assert net.get_weights() != before
    net.set_weights(before)
    assert net.get_weights() == before
    assert [tensor.data_ptr() for tensor in net.module.state_dict().values()] == places
    for array in before.arrays():
        array[...] = 0
    assert net.get_weights() != before


def test_weights_and_state_leave_by_one_copy_and_enter_by_none_of_their_size():
    net = factory(
        lambda: torch.nn.Sequential(torch.nn.Linear(4, 1000), torch.nn.Linear(1000, 1000)), loss=loss_of_many
    )()
    net.step(packed().batches[0])
    size = net.get_weights().nbytes
    for get, write in ((net.get_weights, net.set_weights), (net.get_state, net.set_state)):
        value, read = peak(get)
        _, written = peak(partial(write, value))
        assert read < 1.1 * size
        assert written < 0.1 * size


def test_gradients_are_let_go_at_the_end_of_a_round_and_so_is_their_memory():
    layers = [
        torch.nn.Linear(4, 1000),
        *(torch.nn.Linear(1000, 1000) for _ in range(16)),
    ]  # 64 MB: parts that malloc keeps
    net = factory(lambda: torch.nn.Sequential(*copy.deepcopy(layers)), loss=loss_of_many)()
    for batch in packed().batches[:3]:
        net.step(batch)
    before = written()
    weights, state = net.lend()
    assert before - written() > 0.8 * weights.nbytes
    assert (weights, list(state)) == (net.get_weights(), list(net.get_state()))
    assert all(parameter.grad is None for parameter in net.module.parameters())


def loss_of_many(output, _label):
    return output.square().mean()


def peak(function):
    """Return the result, and the most bytes that numpy allocated at a time."""
    tracemalloc.start()
    result = function()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, most


def test_a_state_is_written_into_the_memory_of_the_optimizers_own():
    net = factory()()
    net.step(packed().batches[0])
    state = net.get_state()
    places = [entry["momentum_buffer"].data_ptr() for entry in net.optimizer.state.values()]
    net.step(packed().batches[1])
    net.set_state(state)
    assert [entry["momentum_buffer"].data_ptr() for entry in net.optimizer.state.values()] == places
    assert len(places) == 6


def test_read_only_weights_and_minibatches_are_taken_and_stay_as_they_are():
    class Greedy(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x.mul_(2))  # changes its input

    net = factory(partial(Greedy, 4, 2))()
    message = load_back(net.get_weights())
    net.set_weights(message)
    data = np.ones((3, 4), np.float32)
    data.flags.writeable = False
    batch = {"data": nd.asarray(data, copy=False), "label": nd.asarray([0, 1, 0])}
    net.step(batch)
    net.forward(batch)
    assert (data == 1).all()


def load_back(weights):
    import sparknet

    return sparknet.loads(sparknet.dumps(weights))


def test_weights_without_an_order_of_memory_of_their_own_are_row_major():
    def turned():
        made = linear()
        made.weight = torch.nn.Parameter(made.weight.detach().t().contiguous().t())
        return made

    net, other = factory(turned)(seed=3), factory()  # another net of the same numbers
    weight = net.get_weights()["weight"][0].to_host()
    assert weight.flags.c_contiguous
    assert (weight == net.module.weight.detach().numpy()).all()
    net.set_weights(net.get_weights() * 2)
    assert (net.module.weight.detach().numpy() == 2 * weight).all()
    assert other().iteration == 0


def test_shared_parameters_travel_once_and_stay_shared():
    net = factory(Tied)()
    weights = net.get_weights()
    assert {name: len(arrays) for name, arrays in weights.items()} == {"first": 2, "second": 1, "last": 2}
    net.set_weights(weights * 0)
    assert net.module.second.weight is net.module.first.weight
    assert not net.module.second.weight.any()
    model = Tied()
    model.load_state_dict(net.state_dict())
    assert same(model.state_dict(), net.module.state_dict())


def test_two_workers_average_shared_parameters_as_one():
    last = list(averaged_sgd(factory(Tied), packed(), cluster=LocalCluster(), workers=2, tau=2, rounds=2))[-1]
    net = factory(Tied)()
    net.set_weights(last.weights)
    assert torch.equal(net.state_dict()["first.weight"], net.state_dict()["second.weight"])


def frozen():
    made = small()
    made[0].requires_grad_(requires_grad=False)
    return made


def test_frozen_parameters_travel_and_do_not_change():
    net = factory(frozen)()
    before = net.get_weights()
    net.step(packed().batches[0])
    after = net.get_weights()
    assert [(a.to_host() == b.to_host()).all() for a, b in zip(before["0"], after["0"], strict=True)] == [True, True]
    assert not (before["4"][0].to_host() == after["4"][0].to_host()).all()
    assert not [name for name in net.get_state() if "/0." in name]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".sparknet"])
def test_a_file_of_the_state_dict_gives_the_model_back(suffix, tmp_path):
    net, path = factory()(), tmp_path / f"net{suffix}"
    net.step(packed().batches[0])
    formats.write(path, net.state_dict())
    read = formats.read(path).obj
    model = small()
    model.load_state_dict({name: torch.from_numpy(array.to_host().copy()) for name, array in read.items()})
    assert same(model.state_dict(), net.module.state_dict())
    other = factory()(seed=9)
    other.load_state_dict(read)
    assert other.get_weights() == net.get_weights()


def test_a_converted_file_keeps_the_names_of_torch(tmp_path):
    net = factory()()
    save(tmp_path / "net.sparknet", net.state_dict())
    formats.convert(tmp_path / "net.sparknet", tmp_path / "net.safetensors")
    assert list(formats.read(tmp_path / "net.safetensors").obj) == list(small().state_dict())
    assert list(load(tmp_path / "net.sparknet")) == list(small().state_dict())


def test_a_training_starts_from_the_weights_of_a_state_dict():
    pretrained = small()
    net = factory()()
    net.load_state_dict(pretrained.state_dict())
    with rounds_without_steps():
        rounds = averaged_sgd(factory(), packed(), cluster=LocalCluster(), tau=0, rounds=1, weights=net.get_weights())
    net = factory()()
    net.set_weights(list(rounds)[-1].weights)
    assert same(net.state_dict(), pretrained.state_dict())


def test_a_state_dict_of_another_module_is_refused_by_its_names_and_shapes():
    net = factory()()
    before = net.get_weights()
    with pytest.raises(SchemaError, match=r"without '0.weight', '0.bias'.* with '0.0.weight'.*module\.") as caught:
        net.load_state_dict(torch.nn.Sequential(small()).state_dict())
    assert "0.0.weight" in caught.value.got
    other = small()
    other[4] = torch.nn.Linear(16, 3)
    with pytest.raises(SchemaError, match="layer '4', array 0 is float32 of shape"):
        net.load_state_dict(other.state_dict())
    with pytest.raises(SchemaError, match="array 4 is float32"):
        net.load_state_dict({**small().state_dict(), "1.num_batches_tracked": torch.tensor(1.0)})
    assert net.get_weights() == before


def test_statistics_of_a_batch_norm_are_averaged_with_the_weights():
    last = list(averaged_sgd(factory(), packed(), cluster=LocalCluster(), workers=2, tau=3, rounds=2))[-1]
    *_, mean, var, counted = last.weights["1"]
    assert int(counted.to_host()) == 6
    assert mean.to_host().any()
    assert (var.to_host() != 1).any()
    median = averaged_sgd(factory(), packed(), cluster=LocalCluster(), workers=2, tau=3, rounds=2, rule=Median())
    assert list(median)[-1].weights == last.weights  # of two workers the median is the mean


class TwoByTwo(torch.nn.Module):
    """Two inputs, and two outputs in a dict, a tuple or a list."""

    def __init__(self, kind=dict):
        super().__init__()
        self.a, self.b, self.kind = torch.nn.Linear(4, 2), torch.nn.Linear(3, 1), kind

    def forward(self, x, y):
        outputs = {"scores": self.a(x), "size": self.b(y.float())}
        return outputs if self.kind is dict else self.kind(outputs.values())


def loss_of_two(output, label, size):
    scores, sizes = output.values() if isinstance(output, dict) else output
    return functional.cross_entropy(scores, label) + functional.mse_loss(sizes[:, 0], size)


@pytest.mark.parametrize(("kind", "names"), [(dict, ["scores", "size"]), (tuple, ["output/0", "output/1"])])
def test_several_inputs_targets_and_outputs_go_by_their_names(kind, names):
    rng = np.random.default_rng(0)
    given = {**columns(40), "other": rng.integers(0, 2, (40, 3)), "size": rng.normal(size=40)}
    fields = [Field("data", (4,)), Field("other", (3,), "int32"), Field("label", (), "int32"), Field("size", ())]
    net = TorchNet.factory(
        partial(TwoByTwo, kind),
        optimizer=SGD,
        loss=loss_of_two,
        metrics={"accuracy": lambda output, label, _: accuracy(output[names[0]] if kind is dict else output[0], label)},
        inputs=("data", "other"),
        targets=("label", "size"),
    )
    data = pack(given, fields, batch_size=10)
    last = list(averaged_sgd(net, data, cluster=LocalCluster(), workers=2, tau=4, rounds=5, evaluate=(data, 5)))[-1]
    assert set(last.metrics) == {"loss", "accuracy"}
    assert last.loss < 2
    made = net()
    found = made.forward({name: data.batches[0][name] for name in ("data", "other")}, names)
    assert {name: array.shape for name, array in found.items()} == {names[0]: (10, 2), names[1]: (10, 1)}


def test_metrics_of_an_evaluation_are_means_over_all_rows():
    net = factory(metrics={"accuracy": accuracy, "half": lambda _output, _label: 0.5})
    data = packed(25, 10)  # the last minibatch is short
    last = list(averaged_sgd(net, data, cluster=LocalCluster(), tau=3, rounds=1, evaluate=(data, 1)))[-1]
    made, given = net(), columns(25)
    made.set_weights(last.weights)
    made.module.eval()
    scores = made.module(torch.from_numpy(given["data"]))
    hits = (scores.argmax(1).numpy() == given["label"]).mean()
    # A float32 mean of 10 rows, times 10, has an error of 1e-6 at most.
    assert last.metrics["accuracy"] == pytest.approx(hits, abs=1e-6)
    assert last.metrics["half"] == 0.5
    loss = functional.cross_entropy(scores, torch.from_numpy(given["label"])).item()
    assert last.metrics["loss"] == pytest.approx(loss, abs=1e-5)


def test_an_evaluation_takes_no_dropout_changes_no_statistics_and_keeps_nothing_for_gradients():
    class Asking(torch.nn.Module):
        def forward(self, x):
            asked.append(torch.is_grad_enabled())
            return x

    asked = []
    net = factory(lambda: torch.nn.Sequential(small(), Asking()))()
    batch = packed().batches[0]
    before = net.get_weights()
    first, second = net.forward(batch), net.forward(batch)
    assert float(first["loss"].to_host()) == float(second["loss"].to_host())
    assert net.get_weights() == before
    net.step(batch)
    assert net.module.training
    assert asked == [False, False, True]


def test_floating_columns_become_the_dtype_of_the_module_and_labels_int64():
    given = columns(10)
    wide = {"data": nd.asarray(given["data"].astype(np.float64)), "label": nd.asarray(given["label"].astype(np.int32))}
    net, other = factory()(), factory()()
    assert net.step(wide) == other.step(packed(10).batches[0])
    double = factory(lambda: small().double())()
    double.step(packed(10).batches[0])
    assert double.get_weights()["0"][0].dtype == np.float64


def test_a_factory_is_pickled_and_a_net_is_not():
    made = factory(metrics={"accuracy": accuracy})
    again = pickle.loads(pickle.dumps(made))
    assert isinstance(again, TorchFactory)
    assert again(seed=3).get_weights() == made(seed=3).get_weights()
    with pytest.raises(TypeError, match=r"TorchNet\.factory"):
        pickle.dumps(made())


def test_a_loss_may_be_a_module_with_buffers():
    weighted = torch.nn.CrossEntropyLoss(weight=torch.tensor([0.2, 0.8]))
    net, batch = factory(loss=weighted, metrics={"loss again": weighted})(), packed().batches[0]
    found = net.forward(batch, ["loss", "loss again", "output"])
    scores, label = (torch.from_numpy(array.to_host()) for array in (found["output"], batch["label"]))
    assert float(found["loss"].to_host()) == float(found["loss again"].to_host()) == weighted(scores, label).item()


def test_a_loss_with_buffers_is_copied_to_the_device_of_the_net():
    given = torch.nn.CrossEntropyLoss(weight=torch.tensor([0.2, 0.8]))
    made = placed("loss", given, torch.device("meta"))  # a device that is everywhere
    assert (made.weight.is_meta, given.weight.is_meta) == (True, False)


def test_a_module_that_two_nets_would_share_is_refused():
    module = small()
    made = factory(lambda: module)
    with pytest.raises(NetError, match=r"a module that a net has already, expected a new one.*copy.deepcopy"):
        made()


def test_a_module_that_there_is_already_is_copied_for_each_net():
    module = small()
    made = factory(lambda: copy.deepcopy(module))
    before = copy.deepcopy(module.state_dict())
    one, two = made(), made()
    one.step(packed().batches[0])
    assert same(module.state_dict(), before)
    assert same(two.state_dict(), before)
