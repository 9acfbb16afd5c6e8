"""The checksum: CRC-32 of the sums of full blocks' words, then of the tail."""

import threading
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet.serialization.memory import checksum as module
from sparknet.serialization.memory import cores
from sparknet.serialization.memory.checksum import BLOCK, CACHED, PIECE, Checksum, checksum, transfer


def by_definition(data):
    """The definition of the format page, word by word."""
    full = len(data) // BLOCK * BLOCK
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, full, 8)]
    per_block = BLOCK // 8
    sums = [sum(words[i : i + per_block]) % 2**64 for i in range(0, len(words), per_block)]
    return zlib.crc32(data[full:], zlib.crc32(b"".join(s.to_bytes(8, "little") for s in sums)))


@pytest.mark.parametrize("size", [0, 1, 8, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 4095])
@pytest.mark.parametrize("start", [0, 1, 4])
def test_it_is_what_the_definition_says_at_any_alignment(size, start):
    data = np.random.default_rng(size).integers(0, 256, size + start, np.uint8)[start:]
    assert checksum(data) == by_definition(data.tobytes())


def test_a_tensor_smaller_than_a_block_has_its_plain_crc_32():
    assert checksum(np.arange(1000, dtype="<f4")) == zlib.crc32(np.arange(1000, dtype="<f4").tobytes())


@given(st.lists(st.integers(0, 9000), max_size=6), st.integers(0, 99))
def test_the_size_of_the_pieces_does_not_matter(cuts, seed):
    data = np.random.default_rng(seed).integers(0, 256, sum(cuts), np.uint8)
    state = Checksum()
    for start, size in zip(np.cumsum([0, *cuts]), cuts, strict=False):
        state.update(data[start : start + size])
    assert state.value() == checksum(data)


def test_what_is_summed_is_what_was_copied_even_if_the_source_changes_meanwhile():
    source, target = np.zeros(4 << 20, np.uint8), np.empty(4 << 20, np.uint8)
    done = threading.Event()

    def change():
        while not done.is_set():
            source[:] += 1

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(50):
            assert transfer([source], [target]) == [checksum(target)]
    finally:
        done.set()
        changing.join()


@given(st.integers(0, 2 * BLOCK + 9), st.integers(1, 255))
def test_a_change_of_one_byte_changes_it(position, change):
    data = np.random.default_rng(3).integers(0, 256, 2 * BLOCK + 10, np.uint8)
    before = checksum(data)
    data[position] ^= change
    assert checksum(data) != before


@pytest.fixture(params=[1, 3])
def small_pieces(request, monkeypatch):
    """Pieces of a few blocks, on so many cores."""
    monkeypatch.setattr(cores, "_cores", lambda: request.param)
    monkeypatch.setattr(module, "CACHED", 2 * BLOCK)
    monkeypatch.setattr(module, "PIECE", 6 * BLOCK)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("copied", [False, True])
def test_many_arrays_at_once_have_the_checksums_of_each(copied):
    rng = np.random.default_rng(5)
    sizes = [0, 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 1, 6 * BLOCK, 7 * BLOCK + 5, 40 * BLOCK + 4095]
    sources = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    targets = [np.zeros_like(source) for source in sources] if copied else None
    assert transfer(sources, targets) == [checksum(source) for source in sources]
    assert not copied or all(map(np.array_equal, sources, targets))


@pytest.mark.usefixtures("small_pieces")
def test_a_copy_without_checksums_is_a_copy():
    source = np.random.default_rng(6).standard_normal(50_000)
    target = np.zeros_like(source)
    transfer([source], [target], sums=False)
    assert np.array_equal(source, target)


def test_pieces_end_where_blocks_do():
    assert CACHED % BLOCK == PIECE % CACHED == 0
