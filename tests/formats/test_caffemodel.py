"""``.caffemodel`` and ``.binaryproto`` without Caffe: files that Caffe wrote, and files made by hand.

What Caffe itself makes of the same files is in ``test_caffe.py``.
"""

import importlib.util
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import max_examples

from sparknet import FormatError, MissingDependency, NDArray, SchemaError, WeightCollection
from sparknet.formats import blobs, caffemodel, convert, read, write

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
_spec = importlib.util.spec_from_file_location("make_golden", HERE / "make_golden.py")
make_golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_golden)

W = np.arange(6, dtype="float32").reshape(2, 3)
B = np.array([-0.0, np.nan], "float32")


@pytest.fixture
def read_bytes(tmp_path):
    """A function that reads these bytes as a file of this format."""

    def call(data, file_format="caffemodel"):
        path = tmp_path / f"file.{file_format}"
        path.write_bytes(data)
        return read(path)

    return call


# ---- files that Caffe wrote
def test_a_file_of_caffe_is_read():
    obj, metadata = read(GOLDEN / "net.golden", file_format="caffemodel")
    assert obj == WeightCollection(make_golden.weights())
    assert list(obj) == ["conv1", "inception_3a/1x1", "ip1"]
    assert metadata == {"name": "golden"}


def test_a_file_of_2014_is_read_with_the_four_axes_that_its_arrays_have():
    obj, metadata = read(GOLDEN / "old.golden", file_format="caffemodel")
    expected = {
        name: [array.reshape(make_golden.old_shape(array.shape)) for array in arrays]
        for name, arrays in make_golden.weights().items()
    }
    assert obj == WeightCollection(expected)
    assert metadata == {"name": "golden"}


def test_a_mean_image_of_caffe_is_read():
    mean = read(GOLDEN / "mean.golden", file_format="binaryproto").obj
    assert isinstance(mean, NDArray)
    assert np.array_equal(mean.to_host(), make_golden.mean()[np.newaxis])


# ---- files made by hand
@pytest.mark.parametrize("generation", ["new", "v1", "v0"])
def test_layers_of_each_generation_are_read(wire, read_bytes, generation):
    entry = getattr(wire, generation)
    data = wire.field(1, "net") + entry("data") + entry("ip", wire.blob(W), wire.blob(B)) + entry("relu")
    obj, metadata = read_bytes(data)
    assert obj == WeightCollection({"ip": [W, B]})
    assert metadata == {"name": "net"}


def test_layers_of_two_generations_in_a_file_are_refused(wire, read_bytes):
    with pytest.raises(FormatError, match=r"both layers of 2014 \('layers'\) and of today"):
        read_bytes(wire.new("a", wire.blob(W)) + wire.v1("b", wire.blob(B)))


@pytest.mark.parametrize("array", [W, W.astype("f8"), np.zeros(0, "f4"), np.array(3, "f4")])
def test_elements_may_be_packed_or_not(wire, read_bytes, array):
    for blob in wire.blob(array), wire.unpacked_blob(array):
        assert read_bytes(wire.new("ip", blob)).obj == WeightCollection({"ip": [array]})


def test_packed_elements_may_come_in_pieces(wire, read_bytes):
    blob = wire.field(5, W[0].tobytes()) + wire.field(7, wire.field(1, b"\2\3")) + wire.field(5, W[1].tobytes())
    assert read_bytes(wire.new("ip", blob)).obj == WeightCollection({"ip": [W]})


def test_any_old_field_makes_four_axes_whatever_the_shape_says(wire, read_bytes):
    blob = wire.blob(W, old=True, shape=(1, 1, 2, 3)) + wire.field(7, wire.field(1, b"\6"))
    assert read_bytes(wire.new("ip", blob)).obj["ip"][0].shape == (1, 1, 2, 3)
    with pytest.raises(FormatError, match=r"tensor 'ip/0' has 24 bytes of float32; its shape is \(1, 0, 0, 0\)"):
        read_bytes(wire.new("ip", wire.field(1, 1) + wire.field(5, W.tobytes())))


def test_fields_that_weights_are_not_in_do_not_matter(wire, read_bytes):
    blob = wire.blob(W) + wire.field(6, W.tobytes()) + wire.field(9, b"x") + wire.field(1000, 3)
    data = wire.field(4, 7) + wire.field(3, "data") + wire.field(100, wire.field(1, "ip") + wire.field(7, blob))
    assert read_bytes(data + wire.field(5000, b"?")).obj == WeightCollection({"ip": [W]})


def test_arrays_are_read_only_and_copies_are_not(wire, read_bytes):
    array = read_bytes(wire.new("ip", wire.blob(W))).obj["ip"][0]
    assert not array.to_host().flags.writeable
    assert read_bytes(wire.new("ip", wire.blob(W))).obj.copy()["ip"][0].to_host().flags.writeable


