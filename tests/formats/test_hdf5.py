"""HDF5 files from anywhere: read as they are, or refused by name, with no more memory than is allowed."""

import base64
import re
import struct
import subprocess
import sys
import tracemalloc
import zlib

import h5py
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from limited import run_limited

import sparknet
from sparknet import FormatError, MissingDependency, SchemaError, WeightCollection
from sparknet.formats import convert, hdf5, read, write

WEIGHTS = WeightCollection({"zip": [np.ones((2, 3), "f4"), np.zeros(2, "f4")], "aip": [np.full((1, 2), 0.1, "f8")]})
MIB = 1 << 20


def bits_of(mapping):
    """Return what two mappings of arrays are compared by: NaN and -0.0 count."""
    arrays = {name: np.asarray(array) for name, array in mapping.items()}
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.caffemodel.h5"


@pytest.fixture
def layer(path):
    """A function that makes the file: what it is given fills the group of the one layer."""

    def make(fill):
        with h5py.File(path, "w") as file:
            fill(file.create_group("data/ip"))
        return path

    return make


def test_weights_come_back_in_their_order(path):
    write(path, WEIGHTS)
    assert read(path).obj == WEIGHTS
    with h5py.File(path) as file:
        assert sorted(file["data/zip"]) == ["0", "1"]
        np.testing.assert_array_equal(file["data/zip/0"], np.ones((2, 3)))


def test_equal_weights_give_equal_files(tmp_path):
    write(tmp_path / "a.h5", WEIGHTS)
    write(tmp_path / "b.h5", WEIGHTS.copy())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_arrays_that_a_layer_shares_with_another_are_left_out_and_the_gap_is_kept(path, tmp_path):
    arrays = {"first/0": np.ones(2, "f4"), "second/1": np.zeros(3, "f4")}
    write(path, arrays)
    assert bits_of(read(path).obj) == bits_of(arrays)
    with pytest.raises(SchemaError, match=r"holds layers of arrays; got first/0, second/1"):
        convert(path, tmp_path / "w.caffemodel")


def test_what_is_hdf5_is_read_as_such_whatever_its_name_says(path, tmp_path):
    write(path, WEIGHTS)
    renamed = path.rename(tmp_path / "w.caffemodel")
    assert read(renamed).obj == WEIGHTS
    assert read(renamed.rename(tmp_path / "w.hdf5")).obj == WEIGHTS


def test_a_block_of_the_user_in_front_of_the_file_is_passed_over(path, tmp_path):
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["data/ip/0"] = np.ones(3, "f4")
    assert hdf5.is_hdf5(path)
    assert read(path.rename(tmp_path / "w.caffemodel")).obj["ip"][0].shape == (3,)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", "<i4", ">i8", "u1"])
def test_numbers_of_any_byte_order_are_read(layer, dtype):
    array = np.arange(6, dtype=dtype).reshape(2, 3)
    (read_back,) = read(layer(lambda group: group.create_dataset("0", data=array))).obj["ip"]
    assert str(read_back.dtype) == np.dtype(dtype).newbyteorder("=").name
    np.testing.assert_array_equal(read_back.to_host(), array)


@hypothesis.given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    steps=st.lists(st.integers(1, 5), min_size=3, max_size=3),
    gzip=st.sampled_from([None, 1, 9]),
    shuffle=st.booleans(),
)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_chunks_compressed_or_not_are_what_h5py_reads(layer, shape, steps, gzip, shuffle):
    array = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    chunks = tuple(steps[: len(shape)])

    def fill(group):
        group.create_dataset(
            "0", data=array, chunks=chunks, compression=gzip, shuffle=shuffle, maxshape=[None] * array.ndim
        )

    np.testing.assert_array_equal(read(layer(fill)).obj["ip"][0].to_host(), array)


def huge(group):
    group.create_dataset("0", shape=(1 << 30, 1 << 10), dtype="f4")


def huge_chunks(group):
    group.create_dataset("0", shape=(1 << 30, 1 << 10), dtype="f4", chunks=(1 << 10, 1 << 10))


def bomb(group):
    """A chunk of 4 bytes whose gzip stream inflates to 256 MiB."""
    data = group.create_dataset("0", shape=(1,), chunks=(1,), dtype="f4", compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(bytes(256 * MIB), 9))


def flat_bomb(group):
    made = group.create_dataset("0", shape=(1 << 20, 300), dtype="f4", chunks=(1 << 20, 1), compression="gzip")
    zeros = zlib.compress(bytes(4 << 20))
    for column in range(300):
        made.id.write_direct_chunk((0, column), zeros)


def elsewhere(group):
    group.create_dataset("0", shape=(4,), dtype="f4", external=[("/etc/hostname", 0, 16)])


