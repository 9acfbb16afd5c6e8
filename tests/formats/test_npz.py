"""``.npy`` and ``.npz``: numpy reads what is written here and the other way round; bad bytes are refused in little memory."""

import io
import struct
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import NUMPY_DTYPES, max_examples

from sparknet import FormatError, SchemaError, WeightCollection
from sparknet.files import regular
from sparknet.formats import describe, read, take_layers, write

# what numpy.savez takes as a keyword and so cannot write, and names with the suffix of an entry
NAMES = ("file", "allow_pickle", "arr_1", "a/b", "é", "", "x.npy", "x")
ARRAYS = {name: np.full((2, i), i, "int32") for i, name in enumerate(NAMES)}


def npy(header, payload=b"", version=(1, 0)):
    """A .npy file with this header."""
    header = header if isinstance(header, str) else repr(header)
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + length + header.encode() + payload


def described(descr="<f4", shape=(2,), fortran_order=False):
    return {"descr": descr, "fortran_order": fortran_order, "shape": shape}


def zipped(entries, compression=zipfile.ZIP_STORED):
    """An archive of these entries, name -> bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


# ---- numpy on the other side
def test_numpy_reads_what_is_written(tmp_path):
    arrays = {dtype: np.ones((2, 3), dtype) for dtype in NUMPY_DTYPES}
    arrays |= {
        "0-d": np.array(7),
        "empty": np.zeros((0, 3)),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    write(tmp_path / "w.npz", arrays)
    with np.load(tmp_path / "w.npz", allow_pickle=False) as loaded:
        assert loaded.files == list(arrays)
        for name, array in arrays.items():
            assert loaded[name].dtype == array.dtype
            assert np.array_equal(loaded[name], array)
    write(tmp_path / "a.npy", arrays["fortran"])
    assert np.array_equal(np.load(tmp_path / "a.npy"), arrays["fortran"])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(tmp_path, save):
    arrays = {"big": np.arange(3, dtype=">f4"), "fortran": np.asfortranarray(np.eye(3)), "zeros": np.zeros(100_000)}
    save(tmp_path / "w.npz", **arrays)
    back = read(tmp_path / "w.npz").obj
    assert list(back) == list(arrays)
    for name, array in back.items():
        assert np.array_equal(array.to_host(), arrays[name])
        assert array.to_host().dtype.isnative
        assert array.to_host().flags.writeable


def test_every_name_comes_back(tmp_path):
    write(tmp_path / "w.npz", ARRAYS)
    back = read(tmp_path / "w.npz").obj
    assert list(back) == list(NAMES)
    assert all(np.array_equal(back[name].to_host(), array) for name, array in ARRAYS.items())


def test_arrays_are_found_under_the_names_of_their_layers(tmp_path):
    write(tmp_path / "w.npz", WeightCollection({"conv1": [np.ones((2, 1, 3, 3)), np.zeros(2)], "relu": []}))
    assert np.load(tmp_path / "w.npz").files == ["conv1/0", "conv1/1"]


def test_npy_holds_one_array_of_whatever_name(tmp_path):
    write(tmp_path / "a.npy", {"mean": np.ones(3)})
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.ones(3))
    with pytest.raises(SchemaError, match=r"a \.npy file holds one array; got 2: a, b"):
        write(tmp_path / "a.npy", {"a": np.ones(3), "b": np.ones(3)})
    with pytest.raises(SchemaError, match="got 0: nothing"):
        write(tmp_path / "a.npy", {})
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.ones(3))


def test_a_nul_in_a_name_is_refused(tmp_path):
    with pytest.raises(SchemaError, match="NUL character, where a zip archive ends a name"):
        write(tmp_path / "w.npz", {"a\0b": np.ones(1)})
    assert list(tmp_path.iterdir()) == []


# ---- bad bytes
def refused(path, data, text):
    """The file is refused with this text, and in little memory."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=text) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < (4 << 20) + 4 * len(data)
    finally:
        tracemalloc.stop()
    assert path.name in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "damaged, or no .npy file"),
        (b"PK\x03\x04", "damaged, or no .npy file"),
        (npy(described(shape=(1 << 42,)), bytes(8)), "has 8 bytes; its shape .* need 17592186044416"),
        (npy(described(shape=(1 << 32, 1 << 32)), bytes(8)), "has 8 bytes"),
        (npy(described(shape=(0, 1 << 62)), b""), "damaged"),
        (npy(described(shape=(3,)), bytes(8)), "has 8 bytes; .* need 12"),
        (npy(described(shape=(1,)), bytes(8)), "has 8 bytes; .* need 4"),
        (npy(described(shape=(-1,)), bytes(8)), "expected plain numbers"),
        (npy(described(shape=(2.0,)), bytes(8)), "damaged"),
        (npy(described("|O", (1,)), bytes(8)), "expected plain numbers"),
        (npy(described("|V0", (1 << 60,)), b""), "expected plain numbers"),
        (npy(described("<U1", (2,)), bytes(8)), "dtype <U1 cannot be serialized"),
        (npy(described("<f2,<i2", (2,)), bytes(8)), "cannot be serialized"),
        (npy(described("<M8[s]", (1,)), bytes(8)), "cannot be serialized"),
        (npy(described("|b1", (2,)), b"\x01\x02"), "neither 0 nor 1"),
        (npy(described("f4," * 2000, (1,)), bytes(4)), "tensor ''"),
        (npy("-" * 9000 + "1"), "damaged"),
        (npy("(" * 9000), "damaged"),
        (npy("{}"), "damaged"),
        (npy(" " * 60_000), "damaged"),
        (npy(described(), bytes(8), version=(3, 0)), "damaged"),
    ],
)
def test_a_bad_npy_is_refused(tmp_path, data, text):
    refused(tmp_path / "a.npy", data, text)
    error = refused(
        tmp_path / "a.npz", zipped({"w.npy": data}), text.replace("tensor ''", "tensor 'w'").replace("npy", "npz")
    )
    assert error.tensor == "w"


