"""Where a multistep schedule stands, and what a solver may say; in Python alone, without Caffe."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import NetError
from sparknet.nets.caffe.schedule import check_solver, steps_passed


def walked(values, iterations):
    """Count as Caffe does: before step i, at most one more value is passed if i has reached it."""
    passed = 0
    for iteration in range(iterations):
        if passed < len(values) and iteration >= values[passed]:
            passed += 1
    return passed


@given(st.lists(st.integers(0, 30), max_size=6), st.integers(0, 40))
def test_steps_passed_is_what_walking_there_counts(values, iteration):
    param = SimpleNamespace(lr_policy="multistep", stepvalue=values)
    assert steps_passed(param, iteration) == walked(values, iteration)


def test_other_policies_pass_nothing():
    assert steps_passed(SimpleNamespace(lr_policy="step", stepvalue=[1]), 10) == 0


class Solver(SimpleNamespace):
    """As Caffe's SolverParameter: every field has a value, and HasField says which were given."""

    def __init__(self, **given):
        numbers = {
            "iter_size": 1,
            "average_loss": 1,
            "rms_decay": 0.99,
            "momentum": 0.0,
            "stepsize": 0,
            "max_iter": 0,
            "gamma": 0.0,
        }
        super().__init__(**{"type": "SGD", "regularization_type": "L2", **numbers, **given}, given=given)

    def HasField(self, name):  # noqa: N802 - protobuf's name
        return name in self.given


@pytest.mark.parametrize(
    "given",
    [
        {"lr_policy": "fixed", "base_lr": 0.1},
        {"lr_policy": "step", "base_lr": 0.1, "gamma": 0.1, "stepsize": 5},
        {"lr_policy": "multistep", "base_lr": 0.1, "gamma": 0.1},
        {"lr_policy": "inv", "base_lr": 0.1, "gamma": 0.1, "power": 0.75},
        {"lr_policy": "poly", "base_lr": 0.1, "power": 0.5, "max_iter": 100},
        {"lr_policy": "fixed", "base_lr": 0.1, "type": "RMSProp", "rms_decay": 0.5},
    ],
)
def test_solvers_that_caffe_can_run_pass(given):
    check_solver(Solver(**given), "s")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"lr_policy": "exp", "base_lr": 0.1}, "s: lr_policy 'exp' needs gamma"),
        ({"lr_policy": "fixed", "base_lr": float("inf")}, "base_lr inf, expected a finite number"),
        ({"lr_policy": "exp", "base_lr": 0.1, "gamma": -0.9}, "lr_policy 'exp' has gamma -0.9, expected at least 0"),
        (
            {"lr_policy": "sigmoid", "base_lr": 0.1, "gamma": float("nan"), "stepsize": 2},
            "gamma nan, expected at least 0",
        ),
        ({"lr_policy": "sigmoid", "base_lr": 0.1, "gamma": 1.0, "stepsize": -1}, "stepsize -1, expected more than 0"),
        ({"lr_policy": "fixed", "base_lr": 0.1, "type": "RMSProp", "rms_decay": 1.0}, "rms_decay 1, expected"),
        ({"lr_policy": "fixed", "base_lr": 0.1, "average_loss": 0}, "average_loss 0"),
    ],
)
def test_solvers_that_caffe_cannot_run_are_refused(given, match):
    with pytest.raises(NetError, match=match):
        check_solver(Solver(**given), "s")
