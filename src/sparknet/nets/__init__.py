"""Nets: the Net protocol and its implementations, each framework in a module of its own.

``CaffeNet`` and ``TorchNet`` are resolved when they are first used, so that nothing here imports Caffe or torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparknet.nets.base import Batch, Net, NetFactory, SolverState
from sparknet.nets.mlp import MLP

if TYPE_CHECKING:
    from sparknet.nets.caffe import CaffeNet
    from sparknet.nets.torch import TorchNet

__all__ = ["MLP", "Batch", "CaffeNet", "Net", "NetFactory", "SolverState", "TorchNet"]

_HOMES = {"CaffeNet": "sparknet.nets.caffe", "TorchNet": "sparknet.nets.torch"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    msg = f"module 'sparknet.nets' has no attribute {name!r}"
    raise AttributeError(msg)
