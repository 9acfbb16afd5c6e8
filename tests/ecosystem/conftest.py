"""Other libraries take an NDArray: what their tests share.

scipy looks at ``SCIPY_ARRAY_API`` once, when it is imported, and scikit-learn asks for the same variable. It is set
here, before pytest imports the tests beside this file.
"""

import os
import sys

import numpy as np
import pytest

from sparknet import NDArray, nd

if "scipy" in sys.modules and os.environ.get("SCIPY_ARRAY_API") != "1":
    raise pytest.UsageError("scipy was imported before tests/ecosystem; run pytest with SCIPY_ARRAY_API=1")
os.environ["SCIPY_ARRAY_API"] = "1"


def _parts(result):
    """Return the arrays of a result: itself, or those of a tuple or of a result object."""
    if hasattr(result, "statistic"):
        return [result.statistic, result.pvalue]
    if isinstance(result, tuple | list):
        return [part for inner in result for part in _parts(inner)]
    return [result]


def _same(function, *arrays, returns=NDArray):
    got, expected = function(*map(nd.asarray, arrays)), function(*arrays)
    assert len(_parts(got)) == len(_parts(expected))
    for ours, numpys in zip(_parts(got), _parts(expected), strict=True):
        assert isinstance(ours, returns)
        assert (ours.shape, ours.dtype) == (np.shape(numpys), np.asarray(numpys).dtype)
        # the same float64 formulas, in another order here and there: 1e-10 leaves a million epsilons for conditioning
        np.testing.assert_allclose(np.asarray(ours), numpys, rtol=1e-10, atol=1e-12)


@pytest.fixture
def same():
    """``same(function, *arrays, returns=NDArray)``: NDArrays give what numpy arrays give, as this type."""
    return _same


@pytest.fixture
def numbers():
    """60 numbers between 0.1 and 0.9."""
    return np.random.default_rng(3).uniform(0.1, 0.9, 60)
