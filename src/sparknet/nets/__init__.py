"""Nets: the Net protocol and its implementations, each framework in a module of its own.

``CaffeNet`` is resolved when it is first used, so that nothing here imports Caffe.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparknet.nets.base import Batch, Net, NetFactory, SolverState
from sparknet.nets.mlp import MLP

if TYPE_CHECKING:
    from sparknet.nets.caffe import CaffeNet

__all__ = ["MLP", "Batch", "CaffeNet", "Net", "NetFactory", "SolverState"]


def __getattr__(name: str) -> Any:
    if name == "CaffeNet":
        return import_module("sparknet.nets.caffe").CaffeNet
    msg = f"module 'sparknet.nets' has no attribute {name!r}"
    raise AttributeError(msg)
