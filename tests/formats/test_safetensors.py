"""``.safetensors``: the package's own functions on the other side; bytes that it refuses are refused."""

import json
import sys
from contextlib import suppress

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from strategies import NUMPY_DTYPES, max_examples

from sparknet import FormatError, MissingDependency, SchemaError, WeightCollection, save
from sparknet.files.regular import open_regular
from sparknet.formats import convert, read, write

WEIGHTS = WeightCollection({"ip2": [np.eye(2, dtype="f4")], "conv1": [np.ones((2, 1, 3, 3), "f4"), np.zeros(2, "f4")]})


def forged(header, payload=b""):
    """A file with this header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + payload


def tensor(dtype="F32", shape=(2,), start=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


# ---- the package on the other side
def test_the_package_reads_what_is_written(tmp_path):
    arrays = {name: np.ones((2, 3), name) for name in NUMPY_DTYPES if name != "complex128"}
    arrays |= {"bfloat16": np.full((2, 1), 1.5, ml_dtypes.bfloat16), "0-d": np.array(7), "empty": np.zeros((0, 3))}
    arrays |= {"big": np.arange(3, dtype=">f4"), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    write(tmp_path / "w.safetensors", arrays)
    loaded = safetensors.numpy.load_file(tmp_path / "w.safetensors")
    assert set(loaded) == set(arrays)
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype.newbyteorder("=")
        assert np.array_equal(loaded[name], array)


def test_what_the_package_writes_is_read(tmp_path):
    arrays = {"conv1.weight": np.ones((2, 3), "f2"), "conv1.bias": np.zeros(2, "i8"), "0-d": np.array(True)}
    safetensors.numpy.save_file(arrays, tmp_path / "w.safetensors", {"format": "pt"})
    obj, metadata = read(tmp_path / "w.safetensors")
    assert list(obj) == sorted(arrays)
    assert metadata == {"format": "pt"}
    for name, array in obj.items():
        assert array.to_host().dtype == arrays[name].dtype
        assert np.array_equal(array.to_host(), arrays[name])
        assert array.to_host().flags.writeable


def test_tensors_and_metadata_are_of_the_same_file_whatever_is_saved_in_its_place(tmp_path, monkeypatch):
    def replaced(path):
        file = open_regular(path)
        write(path, {"other": np.zeros(3)}, metadata={"epoch": "2"})
        return file

    write(tmp_path / "w.safetensors", WEIGHTS, metadata={"epoch": "1"})
    monkeypatch.setattr("sparknet.formats.safetensors.open_regular", replaced)
    obj, metadata = read(tmp_path / "w.safetensors", file_format="safetensors")
    assert (obj, metadata) == (WEIGHTS, {"epoch": "1"})


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_float8_is_what_the_format_calls_it(tmp_path, dtype):
    write(tmp_path / "w.safetensors", {"a": np.ones(2, getattr(ml_dtypes, dtype))})
    ((_, found),) = safetensors.deserialize((tmp_path / "w.safetensors").read_bytes())
    assert found["dtype"] == {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}[dtype]


# ---- order and metadata
def test_weights_come_back_in_the_order_of_the_net(tmp_path):
    write(tmp_path / "w.safetensors", WEIGHTS)
    assert list(safetensors.numpy.load_file(tmp_path / "w.safetensors")) != ["ip2/0", "conv1/0", "conv1/1"]
    assert read(tmp_path / "w.safetensors").obj == WEIGHTS


@pytest.mark.parametrize("order", ['["a", "gone"]', "3", '"text"', '{"a": 1}', "[[1], {}]", "[", "[" * 100_000])
def test_an_order_that_says_nothing_of_the_tensors_is_passed_over(tmp_path, order):
    safetensors.numpy.save_file(
        {"b": np.ones(1), "a": np.ones(1)}, tmp_path / "w.safetensors", {"sparknet.names": order}
    )
    obj, metadata = read(tmp_path / "w.safetensors")
    assert (list(obj), metadata) == (["a", "b"], {})


def test_an_order_that_is_not_of_all_tensors_comes_before_the_rest(tmp_path):
    arrays = {name: np.ones(1) for name in "abc"}
    safetensors.numpy.save_file(arrays, tmp_path / "w.safetensors", {"sparknet.names": '["c", "gone", "b"]'})
    assert list(read(tmp_path / "w.safetensors").obj) == ["c", "b", "a"]


def test_the_key_of_the_order_is_refused_in_metadata(tmp_path):
    with pytest.raises(SchemaError, match=r"w\.safetensors': the metadata has the key 'sparknet\.names'.*; rename it"):
        write(tmp_path / "w.safetensors", WEIGHTS, metadata={"sparknet.names": "mine"})
    assert list(tmp_path.iterdir()) == []


def test_metadata_is_kept_as_text(tmp_path):
    said = {"note": "é", "round": 3, "loss": 0.5, "ok": True, "none": None, "raw": b"\0\xff", "list": [1, {"a": "b"}]}
    save(tmp_path / "w.msg", WEIGHTS, metadata=said)
    assert convert(tmp_path / "w.msg", tmp_path / "w.safetensors").lost == ()
    expected = {"note": "é", "round": "3", "loss": "0.5", "ok": "true", "none": "null", "raw": '"00ff"'}
    expected["list"] = '[1, {"a": "b"}]'
    assert read(tmp_path / "w.safetensors").metadata == expected
    convert(tmp_path / "w.safetensors", tmp_path / "back.msg")
    assert read(tmp_path / "back.msg") == (WEIGHTS, expected)


# ---- what it cannot hold
def test_complex128_is_refused_by_name(tmp_path):
    with pytest.raises(
        SchemaError, match=r"tensor 'ip/0' is complex128; a \.safetensors file holds bool, int8"
    ) as caught:
        write(tmp_path / "w.safetensors", WeightCollection({"ip": [np.ones(1, complex)]}))
    assert (caught.value.tensor, caught.value.got) == ("ip/0", "complex128")
    assert list(tmp_path.iterdir()) == []


def test_names_that_the_format_has_no_room_for_are_refused(tmp_path):
    with pytest.raises(SchemaError, match=r"'__metadata__', which is the name of .*; rename it"):
        write(tmp_path / "w.safetensors", {"__metadata__": np.zeros(1)})
    with pytest.raises(
        SchemaError, match=r"a \.safetensors file has no place for these names and metadata: .*header too large"
    ):
        write(tmp_path / "w.safetensors", WEIGHTS, metadata={"note": "a" * 100_000_000})
    assert list(tmp_path.iterdir()) == []


def test_files_have_the_bytes_of_the_package(tmp_path):
    arrays = {"é": np.ones((2, 3), "f4"), "b": np.zeros(2, "i8"), "a": np.ones(3, "f4"), "0-d": np.array(True)}
    write(tmp_path / "w.safetensors", arrays)
    theirs = safetensors.numpy.save(arrays, {"sparknet.names": json.dumps(list(arrays), ensure_ascii=False)})
    assert (tmp_path / "w.safetensors").read_bytes() == theirs


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    write(tmp_path / "w.safetensors", WEIGHTS)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (lambda: read(tmp_path / "w.safetensors"), lambda: write(tmp_path / "x.safetensors", WEIGHTS)):
        with pytest.raises(MissingDependency, match=r"pip install 'sparknet\[convert\]'") as caught:
            call()
        assert caught.value.name == "safetensors"


# ---- bad bytes
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "damaged, or no .safetensors file: SafetensorError"),
        (b"\xff" * 100, "header too large"),
        (forged({"a": tensor(shape=(1 << 40,))}, bytes(8)), "damaged"),
        (forged({"a": tensor(end=1 << 40)}, bytes(8)), "damaged"),
        (forged({"a": tensor()}, bytes(9)), "damaged"),
        (forged({"a": tensor(), "b": tensor()}, bytes(8)), "damaged"),
        (forged({"a": tensor(shape=(0, 1 << 63), end=0)}), "tensor 'a'|damaged"),
        (forged({"a": tensor(shape=[1] * 100, end=4)}, bytes(4)), "tensor 'a'|damaged"),
        (forged({"a": tensor("F8_E8M0", (8,))}, bytes(8)), "tensor 'a' is F8_E8M0; expected one of BOOL, I8"),
        (forged({"a": tensor("BOOL", (8,))}, b"\x02" * 8), "tensor 'a' holds a bool that is neither 0 nor 1"),
    ],
)
def test_bad_bytes_are_refused(tmp_path, data, text):
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=text):
        read(path)


GOOD = safetensors.numpy.save({"a/0": np.ones(2, "f4"), "a/1": np.array(True)}, {"k": "v", "sparknet.names": '["a/0"]'})


@max_examples(400)
@given(st.data())
def test_a_mutated_file_raises_a_format_error_or_is_a_file(tmp_path_factory, draw):
    changed = bytearray(GOOD)
    for _ in range(draw.draw(st.integers(1, 4))):
        position = draw.draw(st.integers(0, len(changed)))
        piece = draw.draw(st.one_of(st.binary(max_size=4), st.text('0123456789[]{}",:', max_size=4).map(str.encode)))
        changed[position : position + draw.draw(st.integers(0, 4))] = piece
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    path.write_bytes(changed)
    with suppress(FormatError):
        read(path)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "cut.safetensors"
    for length in range(len(GOOD)):
        path.write_bytes(GOOD[:length])
        with pytest.raises(FormatError):
            read(path)
