"""What the tests of CuPy share; each file says which ``cupy`` it is, the real one or the stand-in."""

import pytest

from sparknet.backends import get_backend


@pytest.fixture
def backend(cupy):
    """Return the module under test, which cannot be imported where there is no device."""
    assert cupy.cuda.is_available()
    get_backend("cupy")
    from sparknet.backends import cupy as module

    return module
