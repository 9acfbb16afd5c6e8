"""What is computed of shards adds up by value, and nothing is joined, stretched or lost in silence."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import DataError, Field, NDArray, WeightCollection
from sparknet.data import pack
from sparknet.data.sums import added, check_summable

NUMBERS = st.integers(-(2**40), 2**40)


@given(st.dictionaries(st.sampled_from("abc"), NUMBERS), st.dictionaries(st.sampled_from("abc"), NUMBERS))
def test_dicts_add_up_by_key_and_lose_none(left, right):
    assert added(left, right) == {key: left.get(key, 0) + right.get(key, 0) for key in {**left, **right}}


def test_numbers_arrays_weights_counters_and_dicts_of_these_add_up():
    weights = WeightCollection({"ip": [np.ones(2, np.float32)]})
    value = {"n": 2, "x": np.ones(3), "y": NDArray(np.ones(2)), "w": weights, "in": {"k": np.float32(1)}}
    check_summable(value, "it")
    total = added(value, value)
    assert (total["n"], total["x"].tolist(), total["y"].to_host().tolist(), total["in"]) == (
        4,
        [2] * 3,
        [2] * 2,
        {"k": 2},
    )
    assert total["w"] == weights * 2
    assert added(Counter("ab"), Counter("a")) == Counter(a=2, b=1)


@pytest.mark.parametrize("number", [np.float64(2), np.array(2.0), NDArray(np.array(2.0))])
def test_a_number_adds_up_with_the_zero_that_sum_makes_of_nothing(number):
    assert float(added(number, sum([]))) == float(added(sum([]), number)) == 2


@pytest.mark.parametrize(
    "value", [None, (1, 2), [1], "text", b"bytes", bytearray(b"x"), {1}, range(3), iter([1]), object()]
)
def test_what_has_no_sum_is_refused_alone_and_in_a_dict(value):
    name = type(value).__name__
    with pytest.raises(DataError, match=rf"^it: got a {name}, expected what can be added up: a number, an array, "):
        check_summable(value, "it")
    with pytest.raises(DataError, match=rf"^it\['a'\]\['b'\]: got a {name}, expected"):
        check_summable({"a": {"b": value}}, "it")


@pytest.mark.parametrize("value", [np.True_, np.ones(3, bool), NDArray(np.ones(3, bool))])
def test_booleans_of_numpy_are_refused_as_two_that_are_true_add_up_to_one(value):
    with pytest.raises(
        DataError, match=r"^it\['a'\]: got booleans of \w+, .* count them: x.sum\(\), or int\(x\) of one"
    ):
        check_summable({"a": value}, "it")
    assert check_summable(True, "it") + True == 2


@pytest.mark.parametrize(
    ("left", "right", "match"),
    [
        (
            np.ones(3),
            np.ones(1),
            r"are a ndarray of shape \(3,\) and a ndarray of shape \(1,\); expected the same of each",
        ),
        (np.ones(3), 1, r"are a ndarray of shape \(3,\) and a int; expected"),
        ({"a": 1}, 1, r"are a dict and a int, which cannot be added: "),
    ],
)
def test_sums_of_different_kinds_are_refused(left, right, match):
    with pytest.raises(DataError, match=match):
        added(left, right)


def test_a_data_set_in_memory_refuses_what_one_on_a_cluster_would():
    data = pack({"x": range(5)}, [Field("x", (), "int64")], 2)
    assert data.summed(lambda part: {"rows": sum(len(batch["x"]) for batch in part)}) == {"rows": 5}
    with pytest.raises(DataError, match=r"^summed\(\): what the function returned: got a tuple, expected"):
        data.summed(lambda _: (1, 2))
