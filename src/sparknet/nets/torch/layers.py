"""The tensors of a module that travel: parameters and buffers, under the names of ``state_dict``.

The weights have a layer for each module: ``conv1.weight`` and ``conv1.bias`` are the arrays of the layer ``conv1``, in this order. A
tensor of the outermost module is a layer of its own name. A tensor with two names (shared parameters) travels once, under its
first.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from sparknet import nd
from sparknet.errors import NetError, SchemaError
from sparknet.ndarray import NDArray
from sparknet.nets.torch.runtime import load
from sparknet.nets.torch.tensors import carried_dtype, copied, overwrite
from sparknet.weights import WeightCollection
from sparknet.weights.schema import check_same_schema

__all__ = ["Tensors", "check_module", "tensors_of"]

_LOG = logging.getLogger(__name__)
_COUNTER = "num_batches_tracked"
_TAKEN: "WeakSet[Any]" = WeakSet()  # the modules of nets


@dataclass(frozen=True)
class _Like:
    """Shape and dtype of an array, for a comparison of schemas."""

    shape: tuple[int, ...]
    dtype: Any


@dataclass(frozen=True)
class _Buffer:
    """A buffer, and where a module has it."""

    name: str
    owner: Any
    key: str
    tensor: Any

    @property
    def now(self) -> Any:
        """What the module has there: another tensor if it assigned one, None if it assigned that or deleted the buffer."""
        return self.owner._buffers.get(self.key)


@dataclass(frozen=True)
class Tensors:
    """The tensors of a module, live: name in ``state_dict`` -> tensor, each tensor once; and the names of all, shared ones too."""

    module: Any
    named: Mapping[str, Any]
    aliases: Mapping[str, str]  # every name -> the name under which the tensor travels
    buffers: Sequence[_Buffer]  # those that the state_dict leaves out too
    evaluating: Sequence[Any]  # modules that module() left in evaluation mode inside one in training mode

    def layers(self) -> dict[str, list[str]]:
        """Return layer -> names of its tensors, in the module's order."""
        layers: dict[str, list[str]] = {}
        for name in self.named:
            layers.setdefault(name.rpartition(".")[0] or name, []).append(name)
        return layers

    def places(self) -> dict[str, list[Any]]:
        """Return every name -> the layer of its tensor, and the tensor's number there."""
        travels = {name: [layer, place] for layer, names in self.layers().items() for place, name in enumerate(names)}
        return {name: travels[first] for name, first in self.aliases.items()}

    def weights(self, taken: Callable[[Any], NDArray] = copied) -> WeightCollection:
        """Return all tensors, each made an array by ``taken``."""
        return WeightCollection(
            {layer: [taken(self.named[name]) for name in names] for layer, names in self.layers().items()}
        )

    def write(self, weights: WeightCollection, what: str) -> None:
        """Write weights into the tensors' own memory; a SchemaError before the first write if they do not fit."""
        layers = self.layers()
        mine: Any = {
            layer: [_Like(tuple(self.named[n].shape), carried_dtype(self.named[n])) for n in names]
            for layer, names in layers.items()
        }
        check_same_schema(mine, weights, what)
        for layer, names in layers.items():
            for name, array in zip(names, weights[layer], strict=True):
                overwrite(self.named[name], array)

    @contextmanager
    def buffers_kept(self) -> Iterator[None]:
        """Put all buffers back after the block. A warning is logged if it changes integers other than the counters of batch norms."""
        torch = load()
        before = [(buffer, buffer.tensor.clone()) for buffer in self.buffers]
        try:
            yield
            changed = [
                buffer.name
                for buffer, values in before
                if buffer.name in self.named
                and not values.is_floating_point()
                and not torch.equal(buffer.tensor, values)
            ]
            _tell_integers([name for name in changed if not name.endswith(_COUNTER)])
            self._check_complete()
        finally:
            with torch.no_grad():
                for buffer, values in before:
                    buffer.tensor.copy_(values)
                    buffer.owner._buffers[buffer.key] = buffer.tensor

    def settle(self) -> None:
        """Write buffers that the module assigned anew (``self.mean = ...``) into the memory of those that travel, and put these back.

        A NetError if one that travels has another shape or dtype now.
        """
        assigned = [buffer for buffer in self.buffers if buffer.now is not buffer.tensor]
        if not assigned:  # as after nearly every step
            return
        torch, travels = load(), {id(tensor) for tensor in self.named.values()}
        values = []
        for buffer in assigned:
            now, like = buffer.now, buffer.tensor
            if now is not None and (now.shape, now.dtype) == (like.shape, like.dtype):
                values.append((buffer, now.detach().clone()))  # two buffers may have changed places
            elif id(like) in travels:
                got = "nothing" if now is None else f"{now.dtype} {tuple(now.shape)}"
                msg = (
                    f"the module assigned {got} to the buffer {buffer.name!r}, expected {like.dtype} {tuple(like.shape)} as at first: "
                    "the tensors of all workers have to fit; register it with persistent=False if it need not be averaged"
                )
                raise NetError(msg, layer=buffer.name)
        with torch.no_grad():
            for buffer, value in values:
                buffer.tensor.copy_(value)
                buffer.owner._buffers[buffer.key] = buffer.tensor

    def set_mode(self, *, train: bool) -> None:
        """Put the module in training or evaluation mode; what module() left in evaluation mode inside it stays there."""
        if self.module.training is not train:
            self.module.train(train)
            for module in self.evaluating:
                module.training = False

    def _check_complete(self) -> None:
        """Raise a NetError if the module has parameters that it had not when the net was made."""
        known = {id(tensor) for tensor in self.named.values()}
        late = [name for name, parameter in self.module.named_parameters() if id(parameter) not in known]
        if late:
            msg = (
                f"the module made the parameters {_some(late)} in a step, which so are neither trained nor averaged; expected "
                "that module() makes all of them"
            )
            raise NetError(msg, layer=late[0])

    def given(self, state: Mapping[str, Any], what: str) -> WeightCollection:
        """Return a ``state_dict``, of tensors or arrays, as weights; a SchemaError that says which names differ."""
        state = {str(name): value for name, value in state.items()}
        missing, unknown = [n for n in self.aliases if n not in state], [n for n in state if n not in self.aliases]
        if missing or unknown:
            msg = (
                f"{what}: got a state_dict without {_some(missing)} and with {_some(unknown)} beside the names of this "
                "module; is it of another module, or of one inside a wrapper, whose names begin with 'module.' or '_orig_mod.'?"
            )
            raise SchemaError(msg, got=list(state), expected=list(self.aliases))
        return WeightCollection(
            {layer: [_array(state[name]) for name in names] for layer, names in self.layers().items()}
        )


