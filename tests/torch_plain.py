"""The loops that a user of torch writes without sparknet, and the modules that the tests of TorchNet train."""

from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from sparknet import Field
from sparknet.data import pack
from sparknet.nets import TorchNet

pytestmark = pytest.mark.torch

FIELDS = [Field("data", (4,)), Field("label", (), "int64")]


def small():
    """All kinds of tensors: weights, biases, statistics of a batch norm, its counter; and dropout."""
    return torch.nn.Sequential(
        torch.nn.Linear(4, 16),
        torch.nn.BatchNorm1d(16),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(16, 2),
    )


def linear():
    return torch.nn.Linear(4, 2)


def matrices():
    """Weights without biases: Muon takes nothing else."""
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8, bias=False), torch.nn.Dropout(0.3), torch.nn.ReLU(), torch.nn.Linear(8, 2, bias=False)
    )


class Table(torch.nn.Module):
    """A table, of which a minibatch changes some rows."""

    def __init__(self, *, sparse=True):
        super().__init__()
        self.rows = torch.nn.Embedding(20, 2, sparse=sparse)

    def forward(self, x):
        return self.rows(((x[:, 0] * 4).long() + 10).clamp(0, 19))


class Decay:
    """A schedule with a number of its own, which torch keeps in the scheduler's state."""

    def __init__(self):
        self.factor = 0.9

    def __call__(self, step):
        return self.factor**step


class Mixed(torch.nn.Module):
    """Buffers of integers, of booleans and of floats; one that is not in state_dict; and a parameter beside the layers."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(4))
        self.layer = torch.nn.Linear(4, 2)
        self.register_buffer("order", torch.tensor([3, 2, 1, 0]))
        self.register_buffer("mask", torch.tensor([True, False, True, True]))
        self.register_buffer("seen", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("cache", torch.zeros(3), persistent=False)

    def forward(self, x):
        return self.layer(x[:, self.order] * self.mask * self.scale)


class Counting(Mixed):
    """Its order and its mask follow from the minibatches, so each worker has others."""

    def forward(self, x):
        if self.training:
            self.order.copy_(x.sum(0).argsort())
            self.mask.copy_(x.sum(0) > 0)
        return super().forward(x)


SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
OPTIMIZERS = {
    "plain SGD": partial(torch.optim.SGD, lr=0.1),
    "SGD with momentum": SGD,
    "SGD with Nesterov's": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "AdamW": partial(torch.optim.AdamW, lr=0.01),
    "AMSGrad": partial(torch.optim.Adam, lr=0.01, amsgrad=True),
    "NAdam": partial(torch.optim.NAdam, lr=0.01),
    "RMSprop": partial(torch.optim.RMSprop, lr=0.01, momentum=0.5, centered=True),
    "Adagrad": partial(torch.optim.Adagrad, lr=0.1),
    "Adadelta": torch.optim.Adadelta,
    "Rprop": torch.optim.Rprop,
    "Adamax": torch.optim.Adamax,
    "RAdam": torch.optim.RAdam,
    "ASGD": torch.optim.ASGD,
    "Adafactor": torch.optim.Adafactor,
    "Adam, fused": partial(torch.optim.Adam, lr=0.01, fused=True),
    "AdamW, all at once": partial(torch.optim.AdamW, lr=0.01, foreach=True),
}
# With modules of their own kind.
CHOOSY = {
    "Muon": (matrices, partial(torch.optim.Muon, lr=0.02)),
    "SparseAdam": (Table, partial(torch.optim.SparseAdam, lr=0.05)),
    "sparse SGD": (Table, partial(torch.optim.SGD, lr=0.1)),
    "sparse Adagrad": (Table, partial(torch.optim.Adagrad, lr=0.1)),
}
SCHEDULERS = {
    "none": None,
    "steps": partial(torch.optim.lr_scheduler.StepLR, step_size=3, gamma=0.5),
    "cosine": partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=9),
    "one cycle": partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.2, total_steps=40),
    "a function": partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda step: 1 / (1 + step)),
    "an object": partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=Decay()),
    "a factor": partial(torch.optim.lr_scheduler.MultiplicativeLR, lr_lambda=lambda step: 0.9 if step % 2 else 1.0),
    "milestones": partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[2, 7]),
    "restarts": partial(torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, T_0=4),
    "cycles": partial(torch.optim.lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.2, step_size_up=3),
    "a power": partial(torch.optim.lr_scheduler.PolynomialLR, total_iters=20, power=2.0),
}


def warm_up(optimizer):
    """Return two schedulers one after the other."""
    of = torch.optim.lr_scheduler
    first = of.LinearLR(optimizer, start_factor=0.1, total_iters=4)
    return of.SequentialLR(optimizer, [first, of.ExponentialLR(optimizer, 0.9)], milestones=[4])


def chained(optimizer):
    """Return two schedulers at the same time."""
    of = torch.optim.lr_scheduler
    return of.ChainedScheduler([of.ConstantLR(optimizer, 0.5, 5), of.ExponentialLR(optimizer, 0.9)], optimizer)


def columns(rows=90, seed=0):
    x = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    return {"data": x, "label": (x[:, 0] > x[:, 1]).astype(np.int64)}


def packed(rows=90, batch_size=10):
    return pack(columns(rows), FIELDS, batch_size=batch_size)


def factory(module=small, optimizer=SGD, loss=functional.cross_entropy, **options):
    return TorchNet.factory(module, optimizer=optimizer, loss=loss, **options)


@contextmanager
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Plain:
    """A module, its optimizer and its scheduler, trained by torch alone."""

    def __init__(self, module=small, optimizer=SGD, scheduler=None, seed=0, loss=functional.cross_entropy):
        torch.manual_seed(seed)
        self.module, self.loss = module(), loss
        self.optimizer = optimizer(self.module.parameters())
        self.scheduler = scheduler and scheduler(self.optimizer)

    def step(self, batch, seed=None):
        if seed is not None:
            torch.manual_seed(seed)
        with one_thread():
            self.module.train()
            self.optimizer.zero_grad()
            loss = self.loss(self.module(tensor(batch["data"])), tensor(batch["label"]))
            loss.backward()
            self.optimizer.step()
            if self.scheduler:
                self.scheduler.step()
        return loss.item()


def tensor(column):
    return torch.from_numpy(np.array(column.to_host()))


def same(state, other):
    """Say whether two state_dicts have the same names and bits."""
    return list(state) == list(other) and all(torch.equal(value, other[name]) for name, value in state.items())
