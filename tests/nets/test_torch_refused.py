"""What TorchNet refuses: the message says what was got, what was expected and the fix, on the driver wherever it can be known."""

from functools import partial

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch_plain import SGD, Table, factory, linear, packed, small

from sparknet import LocalCluster, averaged_sgd, nd
from sparknet.errors import DataError, DeviceError, NetError, SchemaError, TrainingError
from sparknet.nets import TorchNet
from sparknet.nets.torch import accuracy

pytestmark = pytest.mark.torch

BATCH = packed().batches[0]


class Wrong(torch.nn.Linear):
    """A module with something in it that cannot be used."""

    def __init__(self, wrong):
        super().__init__(4, 2)
        wrong(self)


def all_on_meta(module):
    module.to("meta")


def one_on_a_gpu(module):
    with FakeTensorMode():  # its tensors say where they are and have no numbers, so no GPU is needed
        module.weight = torch.nn.Parameter(torch.zeros(2, 4, device="cuda:1"))


def a_buffer_on_a_gpu(module):
    with FakeTensorMode():
        module.register_buffer("mean", torch.zeros(2, device="cuda:1"))


def no_numbers(dtype):
    def wrong(module):
        module.register_buffer("odd", torch.zeros(2, dtype=dtype))

    return wrong


def expanded(module):
    module.register_buffer("odd", torch.zeros(1).expand(4))


class Late(torch.nn.Linear):
    """Makes a layer when it first runs."""

    def forward(self, x):
        if not hasattr(self, "late"):
            self.late = torch.nn.Linear(2, 2)
        return self.late(super().forward(x))


class Extra(torch.nn.Linear):
    def get_extra_state(self):
        return {"step": 1}


class Hidden(torch.nn.Linear):
    """Its state_dict leaves out the bias."""

    def state_dict(self, **options):
        found = super().state_dict(**options)
        del found["bias"]
        return found


class Drifting(torch.optim.SGD):
    """Changes its own learning rate."""

    def step(self):
        super().step()
        self.param_groups[0]["lr"] *= 0.9


class Growing(torch.optim.SGD):
    def step(self):
        super().step()
        self.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})


class Listing(torch.optim.SGD):
    """Keeps a list, as LBFGS does."""

    def step(self):
        super().step()
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["past"] = [1, 2]


class Global(torch.optim.SGD):
    def step(self):
        super().step()
        self.state["all"] = {"count": 1}


class Plateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    pass


class Asking(torch.optim.lr_scheduler.LRScheduler):
    """Follows a metric too, in a way of its own."""

    def get_lr(self):
        return self.base_lrs

    def step(self, loss=None):
        if self.last_epoch < 0:  # as torch makes it
            super().step()
        elif loss is None:
            raise TypeError("step() needs the loss")


def failing_late(step):
    return 1 / (1 - step)


def of_another_module(_parameters):
    return SGD(linear().parameters())


