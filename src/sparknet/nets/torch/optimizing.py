"""The solver step: gradients of a minibatch, as a whole or in parts, clipped or not, and the optimizer's step."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.torch.batches import parts_of, scalar
from sparknet.nets.torch.runtime import give_back, load

__all__ = ["Stepping", "check_optimizer", "set_zero_gradients"]

_LARGE = 1 << 23  # bytes of parameters on the host: gradients of fewer are not worth the call


@dataclass(frozen=True)
class Stepping:
    """How a net takes a step; the parameters are those of TorchNet."""

    call: Callable[..., Any]  # the module, compiled or not
    loss: Callable[..., Any]
    optimizer: Any
    parameters: Sequence[Any]
    accumulate: int
    clip_norm: float | None
    autocast: str | None
    device: Any

    def precision(self) -> AbstractContextManager[Any]:
        """Return a block in which torch computes in the dtype of ``autocast``, where that is safe."""
        if self.autocast is None:
            return nullcontext()
        torch = load()
        return torch.autocast(self.device.type, getattr(torch, self.autocast))  # type: ignore[no-any-return]

    def loss_of(self, inputs: Sequence[Any], targets: Sequence[Any], call: Callable[..., Any] | None = None) -> Any:
        """Return the loss of a minibatch, which can be differentiated; ``call`` is run in the place of the net's own, if it is given."""
        with self.precision():
            loss = scalar(self.loss((call or self.call)(*inputs), *targets))
        if not loss.requires_grad:
            msg = "the loss depends on no parameter that requires a gradient, expected one: is all of the module frozen or detached?"
            raise NetError(msg)
        return loss

    def step(self, inputs: Sequence[Any], targets: Sequence[Any]) -> float:
        """Take a step and return the loss before it."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(inputs, targets)
        if self.clip_norm is not None:
            load().nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
        return loss

    def drop_gradients(self) -> None:
        """Let go of the gradients, which the next step computes anew: what comes from the driver before it takes as much memory or more."""
        self.optimizer.zero_grad(set_to_none=True)
        if sum(parameter.nbytes for parameter in self.parameters if parameter.is_cpu) >= _LARGE:
            give_back()

    def _gradients(self, inputs: Sequence[Any], targets: Sequence[Any]) -> float:
        """Add up the gradients, in parts if there are several; the losses of parts count by their rows."""
        if self.accumulate == 1:
            loss = self.loss_of(inputs, targets)
            loss.backward()
            return float(loss.detach())
        rows, total = len(inputs[0]), 0.0
        for part in parts_of([*inputs, *targets], self.accumulate):
            share = len(part[0]) / rows
            loss = self.loss_of(part[: len(inputs)], part[len(inputs) :]) * share
            loss.backward()
            total += float(loss.detach())
        return total


def check_optimizer(made: Any, names: Mapping[int, str]) -> None:
    """Raise a NetError unless this is an optimizer whose parameters have names in the module; ``names`` are by ``id``."""
    if not isinstance(made, load().optim.Optimizer):
        msg = f"TorchNet: optimizer(parameters) returned {type(made).__name__}, expected a torch.optim.Optimizer"
        raise NetError(msg)
    if any(id(p) not in names for group in made.param_groups for p in group["params"]):
        msg = (
            f"TorchNet: {type(made).__name__} has parameters that the module has not, expected those it is called with"
        )
        raise NetError(msg)


def set_zero_gradients(module: Any) -> None:
    """Give all parameters that are trained a gradient of zero: a sparse one where a layer (``Embedding(sparse=True)``) makes such gradients."""
    torch, owners = load(), dict[int, list[Any]]()
    tables = torch.nn.Embedding, torch.nn.EmbeddingBag
    for layer in module.modules():
        for parameter in layer.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(layer)
    for parameter in module.parameters():
        # The gradients that several layers make of one parameter are added up, and dense where one of them is.
        is_sparse = all(isinstance(each, tables) and each.sparse for each in owners[id(parameter)])
        if parameter.requires_grad and is_sparse:
            none, values = torch.empty((1, 0), dtype=torch.int64), parameter.detach()[:0].clone()
            parameter.grad = torch.sparse_coo_tensor(none, values, parameter.shape, check_invariants=True)
        elif parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
