"""Compression: every byte comes back; what is inflated is no larger than the reader says, whatever the bytes say."""

import importlib
import io
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sparknet
from sparknet import FormatError, MissingDependency, NDArray
from sparknet.serialization.payload.compression import check_limit, compress_chunk, inflate_chunk, method_of

METHODS = ["zstd", "lz4"]
WIDTHS = [1, 2, 4, 8, 16]


def as_chunk(data):
    return np.frombuffer(bytes(data), np.uint8)


def compressed(method, chunk, width):
    return as_chunk(compress_chunk(method_of(method), chunk, width, np.empty(len(chunk) + 5, np.uint8)))


def inflated(method, stored, width, size):
    """The chunk, or what is wrong with it."""
    chunk = np.empty(size, np.uint8)
    return inflate_chunk(method_of(method), stored, width, chunk) or chunk.tobytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("width", WIDTHS)
@given(data=st.binary(min_size=1, max_size=40), times=st.integers(1, 60))
def test_every_byte_comes_back(method, width, data, times):
    chunk = as_chunk(data * times * width)
    stored = compressed(method, chunk, width)
    assert len(stored) <= len(chunk)
    if len(stored) < len(chunk):
        assert inflated(method, stored, width, len(chunk)) == chunk.tobytes()
    else:
        assert (stored == chunk).all()


@pytest.mark.parametrize("method", METHODS)
def test_random_bytes_stay_as_they_are(method):
    chunk = as_chunk(np.random.default_rng(1).bytes(1 << 16))
    assert compressed(method, chunk, 4).tobytes() == chunk.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_bytes_are_put_side_by_side_before_they_are_compressed(method):
    chunk = as_chunk(range(1, 5)).repeat(1).reshape(1, 4).repeat(300, axis=0).reshape(-1)
    stored = compressed(method, chunk, 4)
    planes = method_of(method).inflate(stored, len(chunk))
    assert planes == bytes([1]) * 300 + bytes([2]) * 300 + bytes([3]) * 300 + bytes([4]) * 300


@pytest.mark.parametrize("method", METHODS)
def test_planes_gain_what_plain_bytes_do_not(method):
    weights = np.random.default_rng(1).standard_normal(1 << 16, np.float32).view(np.uint8)
    assert len(compressed(method, weights, 4)) < 0.97 * len(compressed(method, weights, 1))


# ------------------------------------------------------------------------------------- hostile bytes


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("off", [-1, 1, -999, 5000])
def test_another_size_than_was_written_is_refused(method, off):
    stored = compressed(method, as_chunk(bytes(1000)), 1)
    assert isinstance(inflated(method, stored, 1, 1000 + off), str)


def check_as_the_library_says(method, stored, width, size):
    """Compare with the library's own function: its bytes, their planes apart again, or a refusal that leaves the chunk alone."""
    chunk = np.full(size, 0xA5, np.uint8)
    problem = inflate_chunk(method_of(method), stored, width, chunk)
    planes = plainly_inflated(method, bytes(stored), size)
    if planes is None or len(planes) != size:
        assert problem.startswith(("cannot be inflated", "inflates to"))
        assert (chunk == 0xA5).all()
    else:
        assert problem == ""
        assert chunk.tobytes() == np.frombuffer(planes, np.uint8).reshape(width, -1).T.tobytes()


def plainly_inflated(method, stored, size):
    """What a library makes of one frame or block; None where it refuses it."""
    if method == "lz4":
        lz4 = importlib.import_module("lz4.block")
        try:
            return lz4.decompress(stored, uncompressed_size=size)
        except lz4.LZ4BlockError:
            return None
    zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    try:
        # Bytes behind the frame are no part of it. What is larger than asked for is not asked for.
        whole = zstd.get_frame_size(stored) == len(stored)
        return zstd.ZstdDecompressor().decompress(stored, size + 1) if whole else None
    except zstd.ZstdError:
        return None


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
def test_changed_bytes_are_refused_or_give_a_chunk_of_that_size(method, data):
    changed = bytearray(compressed(method, as_chunk(np.arange(600, dtype="<u2").tobytes()), 2))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    check_as_the_library_says(method, as_chunk(changed), 2, 1200)


@pytest.mark.parametrize("method", METHODS)
@given(st.binary(max_size=60))
@example(b"\x3fabc\x03\x00\x49" + b"\x50abcde")  # a block of LZ4: three letters, a match of 92, and the last five
def test_any_bytes_are_refused_or_give_a_chunk_of_that_size(method, data):
    check_as_the_library_says(method, as_chunk(data), 1, 100)


@pytest.mark.parametrize("method", METHODS)
def test_a_bomb_is_not_inflated_beyond_the_size_of_the_chunk(method):
    bomb = compressed(method, np.zeros(1 << 26, np.uint8), 1)
    tracemalloc.start()
    assert isinstance(inflated(method, bomb, 1, 1000), str)
    assert tracemalloc.get_traced_memory()[1] < 1 << 17
    tracemalloc.stop()


