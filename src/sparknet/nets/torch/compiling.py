"""torch.compile: how a module is compiled, and what is said where that is not possible.

The code is made at the first step, for the shapes of that minibatch. torch then makes the code of the second shape fit for all, unless
it is told not to. Then the bits of a step would depend on the shapes before it, and a training that goes on in a new process would
not have those of one without a break. So here each shape has code of its own, unless the caller says ``dynamic``.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sparknet.errors import NetError
from sparknet.nets.torch.runtime import load

__all__ = ["check_compile", "compiled", "way_out"]

_OF_COMPILERS = ("torch._dynamo", "torch._inductor", "torch._functorch")


def check_compile(options: Any) -> None:
    """Raise a NetError unless this is True, False or options of ``torch.compile``."""
    if not isinstance(options, bool | Mapping):
        msg = f"TorchNet: compile={options!r}; expected True, False or options of torch.compile, such as {{'backend': 'aot_eager'}}"
        raise NetError(msg)


def compiled(module: Any, options: bool | Mapping[str, Any]) -> Callable[..., Any]:
    """Return what runs the module: itself, or ``torch.compile`` of it. The names of its tensors stay as they are."""
    if options is False:
        return module  # type: ignore[no-any-return]
    return load().compile(module, **{"dynamic": False, **({} if options is True else options)})  # type: ignore[no-any-return]


def way_out(error: BaseException) -> str:
    """Return what to do instead where ``torch.compile`` raised an error, or a worker cannot use it; nothing of other errors."""
    if "combination with fork" in str(error):
        return (
            "; this process had computed gradients of compiled code, or on a GPU, before its workers were forked, which torch does "
            "not allow: begin the training in a program that has not"
        )
    if not type(error).__module__.startswith(_OF_COMPILERS):
        return ""
    return "; it comes from torch.compile: compile={'backend': 'aot_eager'} needs no compiler, compile=False runs the module as it is"
