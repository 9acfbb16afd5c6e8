"""Formats by suffix or by name, conversion as a whole, and what the package costs to import."""

import json
import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest

import sparknet
from sparknet import FormatError, SchemaError, WeightCollection
from sparknet.formats import Conversion, convert, message, read, write
from sparknet.formats.table import FORMATS

WEIGHTS = WeightCollection({"conv1": [np.ones((2, 1, 3, 3), "f4"), np.zeros(2, "f4")], "ip": [np.ones((3, 4), "f4")]})


@pytest.fixture
def source(tmp_path):
    sparknet.save(tmp_path / "w.msg", WEIGHTS, metadata={"name": "net", "round": 3})
    return tmp_path / "w.msg"


def test_what_was_converted_is_returned(source, tmp_path):
    done = convert(source, tmp_path / "w.npz")
    assert done.seconds > 0
    assert done == Conversion("sparknet", "npz", "weights", 3, 32, 128, ("name", "round"), done.seconds)
    assert convert(source, tmp_path / "w.caffemodel").lost == ("round",)
    assert convert(source, tmp_path / "w.sparknet").lost == ()
    assert convert(tmp_path / "w.caffemodel", tmp_path / "name.msg").lost == ()
    assert read(tmp_path / "name.msg").metadata == {"name": "net"}


@pytest.mark.parametrize(
    ("obj", "kind"), [(np.ones((3, 1, 1), "f4"), "array"), ({"a": np.ones((3, 1, 1), "f4")}, "mapping")]
)
def test_an_array_and_a_mapping_are_converted(tmp_path, obj, kind):
    sparknet.save(tmp_path / "a.sparknet", obj)
    for name in "a.npy", "a.npz", "a.safetensors", "a.binaryproto":
        done = convert(tmp_path / "a.sparknet", tmp_path / name)
        assert (done.kind, done.tensors, done.parameters, done.nbytes) == (kind, 1, 3, 12)


def test_a_suffix_says_the_format_in_any_case_and_a_name_overrules_it(source, tmp_path):
    assert convert(str(source), os.fspath(tmp_path / "W.NPZ")).target_format == "npz"
    convert(tmp_path / "W.NPZ", tmp_path / "w.npy", target_format="caffemodel")
    assert read(tmp_path / "w.npy", file_format="caffemodel").obj == WEIGHTS
    assert (
        convert(tmp_path / "w.npy", tmp_path / "w", source_format="caffemodel", target_format="sparknet").kind
        == "weights"
    )
    assert sparknet.load(tmp_path / "w") == WEIGHTS


def test_an_unknown_suffix_and_an_unknown_name_are_refused(source, tmp_path):
    expected = r"got the suffix '\.bin', expected one of \.sparknet, \.msg, \.npy, \.npz, .*; or name the format"
    with pytest.raises(FormatError, match=expected):
        convert(source, tmp_path / "w.bin")
    with pytest.raises(FormatError, match="got the format 'h5', expected one of sparknet, npy, npz"):
        read(source, file_format="h5")


def test_metadata_without_a_place_is_refused_where_it_was_asked_for(tmp_path):
    with pytest.raises(SchemaError, match="format npz has no place for the metadata epoch, loss"):
        write(tmp_path / "w.npz", WEIGHTS, metadata={"loss": 1.0, "epoch": 2})
    write(tmp_path / "w.caffemodel", WEIGHTS, metadata={"name": "net"})
    with pytest.raises(SchemaError, match="no place for the metadata epoch"):
        write(tmp_path / "w.caffemodel", WEIGHTS, metadata={"name": "net", "epoch": 2})
    with pytest.raises(SchemaError, match=r"metadata\['a'\]: got tuple"):
        write(tmp_path / "w.safetensors", WEIGHTS, metadata={"a": (1,)})


