"""Every function of nd on cupy: the examples of the reference, which name each, give there what they give on the host."""

import doctest
import inspect
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import stand_in

from sparknet import NDArray, nd
from sparknet.backends import backend_of

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "nd.md"
DEVICES = ["cuda:0 of the stand-in", "cuda:1 of the stand-in", pytest.param("cuda:0", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def device(request):
    with stand_in.device(request.param) as name:
        yield name


class Elsewhere:
    """The namespace, with another default device."""

    def __init__(self, module, device):
        self._module, self._device = module, device

    def __getattr__(self, name):
        value = getattr(self._module, name)
        if isinstance(value, ModuleType):
            return Elsewhere(value, self._device)
        takes = inspect.isfunction(value) and "device" in inspect.signature(value).parameters
        if not takes or name.endswith("_like") or name in {"astype", "from_dlpack"}:
            return value
        return lambda *args, **kwargs: value(*args, **{"device": self._device, **kwargs})


def examples():
    """Return the code of the page's examples that compute: all but imports, errors and what looks at memory of the host."""
    parsed = doctest.DocTestParser().get_examples(PAGE.read_text())
    sources = [example.source.strip() for example in parsed if not example.exc_msg]
    return [source for source in sources if not source.startswith(("from ", "import ")) and "host" not in source]


def results(device):
    """Return the value of every example, or its exception."""
    names = {"np": np, "nd": Elsewhere(nd, device), "NDArray": NDArray}
    found = []
    for source in examples():
        try:
            expression = compile(source, PAGE.name, "eval")
        except SyntaxError:  # an assignment
            exec(source, names)  # noqa: S102 - the project's own page
            found.append(None)
        else:
            found.append(eval(expression, names))  # noqa: S307 - the same
    return found


def differs(here, there, device):
    """Say whether a result is another, or elsewhere."""
    if isinstance(here, tuple | list):
        return len(here) != len(there) or any(differs(a, b, device) for a, b in zip(here, there, strict=True))
    if not isinstance(here, NDArray):
        return str(here) != str(there)
    at_home = there.device == backend_of(there.unwrap()).device == device
    same = (here.dtype, here.shape) == (there.dtype, there.shape)
    # a few roundings apart, as the reference says of libraries
    return not (at_home and same and np.allclose(here.to_host(), there.to_host(), equal_nan=True))


def test_the_examples_of_the_reference_give_on_the_device_what_they_give_on_the_host(device):
    sources = examples()
    assert len(sources) > 200
    compared = zip(sources, results("cpu"), results(device), strict=True)
    assert [source for source, here, there in compared if "empty" not in source and differs(here, there, device)] == []