MADE = {
    "an instance": ({"module": linear()}, r"module=a Linear; expected a function .*copy.deepcopy"),
    "no function": ({"module": 3}, "module=3; expected a function"),
    "no module": ({"module": dict}, "module.. returned dict, expected a torch.nn.Module"),
    "no parameters": ({"module": torch.nn.ReLU}, "ReLU has no parameters"),
    "a lazy module": ({"module": partial(torch.nn.LazyLinear, 2)}, "'weight' is lazy and has no shape yet.*LazyLinear"),
    "one on meta": ({"module": partial(Wrong, all_on_meta)}, "'weight' is on the device 'meta' and has no numbers"),
    "a parameter elsewhere": (
        {"module": partial(Wrong, one_on_a_gpu)},
        "the module has 'weight' on cuda:1, 'bias' on cpu; expected one device: .*give device=",
    ),
    "a buffer elsewhere": (
        {"module": partial(Wrong, a_buffer_on_a_gpu)},
        "the module has 'weight' on cpu, 'mean' on cuda:1; expected one device",
    ),
    "float8": ({"module": partial(Wrong, no_numbers(torch.float8_e5m2))}, "'odd' is float8_e5m2, expected float16, bf"),
    "complex": ({"module": partial(Wrong, no_numbers(torch.complex64))}, "'odd' is complex64, expected float16"),
    "extra state": ({"module": partial(Extra, 4, 2)}, "'_extra_state' is dict that is no parameter.*register"),
    "a hidden one": ({"module": partial(Hidden, 4, 2)}, "leaves out the parameters 'bias'"),
    "an optimizer made": ({"optimizer": SGD(linear().parameters())}, r"optimizer=a SGD; expected .*partial\(torch"),
    "an error in module": ({"module": partial(torch.nn.Linear, 4)}, r"TorchNet: module\(\): TypeError: .*out_features"),
    "no optimizer": ({"optimizer": lambda _: {}}, "returned dict, expected a torch.optim.Optimizer"),
    "an error in optimizer": (
        {"optimizer": partial(SGD, lr=-1)},
        r"TorchNet: optimizer\(parameters\): ValueError: Invalid learning",
    ),
    "an error in scheduler": (
        {"scheduler": torch.optim.lr_scheduler.StepLR},
        r"TorchNet: scheduler\(optimizer\): TypeError: .*step_size",
    ),
    "another's": ({"optimizer": of_another_module}, "SGD has parameters that the module has not"),
    "own settings": (
        {"optimizer": partial(Drifting, lr=0.1)},
        "Drifting changes 'lr' of its parameter groups in a step",
    ),
    "a group more": ({"optimizer": partial(Growing, lr=0.1)}, "Growing changes 'params' of its parameter groups"),
    "a list": (
        {"optimizer": partial(Listing, lr=0.1)},
        "Listing keeps 'past' of '0.weight' as list, expected a tensor",
    ),
    "no parameter's": (
        {"optimizer": partial(Global, lr=0.1)},
        "Global keeps state of str 'all', expected of parameters",
    ),
    "a closure": ({"optimizer": torch.optim.LBFGS}, "LBFGS cannot take a step on gradients of zero.*no closure"),
    "a loss that learns": ({"loss": linear()}, "loss is a Linear with parameters, which no step would change"),
    "no loss": ({"loss": None}, "loss=None; expected a function .*cross_entropy"),
    "a plateau": ({"scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau}, "ReduceLROnPlateau follows a metric"),
    "a plateau of one's own": ({"scheduler": Plateau}, "ReduceLROnPlateau follows a metric"),
    "a metric in step": ({"scheduler": Asking}, r"TorchNet\.factory\(\): .*TypeError: step\(\) needs the loss"),
    "a rate that cannot be had": (
        {"scheduler": partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=failing_late)},
        r"TorchNet\.factory\(\): .*ZeroDivisionError: division by zero",
    ),
    "dense gradients": (
        {"optimizer": torch.optim.SparseAdam},
        "SparseAdam cannot take a step .*does not support dense gradients, please consider Adam instead$",
    ),
    "sparse gradients": (
        {"module": Table, "optimizer": torch.optim.AdamW},
        "AdamW cannot take a step .*does not support sparse gradients",
    ),
    "a sparse history": (
        {"module": Table, "optimizer": partial(SGD, lr=0.1)},
        r"SGD keeps 'momentum_buffer' of 'rows\.weight' as a sparse tensor.*sparse=False",
    ),
    "biases for Muon": ({"optimizer": torch.optim.Muon}, r"optimizer\(parameters\): ValueError: Muon only supports 2D"),
    "no scheduler": ({"scheduler": lambda _: 3}, "scheduler.. returned int, expected a scheduler of torch.optim"),
    "a metric": ({"metrics": {"accuracy": 0.5}}, r"metrics\['accuracy'\]=0.5; expected a function"),
    "a metric called as an argument": (
        {"metrics": {"module": accuracy}, "module": 3},
        "TorchNet: module=3; expected a function that each worker calls",
    ),
    "a metric that hides the loss": (
        {"metrics": {"loss": accuracy}},
        "metrics={'loss': ...}; expected another name: evaluations return the net's own loss",
    ),
    "inputs": ({"inputs": "data"}, "inputs='data'; expected names of columns"),
    "accumulate": ({"accumulate": 0}, "accumulate=0; expected a whole number of at least 1"),
    "threads": ({"threads": 1.5}, "threads=1.5; expected a whole number"),
    "clip_norm": ({"clip_norm": -1}, "clip_norm=-1; expected a positive number, or None"),
    "an autocast dtype": ({"autocast": torch.bfloat16}, "autocast=torch.bfloat16; expected 'bfloat16' or None$"),
    "a class as loss": (
        {"loss": torch.nn.CrossEntropyLoss},
        r"loss=CrossEntropyLoss, a class; expected .*write CrossEntropyLoss\(\)",
    ),
    "an expanded buffer": ({"module": partial(Wrong, expanded)}, r"'odd' is expanded: .* share memory.*\.clone\(\)"),
    "autocast": ({"autocast": "float16"}, "autocast='float16'; expected 'bfloat16' or None: float16 needs"),
    "device": ({"device": 0}, "device=0; expected a name such as"),
}


@pytest.mark.parametrize("name", MADE)
def test_what_cannot_work_is_refused_when_the_factory_is_made(name):
    options, message = MADE[name]
    with pytest.raises(NetError, match=message):
        factory(**options)


def test_a_device_that_is_not_there_is_an_error_of_devices():
    with pytest.raises(DeviceError, match="cuda:99"):
        factory(device="cuda:99")()


def test_columns_that_are_missing_are_named_with_the_option():
    net = factory()()
    with pytest.raises(DataError, match=r"step\(\): the net needs the inputs 'data', the batch has 'label'.*inputs="):
        net.step({"label": BATCH["label"]})
    with pytest.raises(DataError, match=r"needs the targets 'label', the batch has 'data'.*targets="):
        net.forward({"data": BATCH["data"]})
    assert net.forward({"data": BATCH["data"]}, ["output"])["output"].shape == (10, 2)


def test_outputs_that_are_not_there_are_named_with_those_that_are():
    with pytest.raises(NetError, match=r"forward\(\): no output 'prob'; there are loss, output"):
        factory()().forward(BATCH, ["prob"])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            partial(functional.cross_entropy, reduction="none"),
            r"loss.* returned a tensor of shape \(10,\), expected one number",
        ),
        (lambda _output, _label: 0.5, "loss.* returned float, expected one number in a tensor"),
        (lambda output, _label: output.detach().mean(), "depends on no parameter that requires a gradient"),
        (functional.l1_loss, r"size of tensor.*data float32 \(10, 4\), label int64 \(10,\)"),
        (lambda output, _label, more: output + more, "TypeError.*more"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_loss_that_does_not_fit_is_found_on_the_driver(loss, message):
    with pytest.raises(NetError, match=message) as caught:
        averaged_sgd(factory(loss=loss), packed(), cluster=LocalCluster(), rounds=1)
    assert str(caught.value).startswith("the first minibatch: step(): ")


def test_a_batch_norm_that_meets_one_row_is_found_on_the_driver():
    with pytest.raises(NetError, match=r"the last minibatch, of 1 rows .*Expected more than 1 value per channel"):
        averaged_sgd(factory(), packed(91), cluster=LocalCluster(), rounds=1)


def test_fewer_rows_than_parts_are_refused():
    with pytest.raises(DataError, match=r"10 rows cannot be taken in 11 parts.*accumulate=11"):
        factory(accumulate=11)().step(BATCH)


def test_steps_behind_the_end_of_a_schedule_are_an_error_of_the_net():
    one_cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=4)
    with pytest.raises(NetError, match=r"Tried to step 5 times. The specified number of total steps is 4"):
        list(averaged_sgd(factory(scheduler=one_cycle), packed(), cluster=LocalCluster(), tau=3, rounds=2))