def _tell_integers(names: list[str]) -> None:
    if names:
        _LOG.warning(
            "TorchNet: the steps change %s, which hold integers: rules do not average them, and take those of one worker",
            _some(names),
        )


def _array(value: Any) -> NDArray:
    if isinstance(value, load().Tensor):
        return copied(value)
    array = NDArray(value)
    return nd.astype(array, nd.float32) if str(array.dtype) == "bfloat16" else array  # as tensors of it travel


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "no name"


def tensors_of(module: Any) -> Tensors:
    """Return the tensors of a module that its ``state_dict`` names; a NetError if some cannot travel, or a parameter is missing."""
    torch, owned = load(), {id(t) for t in (*module.parameters(), *module.buffers())}
    named: dict[str, Any] = {}
    aliases: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor) or id(tensor) not in owned:
            msg = (
                f"TorchNet: the state_dict's {name!r} is {type(tensor).__name__} that is no parameter and no buffer of the module, "
                "expected tensors of the module alone; register it as a buffer"
            )
            raise NetError(msg, layer=name)
        aliases[name] = first.setdefault(id(tensor), name)
        if aliases[name] == name:
            named[name] = tensor
    left = [name for name, parameter in module.named_parameters() if id(parameter) not in first]
    if left:
        msg = f"TorchNet: the state_dict leaves out the parameters {_some(left)}, which so would not be averaged; expected all"
        raise NetError(msg, layer=left[0])
    buffers = [
        _Buffer(f"{prefix}.{key}" if prefix else key, owner, key, tensor)
        for prefix, owner in module.named_modules()
        for key, tensor in owner._buffers.items()
        if tensor is not None
    ]
    evaluating = [each for each in module.modules() if module.training and not each.training]
    return Tensors(module, named, aliases, buffers, evaluating)


def check_module(module: Any) -> None:
    """Raise a NetError unless this is a new module whose tensors have memory on one device, in dtypes that can be averaged."""
    torch = load()
    if not isinstance(module, torch.nn.Module):
        msg = f"TorchNet: module() returned {type(module).__name__}, expected a torch.nn.Module"
        raise NetError(msg, got=type(module).__name__)
    if module in _TAKEN:
        msg = "TorchNet: module() returned a module that a net has already, expected a new one each time: lambda: copy.deepcopy(module)"
        raise NetError(msg)
    _TAKEN.add(module)
    devices: dict[str, str] = {}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        _check_tensor(name, tensor)
        devices.setdefault(str(tensor.device), name)
    if not any(True for _ in module.parameters()):
        msg = f"TorchNet: the module {type(module).__name__} has no parameters, expected some to train"
        raise NetError(msg)
    if len(devices) > 1:
        places = ", ".join(f"{name!r} on {device}" for device, name in devices.items())
        msg = f"TorchNet: the module has {places}; expected one device: leave the tensors where they are made, and give device="
        raise NetError(msg, got=sorted(devices))


def _check_tensor(name: str, tensor: Any) -> None:
    torch = load()
    if torch.nn.parameter.is_lazy(tensor):
        msg = (
            f"TorchNet: {name!r} is lazy and has no shape yet, expected a shape that module() decides: give the number of "
            "inputs (Linear, not LazyLinear), or run a minibatch through the module inside module()"
        )
        raise NetError(msg, layer=name)
    if tensor.is_meta:
        msg = (
            f"TorchNet: {name!r} is on the device 'meta' and has no numbers, expected some: make the module on the CPU"
        )
        raise NetError(msg, layer=name)
    if tensor.layout == torch.strided and any(
        step == 0 for step, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1
    ):
        msg = f"TorchNet: {name!r} is expanded: several of its elements share memory; expected memory for each: call .clone()"
        raise NetError(msg, layer=name)
    try:
        carried_dtype(tensor)
    except TypeError as error:
        msg = f"TorchNet: {name!r} is {error}; keep it in one of these"
        raise NetError(msg, layer=name) from None
