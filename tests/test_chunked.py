"""The loops over large arrays: every element once, and as many threads as you like give the same bits."""

import math

import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from sparknet import NDArray
from sparknet.weights import chunked


@given(strategies.shapes(max_dims=5, max_side=9), st.integers(1, 40))
def test_chunks_cover_every_element_once_in_order_as_views_within_the_limit(shape, limit):
    x = np.arange(math.prod(shape)).reshape(shape)
    parts = [x[index] for index in chunked.chunks(shape, limit)]
    assert all(0 < part.size <= limit and np.shares_memory(part, x) for part in parts)
    assert [n for part in parts for n in part.ravel().tolist()] == list(range(x.size))


@pytest.mark.parametrize(("shape", "limit", "count"), [((131_073,), 131_072, 2), ((10, 100), 250, 5), ((2, 6), 5, 4)])
def test_chunks_are_few_and_of_like_size(shape, limit, count):
    sizes = [np.empty(shape)[index].size for index in chunked.chunks(shape, limit)]
    assert len(sizes) == count
    assert max(sizes) - min(sizes) <= max(shape[-1], 1) * 0.5


@pytest.mark.parametrize("weights", [[1, 1, 1], [1, 2, 4]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_of_threads_changes_no_bit(monkeypatch, weights, dtype):
    rng = np.random.default_rng(7)
    arrays = [NDArray((rng.standard_normal((1500, 3000)) * 100).astype(dtype)) for _ in weights]
    used = []
    one, four = (_mean_with(monkeypatch, cpus, arrays, weights, used) for cpus in (1, 4))
    assert used == [1, 4]
    assert one.to_host().tobytes() == four.to_host().tobytes()


def _mean_with(monkeypatch, cpus, arrays, weights, used):
    monkeypatch.setattr(chunked, "_cpus", lambda: cpus)
    used.append(chunked._threads(arrays[0]))
    return chunked.mean(arrays, weights)


def test_only_large_arrays_get_threads_one_for_each_million_elements(monkeypatch):
    monkeypatch.setattr(chunked, "_cpus", lambda: 8)
    assert chunked._threads(NDArray(np.empty((1000, 1000), "float32"))) == 1
    assert chunked._threads(NDArray(np.empty((3000, 1000), "float32"))) == 2
    assert chunked._threads(NDArray(np.empty((100_000_000,), "float32"))) == chunked._MOST_THREADS


def test_an_error_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setattr(chunked, "_cpus", lambda: 2)
    arrays = [NDArray(np.ones(3_000_000, "float32")), NDArray(np.ones(5, "float32"))]
    with pytest.raises(ValueError, match="broadcast"):
        chunked.mean(arrays, [1, 1])


def bits(rng, low, high, size):
    """Return float32 whose exponents are anywhere between two."""
    return (
        rng.integers(0, 2, size) << 31 | rng.integers(low, high, size) << 23 | rng.integers(0, 1 << 23, size)
    ).astype(np.uint32)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 3), (20, 200), (100, 130), (250, 255), (0, 256)])
def test_the_mean_of_two_has_the_bits_of_float64_rounded_once(low, high):
    rng = np.random.default_rng(low)
    a, b = (bits(rng, low, high, 200_000).view(np.float32) for _ in range(2))
    a[:3], b[:3] = [-0.0, 0.0, -0.0], [-0.0, -0.0, 0.0]
    b[100:50_000] = (a[100:50_000].view(np.uint32) ^ 1).view(np.float32)  # near each other, and of either sign
    b[200:9000] = np.negative(b[200:9000])
    got = chunked.mean([NDArray(a), NDArray(b)], [1, 1]).to_host()
    with np.errstate(invalid="ignore", over="ignore"):
        expected = ((a.astype(np.float64) + b) / 2).astype(np.float32)
    same = got.view(np.uint32) == expected.view(np.uint32)
    assert np.all(same | np.isnan(expected) & np.isnan(got))


def test_a_large_mean_of_two_is_no_overflow():
    top = np.full(5, np.finfo(np.float32).max)
    assert chunked.mean([NDArray(top), NDArray(top)], [1, 1]).to_host().tolist() == top.tolist()


@pytest.mark.parametrize(
    "array", [np.float32([[1, 2, 3], [4, 5, 6]]).T, np.array(3, np.float32)], ids=["columns", "0-d"]
)
def test_the_mean_of_two_is_an_array_row_after_row(array):
    found = chunked.mean([NDArray(array), NDArray(array)], [1, 1]).unwrap()
    assert isinstance(found, np.ndarray)
    assert found.flags.c_contiguous
    assert found.tolist() == array.tolist()