def virtual(group):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/none.h5", "x", (4,))
    group.create_virtual_dataset("0", layout)


def linked(link):
    def fill(group):
        group["0"] = link

    return fill


def dataset(**how):
    return lambda group: group.create_dataset("0", **how)


HOSTILE = {
    "external link": (
        linked(h5py.ExternalLink("/none.h5", "/x")),
        "is ExternalLink; expected what is in the file itself",
    ),
    "soft link": (linked(h5py.SoftLink("/data/ip/0")), "is SoftLink; expected what is in the file itself"),
    "loop": (lambda group: group.__setitem__("0", group), "'data/ip/0' is no data set; expected numbers"),
    "external data": (elsewhere, "has its elements in other files"),
    "virtual": (virtual, "has its elements in other files"),
    "huge": (
        huge,
        r"bytes that become 4398046511104 \(refused at the array 'data/ip/0'\); the limit is \d+. Pass max_bytes=",
    ),
    "huge chunks": (huge_chunks, "bytes that become 4398046511104"),
    "bomb": (bomb, "the chunk at .*: damaged, or not of 4 bytes"),
    "flat bomb": (flat_bomb, "bytes that become 1258291200 .* the limit is"),
    "never written": (dataset(shape=(4,), dtype="f4"), "needs 16 bytes for its shape .*; the file holds 0"),
    "chunks never written": (dataset(shape=(4,), dtype="f4", chunks=(2,)), "has 0 chunks, its shape needs 2"),
    "references": (dataset(shape=(2,), dtype=h5py.ref_dtype), "is of dtype object, expected numbers"),
    "texts": (dataset(data=["a", "b"]), "is of dtype object, expected numbers"),
    "structure": (dataset(data=np.zeros(2, [("a", "f4"), ("b", "i4")])), r"is of dtype \[.*\], expected numbers"),
    "nothing": (dataset(data=h5py.Empty("f4")), "expected numbers"),
    "lzf": (dataset(data=np.zeros(100), compression="lzf"), "is stored by lzf; expected gzip, shuffle or nothing"),
    "checksums": (dataset(data=np.zeros(100), fletcher32=True), "is stored by fletcher32; expected gzip"),
    "no number": (lambda group: group.create_dataset("w", data=np.zeros(2)), "the layer 'ip' has the member 'w'"),
    "no text": (lambda group: group.create_group(b"\xff"), r"'data/ip' has the name b'\\xff', which is not UTF-8"),
    "empty": (lambda _: None, "no layer has arrays"),
}


