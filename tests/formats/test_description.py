"""A file of any format is told from its contents, and described."""

import contextlib
import itertools

import h5py
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import sparknet
from sparknet import FormatError, NDArray, WeightCollection
from sparknet.formats import ArrayInfo, describe, format_of, read, write

WEIGHTS = WeightCollection({"conv1": [np.ones((2, 1, 3, 3), "f4"), np.zeros(2, "f4")], "ip": [np.ones((3, 4), "f4")]})
STATE = {"iteration": NDArray(np.asarray(3)), "history/0": NDArray(np.ones((2, 3), "f4"))}
FILES = {
    "sparknet": WEIGHTS,
    "npy": np.ones((3, 2)),
    "npz": WEIGHTS,
    "safetensors": {"a.weight": np.ones(3, "f4")},
    "caffemodel": WEIGHTS,
    "caffemodel.h5": WEIGHTS,
    "binaryproto": np.ones((3, 4, 4), "f4"),
    "solverstate": STATE,
    "solverstate.h5": STATE,
}


@pytest.fixture(params=FILES)
def file(request, tmp_path):
    """A file of each format, under a name that says nothing."""
    write(tmp_path / "file", FILES[request.param], file_format=request.param)
    return tmp_path / "file", request.param


def test_the_format_is_told_from_the_contents(file):
    path, name = file
    assert format_of(path) == format_of(str(path)) == name
    assert describe(path).format == name


def test_what_has_an_unknown_suffix_is_read_by_its_contents(file):
    path, name = file
    renamed = path.rename(path.with_name("file.bin"))
    assert sparknet.dumps(read(renamed).obj) == sparknet.dumps(read(renamed, file_format=name).obj)


def test_weights_are_described_an_array_a_line(tmp_path):
    write(tmp_path / "w.caffemodel", WEIGHTS, metadata={"name": "LeNet"})
    info = describe(tmp_path / "w.caffemodel")
    assert (info.kind, info.parameters, info.nbytes, info.metadata) == ("weights", 32, 128, {"name": "LeNet"})
    assert info.tensors[0] == ArrayInfo("conv1/0", "float32", (2, 1, 3, 3), 72)
    lines = str(info).splitlines()
    size = (tmp_path / "w.caffemodel").stat().st_size
    assert lines[0] == f"caffemodel: weights, 3 tensors, 32 parameters, 128 bytes; the file has {size} bytes"
    assert lines[1].split() == ["conv1/0", "float32", "(2,", "1,", "3,", "3)", "72", "bytes"]
    assert lines[-1] == "  name: 'LeNet'"


@pytest.mark.parametrize("generation", ["v0", "v1", "new"])
def test_caffemodels_of_all_generations_are_known(tmp_path, wire, generation):
    layer = getattr(wire, generation)("ip", wire.blob(np.ones((2, 3), "f4")))
    (tmp_path / "a").write_bytes(wire.field(1, "net") + layer)
    info = describe(tmp_path / "a")
    assert (info.format, [tensor.name for tensor in info.tensors]) == ("caffemodel", ["ip/0"])


def test_elements_one_by_one_are_known_too(tmp_path, wire):
    (tmp_path / "a").write_bytes(wire.unpacked_blob(np.ones((1, 1, 2), "f4")))
    assert format_of(tmp_path / "a") == "binaryproto"


def test_prototxts_are_described_by_layers_and_fields(tmp_path):
    (tmp_path / "a").write_text(
        'name: "LeNet" layer { name: "data" type: "Input" } layer { name: "ip" type: "InnerProduct" }'
    )
    info = describe(tmp_path / "a")
    assert (info.format, info.kind, info.layers) == ("net", "prototxt", (("data", "Input"), ("ip", "InnerProduct")))
    assert str(info).splitlines()[0] == f"prototxt of a net, 2 layers, {info.file_nbytes} bytes"
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf# \xe9\n" + b'net: "x" base_lr: 0.01')
    assert describe(tmp_path / "a").metadata == {"net": "x", "base_lr": "0.01"}


@pytest.mark.parametrize("data", [b"", b"Dear reader,", b"\xff" * 30, b"PK", b"\x08\x01", bytes(100), b"\n\x03abc"])
def test_what_is_unknown_is_refused_with_what_is_known(tmp_path, data):
    (tmp_path / "a.npz").write_bytes(data)
    known = ", ".join(FILES)
    with pytest.raises(FormatError) as raised:
        describe(tmp_path / "a.npz")
    assert f"{len(data)} bytes of no known format; expected " in str(raised.value)
    assert all(name in str(raised.value) for name in known.split(", "))


@pytest.mark.parametrize(
    "length",
    [b"\xff" * 8 + b"\x7f", b"\xff" * 9 + b"\x01", b"\xff" * 9 + b"\x7f"],
    ids=["63 bits", "64 bits", "70 bits"],
)
def test_a_field_longer_than_any_file_is_no_field(tmp_path, length):
    (tmp_path / "a").write_bytes(b"\x2a" + length)
    assert format_of(tmp_path / "a") is None


def test_other_hdf5_is_refused_with_what_it_holds(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = file["label"] = np.zeros(3)
    with pytest.raises(FormatError, match=r"an HDF5 file, but neither the weights .*; it holds data, label"):
        describe(tmp_path / "a.h5")


@hypothesis.given(st.binary(max_size=60))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_bytes_are_described_or_refused(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with contextlib.suppress(FormatError):
        describe(tmp_path / "a")


def test_no_truncated_file_is_taken_for_another_format(file):
    path, name = file
    data = path.read_bytes()
    for end in itertools.chain(range(40, len(data), 7), [len(data) - 1]):
        path.write_bytes(data[:end])
        try:
            assert format_of(path) in (name, None)
        except FormatError:
            assert name.endswith("h5")