# ---- writing
def test_what_is_written_has_the_bytes_of_the_specification(wire, tmp_path):
    weights = WeightCollection({"a/b": [W, B], "relu": [], "é": [W.astype("f8"), np.array(1, "f4")]})
    write(tmp_path / "w.caffemodel", weights, metadata={"name": "net"})

    def blob(array):  # protobuf writes fields in the order of their numbers
        shape = wire.field(7, wire.field(1, bytes(array.shape)) if array.ndim else b"")
        data = wire.field(8 if array.dtype == "f8" else 5, array.tobytes())
        return shape + data if array.dtype == "f8" else data + shape

    expected = wire.field(1, "net") + wire.new("a/b", blob(W), blob(B))
    expected += wire.new("é", blob(W.astype("f8")), blob(np.array(1, "f4")))
    assert (tmp_path / "w.caffemodel").read_bytes() == expected


def test_arrays_of_old_files_are_written_in_old_fields_again(wire, tmp_path):
    bias = B.reshape(1, 1, 1, 2)
    write(tmp_path / "w.caffemodel", WeightCollection({"ip": [bias, np.ones((1, 2, 1, 1), "f4")]}))
    data = (tmp_path / "w.caffemodel").read_bytes()
    assert wire.blob(bias, old=True) in data
    assert wire.field(7, wire.field(1, b"\1\2\1\1")) in data


def test_a_mapping_whose_names_follow_the_rule_is_written(tmp_path):
    np.savez(tmp_path / "w.npz", **{"ip/0": W, "ip/1": B})
    assert convert(tmp_path / "w.npz", tmp_path / "w.caffemodel").kind == "weights"
    assert read(tmp_path / "w.caffemodel").obj == WeightCollection({"ip": [W, B]})


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        ({"ip.weight": W}, r"holds layers of arrays; got ip\.weight, expected names such as 'conv1/0'"),
        (NDArray(W), "got arr_0"),
        ({}, "got nothing"),
        (WeightCollection({"relu": []}), "got nothing"),
        (
            WeightCollection({"a": [W], "ip": [W, W.astype("f2")]}),
            r"tensor 'ip/1' is float16; .* holds float32, float64\. Conv",
        ),
        ({"ip/0": np.arange(3)}, "tensor 'ip/0' is int64"),
        (WeightCollection({"\ud800": [W]}), "surrogates not allowed"),
    ],
)
def test_what_it_cannot_hold_is_refused_before_anything_is_written(tmp_path, obj, text):
    with pytest.raises(SchemaError, match=text):
        write(tmp_path / "w.caffemodel", obj)
    assert list(tmp_path.iterdir()) == []


def test_more_than_two_gib_are_refused_before_anything_is_written(tmp_path):
    layer = np.zeros(1 << 28, "f4")  # 1 GiB that is never touched, twice
    with pytest.raises(SchemaError, match=r"2147483648 bytes of arrays; .* protobuf, which has at most 2147483647"):
        write(tmp_path / "w.caffemodel", WeightCollection({"a": [layer], "b": [layer]}))
    assert list(tmp_path.iterdir()) == []


def test_the_bound_of_the_size_is_one(tmp_path, monkeypatch):
    shapes = [(), (1,) * 32, (200, 1), (1, 1, 300, 1)]
    weights = WeightCollection({"é" * 50: [np.ones(shape, "f8") for shape in shapes], "b": [np.ones(1, "f4")] * 9})
    write(tmp_path / "w.caffemodel", weights, metadata={"name": "n" * 400})
    monkeypatch.setattr(caffemodel, "LIMIT", (tmp_path / "w.caffemodel").stat().st_size)
    with pytest.raises(SchemaError, match="at most"):
        write(tmp_path / "w.caffemodel", weights)


# ---- mean images
@pytest.mark.parametrize("shape", [(3, 2, 2), (1, 3, 2, 2)])
def test_a_mean_image_comes_back_with_a_leading_one(wire, tmp_path, shape):
    mean = np.arange(12, dtype="float32").reshape(shape)
    write(tmp_path / "mean.binaryproto", mean)
    assert np.array_equal(read(tmp_path / "mean.binaryproto").obj.to_host(), mean.reshape(1, 3, 2, 2))
    assert (tmp_path / "mean.binaryproto").read_bytes() == wire.blob(mean, old=True, shape=(1, 3, 2, 2))


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (np.ones((2, 2), "f4"), r"shape \(c, h, w\) or \(1, c, h, w\); got \(2, 2\)"),
        (np.ones((2, 3, 2, 2), "f4"), "got"),
        (np.ones((3, 2, 2)), r"is float64; a \.binaryproto file holds float32"),
        ({"a": np.ones((3, 2, 2), "f4"), "b": np.ones((3, 2, 2), "f4")}, "holds one array; got 2: a, b"),
    ],
)
def test_what_is_no_mean_image_is_refused(tmp_path, obj, text):
    with pytest.raises(SchemaError, match=text):
        write(tmp_path / "mean.binaryproto", obj)
    assert list(tmp_path.iterdir()) == []