NAMES = {"conv.bias": ["conv", 1], "conv.weight": ["conv", 0], "head.weight": ["conv", 0]}
NET = WeightCollection({"conv": [np.ones((2, 3), "f4"), np.zeros(2, "f4")]})


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_flat_names_are_those_of_the_framework_that_the_weights_are_of(tmp_path, suffix):
    sparknet.save(tmp_path / "w.sparknet", NET, metadata={"tensor_names": json.dumps(NAMES)})
    done = convert(tmp_path / "w.sparknet", tmp_path / f"w{suffix}")
    assert (done.kind, done.lost) == ("mapping", ())
    found, metadata = read(tmp_path / f"w{suffix}")
    assert (list(found), metadata) == (list(NAMES), {})
    for name, (layer, place) in NAMES.items():
        assert np.array_equal(found[name].to_host(), NET[layer][place].to_host())
    convert(tmp_path / "w.sparknet", tmp_path / "w.caffemodel")
    assert read(tmp_path / "w.caffemodel").obj == NET


@pytest.mark.parametrize(
    "names",
    [
        json.dumps({"w": ["conv", 0]}),
        json.dumps({**NAMES, "other": ["fc", 0]}),
        json.dumps({**NAMES, "other": ["conv", [0]]}),
        json.dumps([["conv", 0], ["conv", 1]]),
        "[" * 100_000,
        "conv",
        3,
        None,
    ],
    ids=["missing", "unknown", "list", "no map", "deep", "no JSON", "number", "nothing"],
)
def test_names_that_do_not_fit_the_weights_are_metadata_as_any_other(tmp_path, names):
    sparknet.save(tmp_path / "w.sparknet", NET, metadata={"tensor_names": names})
    done = convert(tmp_path / "w.sparknet", tmp_path / "w.npz")
    assert (done.kind, done.lost) == ("weights", ("tensor_names",))
    assert read(tmp_path / "w.npz").obj == NET


def test_layers_without_arrays_are_named_where_they_are_lost(tmp_path):
    weights = WeightCollection({"data": [], "ip": [np.ones((3, 4), "f4")], "relu": []})
    sparknet.save(tmp_path / "w.msg", weights, metadata={"round": 3})
    for suffix, lost in {".npz": ("round", "data", "relu"), ".safetensors": ("data", "relu"), ".sparknet": ()}.items():
        assert convert(tmp_path / "w.msg", tmp_path / f"w{suffix}").lost == lost
    assert read(tmp_path / "w.sparknet").obj == weights


@pytest.mark.parametrize("metadata", [[("name", "net")], [], "", 0])
def test_metadata_is_a_dict(tmp_path, metadata):
    for suffix in ".msg", ".npz", ".caffemodel":
        with pytest.raises(TypeError, match=f"metadata: got {type(metadata).__name__}, expected a dict with str keys"):
            write(tmp_path / f"w{suffix}", WEIGHTS, metadata=metadata)
    assert list(tmp_path.iterdir()) == []


