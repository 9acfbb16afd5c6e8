"""What tests of several rooms share: a device that is not the host, wherever the tests run."""

import sys
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def device1(monkeypatch):
    """A device of array_api_strict that refuses access from the host, for one test."""
    import array_api_strict

    from sparknet.backends import register_backend, registry
    from sparknet.backends.adapt import adapt

    cpu = array_api_strict.Device("CPU_DEVICE")
    module = ModuleType("a_library")
    module.BACKEND = adapt(
        "array_api_strict",
        array_api_strict,
        type(array_api_strict.ones(1)),
        lambda array: np.asarray(array.to_device(cpu)),
        default="device1",
        device=array_api_strict.Device,
    )
    for name in ("REGISTRY", "BY_DEVICE", "_LOADED", "_BY_TYPE"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    monkeypatch.setitem(sys.modules, "a_library", module)
    register_backend("array_api_strict", "a_library:BACKEND")
    return "array_api_strict:device1"
