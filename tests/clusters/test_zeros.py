"""Arrays of zeros do not travel, and are there all the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import LocalCluster, NDArray, averaged_sgd, dumps
from sparknet.clusters.direct import zeros
from sparknet.clusters.direct.zeros import with_zeros, without_zeros
from sparknet.data import Field, pack
from sparknet.nets import MLP

LARGE = zeros._LARGE
ARRAYS = {
    "zeros": np.zeros(LARGE, "u1"),
    "few zeros": np.zeros(LARGE - 1, "u1"),
    "negative": np.full((LARGE // 8, 2), -0.0, "f"),
    "last": np.eye(1, LARGE // 8, LARGE // 8 - 1),
    "scalar": np.zeros((), "i8"),
    "strided": np.zeros((LARGE, 2), "f")[:, 1],
}


@given(st.lists(st.sampled_from(list(ARRAYS)), unique=True))
def test_a_state_has_its_bits_and_its_order_again(names):
    state = {name: NDArray(ARRAYS[name]) for name in names}
    kept, said = without_zeros(state)
    assert set(state) - set(kept) == {"zeros", "strided"} & set(names)
    assert bytes(dumps(with_zeros(kept, said))) == bytes(dumps(state))


@pytest.mark.parametrize(("policy", "later"), [("reset", 0), ("average", 1)])
def test_the_history_of_a_new_solver_is_not_sent(policy, later):
    factory = MLP.factory((300,), 2, (100,), momentum=0.9)
    rows = np.random.default_rng(0).normal(size=(40, 300))
    data = pack({"data": rows, "label": rows[:, 0] > 0}, [Field("data", (300,)), Field("label", (), "int64")], 10)
    options = {"workers": 2, "tau": 2, "rounds": 2, "solver_state": policy}
    found = list(averaged_sgd(factory, data, cluster=LocalCluster(processes=2), **options))
    weight = 2 * 4 * 300 * 100  # bytes of the one large array, to both workers
    assert [each.bytes_down // weight for each in found] == [1, 1 + later]
    assert found[-1].weights == list(averaged_sgd(factory, data, cluster=LocalCluster(), **options))[-1].weights
