"""What Caffe reads is what was written here, and what Caffe writes is what is read here."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from sparknet import FormatError, WeightCollection
from sparknet.formats import blobs, convert, read, write
from sparknet.nets.caffe.runtime import load

pytestmark = pytest.mark.caffe

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("make_golden", HERE / "make_golden.py")
make_golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_golden)


@pytest.fixture(scope="module")
def caffe():
    return load()


@pytest.fixture
def net(caffe):
    """The net behind the golden files, its arrays all -1."""
    net = caffe.Net(str(make_golden.NET), caffe.TEST)
    for blob_list in net.params.values():
        for blob in blob_list:
            blob.data[...] = -1
    return net


def weights_of(net):
    return WeightCollection({name: [blob.data.copy() for blob in params] for name, params in net.params.items()})


GOLDEN_WEIGHTS = WeightCollection(make_golden.weights())


def test_caffe_loads_what_is_written(net, tmp_path):
    write(tmp_path / "w.caffemodel", GOLDEN_WEIGHTS)
    net.copy_from(str(tmp_path / "w.caffemodel"))
    assert weights_of(net) == GOLDEN_WEIGHTS


@pytest.mark.parametrize("between", [".sparknet", ".npz", ".safetensors"])
def test_what_caffe_saves_goes_through_any_format_and_is_loaded_by_caffe(net, tmp_path, between):
    rng = np.random.default_rng(5)
    for params in net.params.values():
        for blob in params:
            blob.data[...] = rng.standard_normal(blob.data.shape)
    before = weights_of(net)
    net.save(str(tmp_path / "saved.caffemodel"))
    assert read(tmp_path / "saved.caffemodel").obj == before
    convert(tmp_path / "saved.caffemodel", tmp_path / f"w{between}")
    convert(tmp_path / f"w{between}", tmp_path / "back.caffemodel")
    for params in net.params.values():
        for blob in params:
            blob.data[...] = 0
    net.copy_from(str(tmp_path / "back.caffemodel"))
    assert weights_of(net) == before


def test_the_bytes_are_those_that_caffe_writes_for_the_same_message(caffe, tmp_path):
    weights = {**make_golden.weights(), "double": [np.array([0.1, np.nan])], "scalar": [np.array(2, "f4")]}
    write(tmp_path / "w.caffemodel", WeightCollection(weights), metadata={"name": "é"})
    data = (tmp_path / "w.caffemodel").read_bytes()
    message = caffe.proto.caffe_pb2.NetParameter.FromString(data)
    assert message.SerializeToString() == data
    assert (message.name, [layer.name for layer in message.layer]) == ("é", list(weights))


def test_the_golden_files_are_what_caffe_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(make_golden, "GOLDEN", tmp_path)
    make_golden.main()
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in (HERE / "golden").glob("*.golden")}


# ---- old files
def test_a_file_of_2014_gives_the_net_the_same_weights_through_us(net, tmp_path):
    old = tmp_path / "old.caffemodel"
    old.write_bytes((HERE / "golden" / "old.golden").read_bytes())
    convert(old, tmp_path / "w.sparknet")
    convert(tmp_path / "w.sparknet", tmp_path / "new.caffemodel")
    net.copy_from(str(tmp_path / "new.caffemodel"))
    assert weights_of(net) == GOLDEN_WEIGHTS
    upgraded = make_golden.weights()
    for params in net.params.values():
        for blob in params:
            blob.data[...] = 0
    net.copy_from(str(old))  # which Caffe upgrades
    assert weights_of(net) == WeightCollection(upgraded)


@pytest.mark.parametrize("generation", ["new", "v1", "v0"])
@pytest.mark.parametrize("form", ["blob", "unpacked_blob"])
def test_caffe_makes_the_same_of_files_made_by_hand(wire, net, tmp_path, generation, form):
    entry, blob = getattr(wire, generation), getattr(wire, form)
    path = tmp_path / "w.caffemodel"
    path.write_bytes(b"".join(entry(name, *map(blob, arrays)) for name, arrays in make_golden.weights().items()))
    net.copy_from(str(path))
    assert weights_of(net) == GOLDEN_WEIGHTS == read(path).obj


def test_caffe_too_refuses_a_file_with_layers_of_two_generations(wire, net, tmp_path):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(
        b"".join(entry("ip1", *map(wire.blob, make_golden.weights()["ip1"])) for entry in (wire.new, wire.v1))
    )
    with pytest.raises(RuntimeError, match="includes both 'layer' and 'layers' fields"):
        net.copy_from(str(path))
    with pytest.raises(FormatError, match="both layers of 2014"):
        read(path)


def test_caffe_takes_doubles_as_the_nearest_floats(net, tmp_path):
    write(tmp_path / "w.caffemodel", GOLDEN_WEIGHTS.astype("float64"))
    assert read(tmp_path / "w.caffemodel").obj == GOLDEN_WEIGHTS.astype("float64")
    net.copy_from(str(tmp_path / "w.caffemodel"))
    assert weights_of(net) == GOLDEN_WEIGHTS


# ---- mean images
def test_a_mean_image_goes_both_ways_through_pycaffe(caffe, tmp_path):
    path, mean = tmp_path / "mean.binaryproto", make_golden.mean()
    write(path, mean)
    blob = caffe.proto.caffe_pb2.BlobProto.FromString(path.read_bytes())
    assert np.array_equal(caffe.io.blobproto_to_array(blob), mean[np.newaxis])
    assert blob.SerializeToString() == path.read_bytes()
    for array in mean, mean[np.newaxis]:
        path.write_bytes(caffe.io.array_to_blobproto(array).SerializeToString())
        expected = caffe.io.blobproto_to_array(caffe.proto.caffe_pb2.BlobProto.FromString(path.read_bytes()))
        assert np.array_equal(read(path).obj.to_host(), expected)


# ---- the schema
def test_our_schema_is_a_part_of_caffe_s(caffe):
    theirs = caffe.proto.caffe_pb2.DESCRIPTOR.message_types_by_name
    for name, message in blobs.schema().items():
        fields = theirs[name.removeprefix("Unpacked")].fields_by_name
        for field in message.DESCRIPTOR.fields:
            assert fields[field.name].number == field.number
            if field.type == field.TYPE_MESSAGE:
                assert fields[field.name].message_type.name == field.message_type.name
            elif field.type == field.TYPE_BYTES:  # packed numbers and text have the same form on the wire
                packed = fields[field.name].GetOptions().packed
                assert packed or fields[field.name].type == field.TYPE_STRING
            else:
                assert fields[field.name].type == field.type
