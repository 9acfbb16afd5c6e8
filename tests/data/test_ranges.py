"""Ranges of values: which are plausible for a net, and how they are told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import NDArray
from sparknet.data.ranges import implausible, line_about, number


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_number_is_told_so_that_it_can_be_read_back(value):
    assert np.float32(number(value)) == np.float32(value)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.zeros((4, 3)), "all values of the first minibatch are 0; does the net get its data?"),
        (np.full((4, 3), 7, np.uint8), "all values of the first minibatch are 7;"),
        (np.linspace(0, 0.01, 12).reshape(4, 3), "lie within 1/100 (0..0.01); were they scaled twice?"),
        (np.linspace(0, 0.011, 12).reshape(4, 3), None),
        (np.arange(12, dtype=np.uint8).reshape(4, 3), None),
        (np.zeros(4), None),  # labels, all of one class
        (np.zeros((4, 1)), None),
        (np.zeros((0, 3)), None),
        (np.full((4, 3), np.nan), None),  # what is not finite is an error elsewhere
        (np.array([["a", "b"]]), None),
    ],
)
def test_values_without_a_range_are_implausible(values, text):
    said = implausible("data", NDArray(values) if values.dtype.kind != "U" else _Text(values))
    assert (text is None) == (said is None)
    assert text is None or text in said


class _Text:
    """A column that no NDArray holds."""

    def __init__(self, values):
        self.to_host = lambda: values


def test_a_line_ends_with_what_comes_out_where_that_is_known():
    stored = NDArray(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert line_about("x", stored, []) == "x: float32 0..5 -> as it is"
    assert line_about("x", stored, ["+ 1"], NDArray(stored.to_host() + 1)) == (
        "x: float32 0..5 -> + 1 -> 1..6 in the first minibatch"
    )