def test_nan_ends_a_training_with_the_place():
    def diverging(output, label):
        return functional.cross_entropy(output, label) * float("nan")

    with pytest.raises(TrainingError, match="the loss of its update 1 of 2 is nan"):
        list(averaged_sgd(factory(loss=diverging), packed(), cluster=LocalCluster(), tau=2, rounds=1))


def test_weights_of_another_net_change_nothing():
    net = factory()()
    before = net.get_weights()
    with pytest.raises(SchemaError, match="got the layers"):
        net.set_weights(factory(linear)().get_weights())
    assert net.get_weights() == before


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, r"set_state\(\): got nothing, expected 'iteration'"),
        ({"iteration": 1, "history/0": 1.0}, "got 'history/0', expected optimizer/<parameter>/<entry>"),
        ({"iteration": 1, "optimizer/9.weight/step": 1.0}, "got 'optimizer/9.weight/step'"),
        ({"iteration": 1, "optimizer/1.running_mean/step": 1.0}, "got 'optimizer/1.running_mean/step'"),
    ],
)
def test_the_state_of_another_net_is_refused(state, message):
    with pytest.raises(SchemaError, match=message):
        factory()().set_state({name: nd.asarray(value) for name, value in state.items()})


def test_a_group_that_is_added_in_a_training_is_found_at_the_end_of_the_round():
    net = factory()()
    net.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    with pytest.raises(NetError, match="the optimizer has 2 parameter groups, and had 1"):
        net.get_state()


@pytest.mark.parametrize("seed", [-1, "7", 1.5])
def test_a_seed_that_is_no_whole_number_of_0_or_more_is_refused(seed):
    with pytest.raises(NetError, match=f"got seed {seed!r}, expected a whole number"):
        TorchNet(small, optimizer=SGD, loss=functional.cross_entropy, seed=seed)


def test_a_layer_that_is_made_in_a_step_is_found_on_the_driver():
    with pytest.raises(
        NetError, match=r"made the parameters 'late.weight', 'late.bias' in a step, .*module\(\) makes all"
    ):
        averaged_sgd(factory(partial(Late, 4, 2)), packed(), cluster=LocalCluster(), rounds=1)


def test_a_learning_rate_that_changes_in_a_round_is_told_once(caplog):
    net = factory(linear)()
    net.get_state()
    assert not caplog.records
    net.optimizer.param_groups[0]["lr"] = 7
    net.get_state(), net.lend()
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "TorchNet: SGD has other values of 'lr' than at first: parameter groups do not travel"
    )


def test_a_scheduler_that_changes_the_learning_rate_is_not_told_of(caplog):
    net = factory(linear, scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1))()
    net.step(BATCH)
    net.get_state()
    assert not caplog.records


def test_a_numpy_function_in_the_loss_is_told_with_its_shapes():
    with pytest.raises(NetError, match=r"step\(\): RuntimeError: Can't call numpy"):
        factory(loss=lambda output, _label: torch.tensor(np.mean(output.numpy())))().step(BATCH)
