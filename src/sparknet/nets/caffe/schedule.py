"""The learning-rate fields of a solver prototxt: their checks, and the place in the schedule after some steps."""

import math
from typing import Any

from sparknet.errors import NetError

__all__ = ["SOLVERS", "check_solver", "steps_passed"]

SOLVERS = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")  # in the order of the old solver_type
_NO_MOMENTUM = ("AdaGrad", "RMSProp")
# Policy -> the fields that it needs. Caffe takes 0 for a missing one, and the rate then vanishes or never changes.
_POLICIES = {
    "fixed": (),
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma",),
    "poly": ("power", "max_iter"),
    "sigmoid": ("gamma", "stepsize"),
}


def check_solver(param: Any, where: str) -> None:
    """Raise a NetError for a solver with which Caffe would end the process, or learn with a wrong rate."""
    for problem in _problems(param):
        msg = f"{where}: {problem}"
        raise NetError(msg)


def _problems(param: Any) -> list[str]:
    """Return what is wrong with the solver, in the order of the checks."""
    out = []
    if param.type not in SOLVERS:
        out.append(f"solver type {param.type!r}; Caffe has {', '.join(SOLVERS)}")
    if param.lr_policy not in _POLICIES:
        out.append(f"lr_policy {param.lr_policy!r}; Caffe has {', '.join(_POLICIES)}")
    if not param.HasField("base_lr"):
        out.append("base_lr is not given")
    missing = [name for name in _POLICIES.get(param.lr_policy, ()) if not param.HasField(name)]
    if missing:
        out.append(f"lr_policy {param.lr_policy!r} needs {' and '.join(missing)}")
    out += _out_of_range(param)
    if param.iter_size < 1:
        out.append(f"iter_size {param.iter_size}, expected at least 1")
    if param.type in _NO_MOMENTUM and param.momentum:
        out.append(f"solver type {param.type!r} takes no momentum, got {param.momentum:g}")
    if param.type == "RMSProp" and not 0 <= param.rms_decay < 1:
        out.append(f"rms_decay {param.rms_decay:g}, expected 0 <= rms_decay < 1")
    if param.regularization_type not in ("L1", "L2"):
        out.append(f"regularization_type {param.regularization_type!r}; Caffe has L1, L2")
    if param.average_loss < 1:
        out.append(f"average_loss {param.average_loss}, expected at least 1")
    return out


def _out_of_range(param: Any) -> list[str]:
    """Return which numbers in the solver's rate are out of range."""
    used, has = _POLICIES.get(param.lr_policy, ()), f"lr_policy {param.lr_policy!r} has"
    out = [
        f"{has} {name} {getattr(param, name)}, expected more than 0"
        for name in ("stepsize", "max_iter")
        if name in used and getattr(param, name) <= 0
    ]
    if not math.isfinite(param.base_lr):  # may be infinite: it is a float of 32 bits
        out.append(f"base_lr {param.base_lr:g}, expected a finite number")
    if "gamma" in used and not param.gamma >= 0:  # also true for NaN
        out.append(f"{has} gamma {param.gamma:g}, expected at least 0")
    return out


def steps_passed(param: Any, iteration: int) -> int:
    """Return how many values of a "multistep" schedule a solver has passed after ``iteration`` steps.

    Caffe passes at most one ``stepvalue`` in a step, at its start: value i is passed at step ``max(value, step of the value
    before + 1)``.
    """
    if param.lr_policy != "multistep":
        return 0
    passed, at = 0, -1
    for value in param.stepvalue:
        at = max(value, at + 1)
        if at >= iteration:
            break
        passed += 1
    return passed
