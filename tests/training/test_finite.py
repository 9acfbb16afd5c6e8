"""first_nonfinite: where the first NaN or infinity is, and that large finite numbers are none."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import NDArray, WeightCollection
from sparknet.averaging import finite, first_nonfinite

FLOATS = ["float16", "float32", "float64", "complex64", ml_dtypes.bfloat16]


@given(st.data())
def test_the_first_of_any_layer_array_and_place_is_found(data):
    shapes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    w = WeightCollection({f"ip{i}": [np.ones(n), np.ones((n, 2), "float32")] for i, n in enumerate(shapes)})
    assert first_nonfinite(w) is None
    layer = data.draw(st.integers(0, len(shapes) - 1))
    index = data.draw(st.integers(0, 1))
    value = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    flat = w[f"ip{layer}"][index].unwrap().reshape(-1)
    flat[data.draw(st.integers(0, len(flat) - 1))] = value
    found = first_nonfinite(w)
    assert (found.layer, found.index, str(found.value)) == (f"ip{layer}", index, str(value))
    assert str(found) == f"layer 'ip{layer}', array {index} holds {value}"


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_numbers_whose_sum_overflows_are_finite_and_infinities_that_cancel_are_not(dtype):
    most = ml_dtypes.finfo(dtype).max if dtype is ml_dtypes.bfloat16 else np.finfo(dtype).max
    large = np.full(1000, most, dtype)
    assert first_nonfinite(WeightCollection({"": [large]})) is None
    large[[3, 5]] = np.inf, -np.inf
    assert first_nonfinite(WeightCollection({"": [large]})).value == np.inf


def test_a_nan_in_an_imaginary_part_counts():
    assert np.isnan(first_nonfinite(WeightCollection({"": [np.array([1, complex(0, np.nan)])]})).value)


def test_whole_numbers_and_nothing_at_all_are_finite():
    w = WeightCollection({"a": [np.arange(3), np.zeros(2, bool), np.zeros((0, 3)), np.uint8([255])], "b": []})
    assert first_nonfinite(w, [{"iteration": NDArray(np.int64(7))}]) is None


def test_solver_states_are_looked_at_after_the_weights():
    w = WeightCollection({"a": [[1.0]]})
    found = first_nonfinite(w, [{"history/0": NDArray([1.0])}, {"history/0": NDArray([-np.inf])}])
    assert (found.layer, found.index) == ("history/0", None)
    assert str(found) == "solver state 'history/0' holds -inf"


@pytest.mark.parametrize("row", range(11))
def test_a_large_array_is_looked_at_in_pieces_none_of_which_is_left_out(monkeypatch, row):
    monkeypatch.setattr(finite, "_PIECE", 13)  # pieces of two rows, and of one at the end
    array = np.ones((11, 6), "float32")
    assert first_nonfinite(WeightCollection({"ip": [array]})) is None
    array[row, row // 2] = np.nan
    assert np.isnan(first_nonfinite(WeightCollection({"ip": [array]})).value)