def frame(size, window_log=None):
    """A zstd frame of no blocks but one empty, whose header says that it holds so many bytes."""
    magic, empty = b"\x28\xb5\x2f\xfd", b"\x01\x00\x00"
    if window_log is None:  # one segment: the window is the size
        return magic + b"\xe0" + size.to_bytes(8, "little") + empty
    return magic + b"\xc0" + bytes([window_log - 10 << 3]) + size.to_bytes(8, "little") + empty


# The bytes come from sys.argv. What a library allocates in C is bounded by the address space that the process may have.
IN_LITTLE_MEMORY = """
import resource, sys
import numpy as np
from sparknet.serialization.payload.compression import method_of, inflate_chunk
stored = np.frombuffer(bytes.fromhex(sys.argv[1]), np.uint8)
method = method_of("zstd")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), resource.RLIM_INFINITY))
print(inflate_chunk(method, stored, 1, np.empty(1000, np.uint8)))
"""


@pytest.mark.parametrize("size", [2**22, 2**27, 2**40, 2**63, 2**64 - 3])
@pytest.mark.parametrize("window_log", [None, 22, 27, 31, 41])
def test_a_frame_that_declares_a_large_size_or_window_is_refused(size, window_log):
    problem = inflated("zstd", as_chunk(frame(size, window_log)), 1, 1000)
    assert "cannot be inflated" in problem


@pytest.mark.parametrize("lie", [frame(2**27), frame(2**40), frame(2**20, 27), frame(2**40, 10)])
def test_a_frame_that_declares_a_large_size_or_window_costs_no_memory(lie):
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, lie.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(("cannot be inflated", "inflates to 0 bytes")), done.stderr


def test_the_limit_on_memory_in_that_test_is_one():
    code = IN_LITTLE_MEMORY.replace("method, stored", "method, np.ones(1 << 24, np.uint8)")
    done = subprocess.run([sys.executable, "-c", code, "00"], capture_output=True, text=True, check=False)
    assert "MemoryError" in done.stderr


def test_two_frames_are_not_one():
    one = compressed("zstd", as_chunk(bytes(500)), 1)
    for stored in (np.concatenate([one, one]), np.append(one, np.uint8(0)), one[:-1]):
        for size in (500, 1000):
            assert isinstance(inflated("zstd", stored, 1, size), str)


# ------------------------------------------------------------------------------------ limit, packages


def test_a_message_may_inflate_to_1_gib_or_16_times_its_size():
    check_limit(1 << 30, 1, None)
    check_limit(16 << 30, 1 << 30, None)
    for inflated_size, message in ((1 << 30) + 1, 1), ((16 << 30) + 1, 1 << 30):
        with pytest.raises(FormatError, match=f"Pass max_bytes={inflated_size} if you trust"):
            check_limit(inflated_size, message, None)


@pytest.mark.parametrize("limit", ["1GB", -1, True, [1], float("nan"), 1j])
def test_a_limit_that_is_no_number_of_bytes_is_refused_whatever_is_read(limit):
    message = sparknet.dumps({"a": NDArray(np.zeros(3))})
    for read in (sparknet.loads, lambda data, **options: next(iter(sparknet.iter_load(io.BytesIO(data), **options)))):
        with pytest.raises(
            ValueError, match=r"max_bytes: got .*, expected a number of bytes, such as 2\*\*30, or None"
        ):
            read(message, max_bytes=limit)
        assert set(read(message, max_bytes=np.int64(9))) == set(read(message, max_bytes=1e3)) == {"a"}


def test_max_bytes_is_the_limit_where_it_is_given():
    check_limit(100, 10**9, 100)
    check_limit(1 << 50, 1, 1 << 50)
    with pytest.raises(FormatError, match="inflate to 101 bytes, from a message of 50; the limit is 100"):
        check_limit(101, 50, 100)


def test_an_unknown_method_names_those_there_are():
    with pytest.raises(ValueError, match="compression 'gzip' is not known; expected one of 'zstd', 'lz4', or None"):
        method_of("gzip")
    for other in (["lz4"], {"lz4": 1}, 3):
        with pytest.raises(ValueError, match=r"compression .* is not known; expected one of 'zstd', 'lz4', or None"):
            method_of(other)


@pytest.mark.parametrize(("method", "package"), [("zstd", "backports.zstd"), ("lz4", "lz4")])
def test_a_missing_package_is_named_with_the_extra(method, package, monkeypatch):
    for name in ["compression.zstd", "backports.zstd", "lz4.block"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match=rf"the package {package}.*pip install 'sparknet\[compression\]'"):
        method_of(method)