@pytest.mark.parametrize(("fill", "text"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_array_in_the_file_is_refused_by_name_within_the_limit(layer, fill, text):
    made = layer(fill)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=text) as raised:
            read(made)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert str(made) in str(raised.value)
    assert peak < 20 * MIB


def test_the_limit_is_over_all_arrays_and_can_be_chosen(layer):
    def fill(group):
        group["0"] = np.zeros(1000, "f4")
        for i in range(1, 10):
            group[str(i)] = group["0"]  # the same bytes under ten names

    made = layer(fill)
    assert len(read(made, max_bytes=40_000).obj["ip"]) == 10
    with pytest.raises(FormatError, match=r"become 40000 \(refused at the array 'data/ip/9'\); the limit is 39999"):
        read(made, max_bytes=39_999)


def test_the_limit_that_all_arrays_need_is_said_at_the_first(path):
    write(path, WeightCollection({name: [np.zeros(1000, "f4")] for name in "abc"}))
    with pytest.raises(FormatError, match=r"become 12000 \(refused at the array 'data/a/0'\).*Pass max_bytes=12000 if"):
        read(path, max_bytes=100)
    assert read(path, max_bytes=12000).obj.nbytes == 12000


# Found by nox -s fuzz: HDF5 2.0 ends the process where it is to tell the size of an index of chunks that is damaged.
ENDS = zlib.decompress(
    base64.b85decode(
        "c-"
        "rgqaB<`1lHy|K;9!7(|4_gq2;mz*#TQN9(dqBu62!z%!6byN5C*uI7#JBC*!UTM6iZ5CN#bUhk**BX0n<xsc!+TVFUSc@nFVHyP>"
        "t>k)B;KUOAkVwARxfN@RbcBtOu2bI)De{07iqIQ2U{L!=p?ne4~rZD176)EGT@Fm#i>jk)5#cwAf~_6M#w>RTvnUm>3zM1~WhnWI"
        "*RLi!d+>D#$ZHEKpz&=U@=82eMd!?q%lU00t&ABLg%INWd&wz%b~6pIKQiJS;?j{$^x^ggGqc8438Eo12G$5vU6k-"
        "e46R!eALDCI%K324*f;%3_#5=))q}Vp;~auz)5iFbxR{duUWUFqm*NnEYo(O$Tr<gF_1lHZTl15PDz36CM^U;QYWuOdde?I~W{b8"
        "1kUlzEKAr7ABy8U}R)QQ^Sf@_@e{-"
        "d5A*>n7V)&251A&bf6+uPy$QQ*a6Kx3~hrYEEe>&MEg5?cw?_VpyjS9g8)SJrB?#E48tEZ*n`Ug1_vN+0OAD>5dJ6_1*2dTjDk@x"
        "3Wg&<Ya$cXO_bn3bSH*O6M3?z-68-{!LaT"
    )
)


def test_what_the_data_sets_add_up_to_is_counted_without_their_indices(path):
    path.write_bytes(ENDS)
    done = run_limited(
        "read(sys.argv[1])", path, before="import h5py; from sparknet.formats import read", memory=1 << 30
    )
    assert done.returncode == 1, done.stderr  # a crash has the number of a signal
    assert re.search(
        r"FormatError: .*that become \d{13} \(refused at the array 'data/ip/1'\); the limit is", done.stderr
    )


def test_the_size_of_a_chunk_is_compared_with_the_file_before_it_is_read(layer):
    made = layer(dataset(data=np.zeros(4, "f4"), chunks=(4,)))
    key, more = struct.pack("<IIQQ", 16, 0, 0, 0), struct.pack("<IIQQ", 0x7FFFFFFF, 0, 0, 0)
    assert made.read_bytes().count(key) == 1
    made.write_bytes(made.read_bytes().replace(key, more))
    with pytest.raises(FormatError, match=r"the chunk at \(0,\): 2147483647 bytes in a file of"):
        read(made)


def test_the_chunks_of_an_array_are_found_in_one_go(layer):
    """To count from the first each time, as HDF5 does for the chunk of a number, would take 40,000 of them minutes."""
    made = layer(dataset(data=np.arange(40_000, dtype="f4"), chunks=(1,)))
    code = "print(int(read(sys.argv[1]).obj['ip'][0].to_host().sum(dtype='i8')))"
    done = run_limited(code, made, before="import h5py; from sparknet.formats import read", memory=1 << 30, seconds=60)
    assert done.stdout == f"{sum(range(40_000))}\n", done.stderr


@pytest.mark.parametrize("name", ["inception_3a/1x1", "", ".", "a\0b"])
def test_a_name_that_hdf5_takes_for_another_place_is_refused(path, name):
    with pytest.raises(SchemaError, match=re.escape(f"the layer {name!r} cannot be in a .caffemodel.h5 file")):
        write(path, WeightCollection({name: [np.ones(2, "f4")]}))
    assert not path.exists()


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        ({"w": np.ones(2, "f4")}, "holds layers of arrays; got 'w'"),
        (WeightCollection({"ip": [np.ones(2, "i4")]}), "tensor 'ip/0' is int32"),
    ],
)
def test_what_caffe_would_not_find_is_not_written(path, obj, text):
    with pytest.raises(SchemaError, match=text):
        write(path, obj)


def test_what_is_no_hdf5_is_refused(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(FormatError, match=r"damaged, or no \.caffemodel\.h5 file: OSError"):
        read(path)
    with pytest.raises(FileNotFoundError):
        read(path.with_name("none.h5"))


def test_a_cut_or_changed_file_is_refused_or_read_and_nothing_else(path):
    """In another process, because a fault in HDF5's library would end it."""
    write(path, WEIGHTS)
    code = f"""
import pathlib, random, warnings
from sparknet import FormatError
from sparknet.formats import read
path = pathlib.Path({str(path)!r}); data = path.read_bytes(); changed = path.with_name("changed.h5"); rng = random.Random(5)
for i in range(400):
    piece = bytearray(data[: rng.randrange(len(data))] if i % 4 == 0 else data)
    for _ in range(rng.randrange(1, 4)):
        if piece: piece[rng.randrange(len(piece))] = rng.randrange(256)
    changed.write_bytes(piece)
    try: read(changed, max_bytes=1 << 20)
    except FormatError: pass
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_the_package_the_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for use in (lambda: read(path), lambda: write(path, WEIGHTS)):
        with pytest.raises(MissingDependency, match=r"need the package h5py: pip install 'sparknet\[hdf5\]'"):
            use()


def test_a_conversion_keeps_every_bit(path, tmp_path):
    sparknet.save(tmp_path / "w.sparknet", WEIGHTS, metadata={"round": 3})
    assert convert(tmp_path / "w.sparknet", path).lost == ("round",)
    convert(path, tmp_path / "back.sparknet")
    assert sparknet.load(tmp_path / "back.sparknet") == WEIGHTS