# ---- files
@pytest.mark.parametrize("suffix", [".msg", ".npz", ".safetensors", ".caffemodel"])
def test_a_new_file_has_the_permissions_of_the_system_and_another_those_of_the_old_one(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    usual = os.umask(0o027)
    try:
        write(path, WEIGHTS)
    finally:
        os.umask(usual)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    write(path, WEIGHTS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_the_object_and_the_metadata_are_of_one_file_while_it_is_replaced(tmp_path, monkeypatch):
    path = tmp_path / "w.msg"

    def replaced(data):
        info = sparknet.inspect(data)
        sparknet.save(path, {"version": np.array(2)}, metadata={"version": 2})
        return info

    sparknet.save(path, {"version": np.array(1)}, metadata={"version": 1})
    monkeypatch.setattr(message, "inspect", replaced)
    obj, metadata = read(path)
    assert (int(obj["version"]), metadata["version"]) == (1, 1)
    assert int(sparknet.load(path)["version"]) == 2


def test_an_empty_message_is_truncated(tmp_path):
    (tmp_path / "w.msg").touch()
    with pytest.raises(FormatError, match=r"w\.msg': truncated message"):
        read(tmp_path / "w.msg")


@pytest.mark.parametrize("suffix", [".msg", ".npz", ".safetensors", ".caffemodel"])
def test_a_target_is_replaced_as_a_whole_or_left_as_it_was(source, tmp_path, suffix, monkeypatch):
    target = tmp_path / f"target{suffix}"
    target.write_bytes(b"the old file")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            convert(source, target)
    assert target.read_bytes() == b"the old file"
    assert {path.name for path in tmp_path.iterdir()} == {"w.msg", target.name}
    convert(source, target)
    assert read(target).obj == WEIGHTS
    assert {path.name for path in tmp_path.iterdir()} == {"w.msg", target.name}


@pytest.mark.parametrize("make", [os.link, os.symlink, shutil.copyfile])
def test_a_file_is_not_converted_onto_itself(source, tmp_path, make):
    before = source.read_bytes()
    make(source, tmp_path / "other.npz")
    if make is shutil.copyfile:  # of the same contents, but another file
        assert convert(source, tmp_path / "other.npz").target_format == "npz"
    else:
        with pytest.raises(OSError, match="is the source itself; write to another file"):
            convert(source, tmp_path / "other.npz")
    with pytest.raises(shutil.SameFileError):
        convert(source, tmp_path / "." / "w.msg")
    assert source.read_bytes() == before


def test_a_damaged_source_is_noticed_and_nothing_is_written(tmp_path):
    path = tmp_path / "w.msg"
    sparknet.save(path, {"a": np.zeros(1 << 19)})  # 4 MiB: views of such a file are not verified unless asked for
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"w\.msg': tensor 'a' .*is damaged") as caught:
        convert(path, tmp_path / "w.npz")
    assert caught.value.tensor == "a"
    assert [p.name for p in tmp_path.iterdir()] == ["w.msg"]


def test_a_compressed_source_is_converted_within_max_bytes(tmp_path):
    source, zeros = tmp_path / "w.msg", WeightCollection({"ip": [np.zeros((64, 1024), "f4")]})
    sparknet.save(source, zeros, compression="zstd")
    for call in (lambda **limit: convert(source, tmp_path / "w.npz", **limit), lambda **limit: read(source, **limit)):
        with pytest.raises(
            FormatError, match=rf"w\.msg': .* the limit is {zeros.nbytes - 1}\. Pass max_bytes={zeros.nbytes} "
        ):
            call(max_bytes=zeros.nbytes - 1)
        call(max_bytes=zeros.nbytes)
    assert read(tmp_path / "w.npz").obj == zeros


def test_a_source_without_checksums_is_converted(tmp_path):
    sparknet.save(tmp_path / "w.msg", WEIGHTS, checksum=False)
    convert(tmp_path / "w.msg", tmp_path / "w.npz")
    assert read(tmp_path / "w.npz").obj == WEIGHTS


def test_a_limit_of_our_own_format_is_a_schema_error(tmp_path):
    write(tmp_path / "w.safetensors", {"a\0b": np.ones(1)})
    with pytest.raises(SchemaError, match=r"w\.msg': the name 'a\\x00b' holds a NUL character"):
        convert(tmp_path / "w.safetensors", tmp_path / "w.msg")


def test_files_that_are_not_there_are_os_errors(source, tmp_path):
    for name in "none.msg", "none.npy", "none.npz", "none.safetensors", "none.caffemodel", "none.binaryproto":
        with pytest.raises(FileNotFoundError):
            convert(tmp_path / name, tmp_path / "w.npz")
    with pytest.raises(FileNotFoundError):
        convert(source, tmp_path / "no" / "w.npz")


# ---- cost
def loaded_after(code):
    """Names in ``sys.modules`` of a fresh interpreter that ran ``code``."""
    code += "\nimport sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_it_loads_no_package_of_another_program():
    assert loaded_after("import sparknet.formats").isdisjoint({"safetensors", "google.protobuf", "caffe"})


def test_caffe_files_are_read_and_written_without_caffe(tmp_path):
    write(tmp_path / "w.caffemodel", WEIGHTS)
    path = os.fspath(tmp_path / "w.caffemodel")
    loaded = loaded_after(f"from sparknet.formats import read, write; write({path!r}, read({path!r}).obj)")
    assert "google.protobuf" in loaded
    assert loaded.isdisjoint({"caffe", "safetensors"})


@pytest.mark.parametrize(
    "suffix", [s for form in FORMATS.values() for s in form.suffixes if s not in (".sparknet", ".msg")]
)
def test_save_leaves_each_other_format_to_write(tmp_path, suffix):
    with pytest.raises(ValueError, match=r"sparknet\.formats\.write\(path, obj\) writes such a file"):
        sparknet.save(tmp_path / f"w{suffix}", {"w": np.zeros(2, np.float32)})
