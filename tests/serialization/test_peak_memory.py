"""How much memory each way takes beyond its argument, in sizes of the tensors: none, or that of the result."""

import io
import tracemalloc

import numpy as np
import pytest

from sparknet import NDArray, dump, dump_parts, dumps, dumps_into, iter_load, load, loads, save
from sparknet.serialization import Codec, inspect, load_into, verify

TENSORS = {f"layer{i}": NDArray(np.full((500, 500 * i), i, "float32")) for i in range(1, 5)}
NBYTES = sum(array.nbytes for array in TENSORS.values())  # 10 MB, several pieces
SMALL = {f"layer{i}": NDArray(np.full(1000, i, "float32")) for i in range(2000)}
MORE = np.zeros(8_000_000)
MESSAGE = dumps(TENSORS)
KEPT = np.zeros(len(MESSAGE), np.uint8)
LIVE = {name: np.zeros(array.shape, "float32") for name, array in TENSORS.items()}


class Sink(io.RawIOBase):
    """Takes everything and keeps nothing."""

    def writable(self):
        return True

    def write(self, data):
        return len(data)


def peak(call):
    """Most bytes held beyond what there was while it ran."""
    call()  # what is imported and kept on the first call
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        del result


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("peak") / "w.msg"
    save(path, TENSORS)
    return path


NOTHING = {
    "dump_parts": lambda _: dump_parts(TENSORS),
    "Codec.dump_parts": lambda _: Codec(TENSORS).dump_parts(TENSORS),
    "dump": lambda _: dump(TENSORS, Sink()),
    "save": lambda path: save(path.with_name("other.msg"), TENSORS),
    "dumps_into": lambda _: dumps_into(TENSORS, KEPT),
    "loads": lambda _: loads(MESSAGE),
    "loads, verified": lambda _: loads(MESSAGE, verify=True),
    "load, mapped": load,
    "load, mapped and verified": lambda path: load(path, verify=True),
    "inspect": inspect,
    "verify": verify,
    "load_into from memory": lambda _: load_into(LIVE, MESSAGE),
}


@pytest.mark.parametrize("way", NOTHING)
def test_no_memory_of_the_size_of_the_tensors_is_taken(way, path):
    # 1 MiB: buffers of files and pieces, 256 KiB of joined tensors, the objects themselves
    assert peak(lambda: NOTHING[way](path)) < 2 << 20


def test_a_stream_is_received_into_live_arrays_without_more_memory(path):
    def receive():
        with path.open("rb") as file:
            load_into(LIVE, file)

    assert peak(receive) < 2 << 20


ONCE = {
    "dumps": lambda _: dumps(TENSORS),
    "dumps, large": lambda _: dumps({**TENSORS, "more": MORE}),
    "loads, copied": lambda _: loads(MESSAGE, copy=True),
    "load, owned": lambda path: load(path, mmap=False),
    "load, chosen and owned": lambda path: load(path, mmap=False, keys=list(TENSORS)),
}


@pytest.mark.parametrize("way", ONCE)
def test_memory_for_the_result_is_taken_once(way, path):
    extra = MORE.nbytes if way == "dumps, large" else 0
    assert NBYTES + extra <= peak(lambda: ONCE[way](path)) < NBYTES + extra + (2 << 20)


def test_a_stream_takes_less_than_twice_its_message(path):
    # memory grows by steps of 4, and the smaller one is there until it is copied: 1 + 1/4 and what comes first
    def read():
        with path.open("rb") as file:
            return list(iter_load(file))

    assert peak(read) < 1.5 * NBYTES


def test_a_stream_of_messages_takes_no_more_than_one(path):
    stream = io.BytesIO(3 * path.read_bytes())

    def read():
        for tensors in iter_load(stream):
            del tensors

    assert peak(read) < 1.5 * NBYTES


def test_many_small_tensors_take_a_block_at_a_time():
    size = sum(array.nbytes for array in SMALL.values())
    assert size < NBYTES
    for way in dump_parts, lambda obj: dumps_into(obj, KEPT), lambda obj: dump(obj, Sink()):
        assert peak(lambda way=way: way(SMALL)) < 5 << 20  # two objects for each tensor, and blocks


def test_tensors_that_are_converted_take_a_piece_at_a_time():
    converted = {"a": np.ones((1500, 1000), ">f4"), "b": np.asfortranarray(np.ones((1000, 1000), "float32"))}
    assert peak(lambda: dumps_into(converted, KEPT)) < 4 << 20