def test_a_header_of_python_2_is_read(tmp_path):
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 2L), }\n"
    data = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + np.arange(6, dtype="<f4").tobytes()
    (tmp_path / "a.npy").write_bytes(data)
    assert np.array_equal(read(tmp_path / "a.npy").obj, np.arange(6).reshape(3, 2))


def test_numpy_does_not_look_for_python_2_in_what_is_no_header(tmp_path):
    """It takes seconds for these spaces."""
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n" + b" " * 9000 + b"\xc0\x80"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(12))
    with pytest.raises(FormatError, match=r"no \.npy file: IndentationError"):
        read(tmp_path / "a.npy")


def test_brackets_without_end_in_a_header_are_not_taken_for_a_lack_of_memory(tmp_path):
    text = b"{'a':" * 300
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(FormatError, match=r"no \.npy file: (ValueError: a header of too many brackets|SyntaxError)"):
        read(tmp_path / "a.npy")


def test_no_pickle_is_loaded(tmp_path):
    np.savez(tmp_path / "w.npz", objects=np.array([print], dtype=object))
    with pytest.raises(FormatError, match="tensor 'objects' has dtype object"):
        read(tmp_path / "w.npz")


def test_an_archive_of_other_things_is_refused(tmp_path):
    refused(tmp_path / "w.npz", zipped({"data.pkl": b"x"}), r"holds 'data.pkl'; expected nothing but arrays")
    refused(tmp_path / "w.npz", b"PK\x03\x04" * 100, "damaged, or no .npz file: BadZipFile")


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", npy(described(), bytes(8)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", npy(described(), bytes(8)))
    refused(tmp_path / "w.npz", file.getvalue(), "a name occurs twice among a.npy, a.npy")


def test_a_changed_payload_is_noticed(tmp_path):
    path = tmp_path / "w.npz"
    write(path, {"a": np.arange(1000)})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    refused(path, data, "tensor 'a': damaged.*Bad CRC-32")


def test_a_bomb_is_refused_before_it_is_inflated_and_read_if_it_is_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(regular, "FREE", 1 << 20)
    data = npy(described("|u1", (32 << 20,)), bytes(32 << 20))
    bomb = zipped({"a.npy": data}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 40_000
    text = f"bytes that become {len(data)}; the limit is 1048576. Pass max_bytes={len(data)} if you trust"
    refused(tmp_path / "w.npz", bomb, text)
    assert read(tmp_path / "w.npz", max_bytes=len(data)).obj["a"].shape == (32 << 20,)
    with pytest.raises(FormatError, match=f"the limit is {len(data) - 1}"):
        read(tmp_path / "w.npz", max_bytes=len(data) - 1)
    for call in (read, describe, lambda path, **options: take_layers(WeightCollection({}), path, **options)):
        with pytest.raises(
            ValueError, match=r"^max_bytes: got '1GB', expected a number of bytes, such as 2\*\*30, or None"
        ):
            call(tmp_path / "w.npz", max_bytes="1GB")


def test_an_entry_gives_no_more_than_the_archive_says(tmp_path):
    data = npy(described("|u1", (8 << 20,)), bytes(8 << 20))
    archive = zipped({"a.npy": data}, zipfile.ZIP_DEFLATED)
    size = struct.pack("<I", len(data))
    for said in (4 << 20, 12 << 20):
        refused(tmp_path / "w.npz", archive.replace(size, struct.pack("<I", said)), "tensor 'a'")


# each array small, so that a mutation often hits the structure
GOOD = [
    zipped({"a/0.npy": npy(described(), bytes(8)), "a/1.npy": npy(described("|b1", ()), b"\1")}),
    zipped({"a.npy": npy(described(shape=(200,)), bytes(800))}, zipfile.ZIP_DEFLATED),
    npy(described(shape=(1, 2)), bytes(8)),
]


@max_examples(400)
@given(data=st.sampled_from(GOOD), draw=st.data())
def test_a_mutated_file_raises_a_format_error_or_is_a_file(tmp_path_factory, data, draw):
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        position = draw.draw(st.integers(0, len(changed)))
        changed[position : position + draw.draw(st.integers(0, 4))] = draw.draw(st.binary(max_size=6))
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(changed)
    with suppress(FormatError):
        read(path, file_format="npz" if data.startswith(b"PK") else "npy")


@pytest.mark.parametrize("data", GOOD)
def test_every_truncation_is_refused(tmp_path, data):
    path = tmp_path / "cut"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(FormatError):
            read(path, file_format="npz" if data.startswith(b"PK") else "npy")
