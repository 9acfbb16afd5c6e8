"""Where a message cannot be received because elements share memory, which would lose some of them in silence."""

import io
from itertools import product
from math import prod

import numpy as np
import pytest
import stand_in
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from strategies import arrays

from sparknet import NDArray, SchemaError, WeightCollection, dumps, nd
from sparknet.serialization import Codec, load_into
from sparknet.serialization.reader.targets import repeats


@st.composite
def layouts(draw):
    """(shape, strides, itemsize): any that one can ask as_strided for, and few enough bytes to count them."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    return tuple(shape), tuple(draw(st.integers(-12, 12)) for _ in shape), draw(st.sampled_from([1, 2, 3, 8]))


@given(layouts())
@example(((2, 3), (3, 2), 1))  # steps of 3 and 2 whose elements lie between one another
@example(((2, 2), (0, 100), 1))  # fewer bytes than are reached, all the same two of each
@example(((2, 3, 2), (3, 2, 12), 1))
def test_elements_share_memory_if_and_only_if_they_have_fewer_bytes_than_they_should(layout):
    shape, strides, itemsize = layout
    places = [sum(map(int.__mul__, index, strides)) for index in product(*map(range, shape))]
    own = {place + byte for place in places for byte in range(itemsize)}
    assert repeats(*layout) == (len(own) < prod(shape) * itemsize)


@given(arrays())
def test_no_array_shares_memory_with_itself_that_was_sliced_turned_or_transposed(array):
    for view in array, array.T, array[..., None], array[::-2] if array.ndim else array:
        assert not repeats(view.shape, view.strides, view.itemsize)


@st.composite
def views(draw):
    """A vector of 12 numbers, and slices of it of any step."""
    whole = np.zeros(12)
    ends = st.integers(0, 12)
    cuts = draw(st.lists(st.tuples(ends, ends, st.sampled_from([1, 2, 3, -1, -2])), min_size=1, max_size=4))
    return whole, [whole[start:stop:step] for start, stop, step in cuts]


@given(views())
def test_what_is_refused_shares_memory_and_what_is_dense_and_shares_it_is_refused(drawn):
    _, targets = drawn
    live = {str(n): array for n, array in enumerate(targets)}
    message = dumps({name: np.ones(array.shape) for name, array in live.items()})
    pairs = [(a, b) for n, a in enumerate(targets) for b in targets[:n] if np.shares_memory(a, b)]
    apart = [(a, b) for a, b in pairs if a.__array_interface__ != b.__array_interface__]
    dense = [(a, b) for a, b in apart if all(abs(x.strides[0]) == 8 or len(x) == 1 for x in (a, b))]
    try:
        load_into(live, message)
    except ValueError:
        assert apart
        assert not any(array.any() for array in targets)
    else:
        assert not dense
        assert all(array.all() for array in targets)


SHARED = {
    "windows": lambda: as_strided(np.zeros(4), (3, 2), (8, 8)),
    "a row for all": lambda: as_strided(np.zeros(2), (3, 2), (0, 8)),
    "an NDArray": lambda: NDArray(as_strided(np.zeros(4), (3, 2), (8, 8))),
}


@pytest.mark.parametrize("source", [bytes, io.BytesIO])
@pytest.mark.parametrize("kind", SHARED)
def test_an_array_that_overlaps_itself_is_refused_by_name_before_anything_is_read_or_written(kind, source):
    live = {"a": np.zeros(2), "b": SHARED[kind]()}
    message = dumps({"a": np.ones(2), "b": np.ones((3, 2))})
    for load in load_into, Codec(live).load_into:
        given_source = source(message)
        with pytest.raises(ValueError, match=r"the array 'b' has elements that share memory .*; receive it in a copy"):
            load(live, given_source)
        assert source is bytes or given_source.tell() == 0
    assert not live["a"].any()
    copied = {**live, "b": np.array(live["b"])}
    load_into(copied, message)
    assert copied["b"].all()


def test_two_arrays_that_overlap_in_part_are_refused_by_name():
    whole = np.zeros((4, 3))
    live = WeightCollection({"a": [whole[:3], np.zeros(1)], "b": [NDArray(whole[2:])]})
    with pytest.raises(ValueError, match=r"the array 'a\[0\]' and the array 'b\[0\]' share memory in part; receive it"):
        load_into(live, dumps(live.map(np.ones_like)))
    foreign = np.frombuffer(whole, np.float64)  # the same memory, of which numpy does not know
    for a, b in (
        (whole[:, :2], whole[:, 1:]),
        (whole.T[2], foreign[-1:]),
        (whole[::2], foreign[:1]),
        (whole.T, foreign[3:5]),
        (whole[:3], whole[:2]),
        (whole[0], whole[0].view(np.int64)),
    ):
        with pytest.raises(ValueError, match="the array 'a' and the array 'b' share memory in part"):
            load_into({"a": a, "b": b}, dumps({"a": np.ones(a.shape), "b": np.ones(b.shape)}))
    assert not whole.any()


def test_neighbours_alternating_columns_and_transposed_halves_are_taken():
    whole = np.zeros((4, 6))
    for live in (
        {"a": whole[:2], "b": whole[2:]},
        {"a": whole[:, ::2], "b": whole[:, 1::2]},
        {"a": whole[:, :3].T, "b": whole[::-1, 3:]},
        {"a": whole[1:1], "b": whole},
    ):
        whole[...] = 0
        load_into(live, dumps({name: np.full(array.shape, 5.0) for name, array in live.items()}))
        assert (whole == 5).all()


@pytest.mark.parametrize("source", [bytes, io.BytesIO])
@pytest.mark.parametrize("encoding", ["raw", "int8"])
def test_one_array_under_two_names_is_received_where_both_have_the_same_elements(source, encoding):
    x = np.zeros((2, 3))
    live = {"a": x, "b": NDArray(x), "c": np.zeros(2)}
    load_into(live, source(dumps({"a": np.ones((2, 3)), "b": np.ones((2, 3)), "c": np.ones(2)}, encoding=encoding)))
    assert x.all()
    different = {"a": np.full((2, 3), 2.0), "b": np.full((2, 3), 3.0), "c": np.full(2, 2.0)}
    with pytest.raises(
        SchemaError, match="'a' and the array 'b' are the same memory here, as tied weights are, and the message has"
    ):
        load_into(live, source(dumps(different, encoding=encoding)))
    assert (x == 1).all()
    assert (live["c"] == 1).all()
    load_into(live, source(dumps(different, encoding=encoding, checksum=False)))  # nothing tells that they differ
    assert (live["c"] == 2).all()


def check_on_cuda():
    whole = nd.zeros(5, device="cuda:0")
    for a, b in (whole[:3], whole[2:]), (nd.broadcast_to(whole[:1], (3,)), nd.zeros(3, device="cuda:0")):
        with pytest.raises(ValueError, match="share memory"):
            load_into({"a": a, "b": b}, dumps({"a": np.ones(3), "b": np.ones(3)}))
    assert not whole.to_host().any()
    load_into({"a": whole[:3], "b": whole[3:]}, dumps({"a": np.ones(3), "b": np.ones(2)}))
    assert whole.to_host().all()


def test_arrays_of_cupy_that_share_memory_are_refused_too():
    with stand_in.cupy():
        check_on_cuda()


@pytest.mark.gpu
def test_arrays_on_a_gpu_that_share_memory_are_refused_too():
    check_on_cuda()