# ---- bad bytes
@pytest.mark.parametrize("count", [1 << 31, 1 << 40, 1 << 62, 1 << 63, -1])
@pytest.mark.parametrize("file_format", ["caffemodel", "binaryproto"])
def test_a_shape_that_promises_more_than_there_is_costs_no_memory(wire, read_bytes, count, file_format):
    tracemalloc.start()
    for dims in (count,), (count, count), (0, count):
        for blob in wire.blob(W, shape=dims), wire.blob(np.zeros(0, "f4"), shape=dims):
            with suppress(FormatError):
                obj = read_bytes(wire.new("ip", blob) if file_format == "caffemodel" else blob, file_format).obj
                assert 0 in (obj["ip"][0] if file_format == "caffemodel" else obj).shape
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda _: b"", "no layer has arrays; expected a .caffemodel file"),
        (lambda wire: wire.new("data"), "no layer has arrays"),
        (lambda _: b'name: "net"\nlayer { name: "ip" }\n', "damaged, or no .caffemodel file: DecodeError"),
        (lambda _: b"\x0a\xff\xff\xff\xff\x0f", "DecodeError"),
        (lambda _: b"\x0b" * 100_000, "no .caffemodel file: DecodeError"),
        (lambda wire: wire.new(b"\xff\xfe", wire.blob(W)), r"the name b'\\xff\\xfe' is not UTF-8"),
        (lambda wire: wire.field(1, b"\xff") + wire.new("ip", wire.blob(W)), "not UTF-8"),
        (lambda wire: wire.new("ip", wire.blob(W)) * 2, "the layer 'ip' occurs twice"),
        (
            lambda wire: wire.new("ip", wire.blob(W, shape=(2, 4))),
            r"'ip/0' has 24 bytes of float32; its shape is \(2, 4\)",
        ),
        (lambda wire: wire.new("ip", wire.blob(W, shape=(-2, -3))), r"its shape is \(-2, -3\)"),
        (lambda wire: wire.new("ip", wire.blob(W, shape=(1,) * 31 + (2, 3))), "its shape is"),
        (lambda wire: wire.new("ip", wire.field(5, W.tobytes()[:-1])), "has 23 bytes"),
        (lambda wire: wire.new("ip", b""), r"has 0 bytes of float32; its shape is \(\)"),
    ],
)
def test_bad_bytes_are_refused(wire, read_bytes, make, text):
    with pytest.raises(FormatError, match=text) as caught:
        read_bytes(make(wire))
    assert "file.caffemodel" in str(caught.value)
    assert hasattr(caught.value, "tensor")


def test_a_file_over_two_gib_is_refused_unread(tmp_path):
    path = tmp_path / "w.caffemodel"
    with path.open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(FormatError, match="2147483648 bytes; a message of protobuf has at most 2147483647"):
        read(path)


@max_examples(400)
@given(st.data())
def test_a_mutated_file_raises_a_format_error_or_is_a_file(wire, tmp_path_factory, draw):
    entry = draw.draw(st.sampled_from([wire.new, wire.v1, wire.v0]))
    good = entry("ip", wire.blob(W), wire.unpacked_blob(B)) + entry("a", wire.blob(W, old=True, shape=(1, 1, 2, 3)))
    file_format = draw.draw(st.sampled_from(["caffemodel", "binaryproto"]))
    changed = bytearray(good if file_format == "caffemodel" else wire.blob(W))
    for _ in range(draw.draw(st.integers(1, 4))):
        position = draw.draw(st.integers(0, len(changed)))
        changed[position : position + draw.draw(st.integers(0, 4))] = draw.draw(st.binary(max_size=6))
    path = tmp_path_factory.getbasetemp() / f"mutated.{file_format}"
    path.write_bytes(changed)
    with suppress(FormatError):
        read(path)


def test_every_truncation_is_refused_or_ends_between_layers(wire, tmp_path):
    layers = [wire.new("a", wire.blob(W)), wire.new("b", wire.blob(B), wire.blob(W))]
    data, path = b"".join(layers), tmp_path / "cut.caffemodel"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        if length == len(layers[0]):  # a message of protobuf does not say how long it is
            assert list(read(path).obj) == ["a"]
        else:
            with pytest.raises(FormatError):
                read(path)


# ---- the package
def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    blobs.schema.cache_clear()
    for name in "w.caffemodel", "w.binaryproto":
        with pytest.raises(
            MissingDependency, match=r"the package protobuf: pip install 'sparknet\[convert\]'"
        ) as caught:
            read(tmp_path / name)
        assert caught.value.name == "protobuf"
