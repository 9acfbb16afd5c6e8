"""Makes TorchNets: what is sent to the workers, and the checks of what a user gives.

What cannot work in rounds is found on the driver, on a net that is thrown away: there an error costs nothing.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparknet.backends.placement import host_device
from sparknet.data.layout import is_whole
from sparknet.errors import NetError, located
from sparknet.ndarray import NDArray
from sparknet.nets.torch.optimizing import set_zero_gradients
from sparknet.nets.torch.runtime import load
from sparknet.nets.torch.schedule import changed, settings_of

if TYPE_CHECKING:
    from sparknet.nets.torch.net import TorchNet

__all__ = ["TorchFactory", "check_options", "torchs_device"]


@dataclass(frozen=True)
class TorchFactory:
    """Makes TorchNets with the same arguments. It can be pickled if its functions can, and works where their modules can be imported."""

    module: Callable[[], Any]
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, module: Callable[[], Any], options: Mapping[str, Any]) -> "TorchFactory":
        """Return a factory for these arguments of TorchNet."""
        return cls(module, tuple(options.items()))

    def __call__(self, *, seed: int | None = None) -> "TorchNet":
        """Return a new net; its initial weights depend on ``seed`` alone, by default on the seed in the arguments."""
        from sparknet.nets.torch.net import TorchNet

        return TorchNet(self.module, **{**dict(self.options), **({} if seed is None else {"seed": seed})})

    @property
    def device(self) -> str:
        """The device of the nets: ``"torch:cpu"``, ``"torch:cuda"`` or ``"torch:cuda:N"``."""
        return torchs_device(dict(self.options).get("device"))

    def for_driver(self) -> "TorchFactory":
        """Return a factory of the same nets in host memory, so that the driver can try one without a GPU."""
        return TorchFactory.of(self.module, {**dict(self.options), "device": host_device(self.device)})

    def check(self) -> None:
        """Raise a NetError unless a net can be made whose optimizer's state goes from worker to worker."""
        net = self.for_driver()()
        optimizer, before = net.optimizer, settings_of(net.optimizer)
        set_zero_gradients(net.module)
        with located("TorchNet.factory()"):
            _try_step(optimizer)
            names = changed(before, settings_of(optimizer))
            if names:
                msg = (
                    f"{type(optimizer).__name__} changes {', '.join(map(repr, names))} of its parameter groups in a step; expected "
                    "that they follow from the scheduler alone, because groups do not travel between workers"
                )
                raise NetError(msg, got=names)
            state = net.get_state()
            for iteration in (1, 0):  # the scheduler takes a step, and comes back
                net.set_state({**state, "iteration": NDArray(np.asarray(iteration, np.int64))})


def _try_step(optimizer: Any) -> None:
    try:
        optimizer.step()
    except Exception as error:
        expected = "; expected an optimizer whose step() needs no closure" if "closure" in str(error) else ""
        msg = f"{type(optimizer).__name__} cannot take a step on gradients of zero: {type(error).__name__}: {error}{expected}"
        raise NetError(msg) from error


def torchs_device(device: str | None) -> str:
    """Return the name of torch's backend for a device: ``"torch:cuda"`` of ``"cuda"``; None is the host."""
    if not isinstance(device, str | None):
        msg = f"TorchNet: device={device!r}; expected a name such as 'cpu', 'cuda' or 'cuda:0'"
        raise NetError(msg)
    return "torch:" + (device or "cpu").removeprefix("torch:")


def check_options(
    functions: Mapping[str, Any],
    metrics: Mapping[str, Any],
    columns: Mapping[str, Any],
    counts: Mapping[str, Any],
    clip_norm: Any,
    autocast: Any,
) -> None:
    """Raise a NetError that names the first argument of the wrong kind."""
    _check_functions(functions, metrics)
    for name, names in columns.items():
        if isinstance(names, str) or not all(isinstance(column, str) for column in names):
            msg = f"TorchNet: {name}={names!r}; expected names of columns, such as ('data',)"
            raise NetError(msg)
    for name, count in counts.items():
        if not is_whole(count, 1):
            msg = f"TorchNet: {name}={count!r}; expected a whole number of at least 1"
            raise NetError(msg)
    if clip_norm is not None and not (isinstance(clip_norm, int | float) and 0 < clip_norm < math.inf):
        msg = f"TorchNet: clip_norm={clip_norm!r}; expected a positive number, or None"
        raise NetError(msg)
    if not (autocast is None or (isinstance(autocast, str) and autocast == "bfloat16")):
        why = ": float16 needs a factor on the loss that would have to be averaged too" if autocast == "float16" else ""
        msg = f"TorchNet: autocast={autocast!r}; expected 'bfloat16' or None{why}"
        raise NetError(msg)


def _check_functions(functions: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    for name, function in functions.items():
        if name != "scheduler" or function is not None:
            _check_function(name, function)
    if "loss" in metrics:
        msg = "TorchNet: metrics={'loss': ...}; expected another name: evaluations return the net's own loss as 'loss'"
        raise NetError(msg)
    for name, metric in metrics.items():
        _check_function(f"metrics[{name!r}]", metric)


def _check_function(name: str, function: Any) -> None:
    # a module can be called too: losses are modules, and what is made on each worker is none
    is_net = name in _MAKE and hasattr(function, "state_dict") and not isinstance(function, type)
    if is_net or not callable(function):
        got = f"a {type(function).__name__}" if is_net else repr(function)
        msg = f"TorchNet: {name}={got}; expected a function that each worker calls, {_EXAMPLES.get(name, 'such as accuracy')}"
        raise NetError(msg)
    if name not in _MAKE and isinstance(function, type) and issubclass(function, load().nn.Module):
        msg = f"TorchNet: {name}={function.__name__}, a class; expected a function of (output, *targets): write {function.__name__}()"
        raise NetError(msg)


_MAKE = ("module", "optimizer", "scheduler")
_EXAMPLES = {
    "module": "such as the class of a module or partial(Linear, 3, 2): write lambda: copy.deepcopy(module) for one that you have",
    "optimizer": "such as partial(torch.optim.SGD, lr=0.1)",
    "loss": "such as torch.nn.functional.cross_entropy",
    "scheduler": "such as partial(StepLR, step_size=100)",
}
