"""What is no regular file, or inflates to far more than it has, is refused by every reader: at once, and in little memory."""

import bz2
import gzip
import io
import json
import os
import socket
import struct
import zipfile

import numpy as np
import pytest
from limited import run_limited

import sparknet
from sparknet import DataError, FormatError
from sparknet.data import read_cifar10, read_idx
from sparknet.files.regular import open_regular, read_regular
from sparknet.formats import describe, format_of, read, write
from sparknet.formats.blobs import check_count, parse_bytes
from sparknet.formats.caffemodel import _arrays
from sparknet.formats.prototxt import MAX_TEXT, read_text
from sparknet.formats.table import FORMATS

READERS = """
import json
from pathlib import Path
from sparknet.data import read_cifar10, read_idx
from sparknet.formats import describe, format_of, read, take_layers
from sparknet.formats.prototxt import read_text
from sparknet.formats.table import FORMATS
from sparknet.nets.caffe import carried, model_file, transform
from sparknet.nets.caffe.files import read_text as net_text
from sparknet import WeightCollection
import h5py, safetensors.numpy, google.protobuf.message_factory, numpy as np

weights = WeightCollection({"a": [np.ones(1)]})
readers = {name: lambda path, name=name: read(path, file_format=name) for name in FORMATS}
readers |= {"format_of": format_of, "describe": describe, "prototxt": lambda path: read_text(Path(path)),
            "idx": read_idx, "cifar": lambda path: read_cifar10([path]), "read": read,
            "take_layers": lambda path: take_layers(weights, path), "net": lambda path: net_text(Path(path), "net prototxt")}
readers |= {"infogain": lambda path: carried._checked(Path(path)), "weights": lambda path: model_file.read(Path(path)),
            "mean_file": lambda path: transform._mean_image(path, lambda name, _: Path(name))}
for name in ("caffemodel", "solverstate", "binaryproto"):  # their schema is made before memory is bounded
    try: read("/dev/null/x", file_format=name)
    except OSError: pass
"""
TRY = """
said = {}
for name, reader in readers.items():
    try:
        said[name] = "read: " + repr(reader(sys.argv[1]))
    except Exception as error:
        said[name] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


def _make(kind, folder):
    path = folder / kind
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    return path


@pytest.mark.parametrize("kind", ["FIFO", "directory", "device", "socket"])
def test_what_is_no_regular_file_is_named_at_once_by_every_reader(tmp_path, kind):
    done = run_limited(TRY, _make(kind, tmp_path), before=READERS)
    assert not done.returncode, done.stderr
    said = json.loads(done.stdout)
    assert len(said) == len(FORMATS) + 11
    for reader, text in said.items():
        assert f"a {kind}" in text or "it is a folder; name a file in it" in text, (reader, text)
        assert text.startswith(("OSError", "IsADirectoryError", "DataError", "NetError")), (reader, text)


def test_a_file_behind_a_link_is_opened_and_a_missing_one_is_not_found(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"abc"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "missing")


def test_a_nul_in_a_path_is_named(tmp_path):
    for reader in (read_idx, lambda path: read_cifar10([path])):
        with pytest.raises(DataError, match="NUL character"):
            reader(tmp_path / "a\0b")
    weights = sparknet.WeightCollection({"ip": [np.ones(2)]})
    for call in (
        format_of, describe, read, sparknet.load, sparknet.inspect,
        lambda path: write(f"{path}.npz", weights), lambda path: sparknet.save(path, weights),
    ):  # fmt: skip
        with pytest.raises(OSError, match="NUL character"):
            call(str(tmp_path / "a\0b"))


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FormatError, match="1099511627776 bytes; a prototxt has at most 4194304"):
        read_text(tmp_path / "sparse")
    with pytest.raises(FormatError, match="a message of protobuf has at most 2147483647"):
        read(tmp_path / "sparse", file_format="caffemodel")
    (tmp_path / "just").write_bytes(b"#" * MAX_TEXT)
    assert len(read_text(tmp_path / "just")[0]) == MAX_TEXT
    assert read_regular(tmp_path / "just", MAX_TEXT, "it") == b"#" * MAX_TEXT


# ---- .npz
def _archive(method, data, said=None):
    """An archive with one array, whose directory says that the entry has ``said`` bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("a.npy", data)
    packed = file.getvalue()
    return packed if said is None else packed.replace(struct.pack("<I", len(data)), struct.pack("<I", said))


READ = "import numpy; from sparknet.formats import read"


def said_in_little_memory(path, call, before=READ, memory=64 << 20):
    """Return the error of a call in a process of bounded memory, which is not that its memory ended."""
    done = run_limited(f"{call}(sys.argv[1])", path, before=before, memory=memory)
    assert "MemoryError" not in done.stderr
    return done.stderr


def test_a_bzip2_bomb_of_two_kilobytes_is_refused_in_little_memory(tmp_path):
    block = bz2.compress(bytes(45_000_000))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", b"")
    bomb = tmp_path / "bomb.npz"
    # the entry's data, 1.8 GB when it is inflated, take the place of the empty one; no size in the directory says so
    empty = bz2.compress(b"")
    packed = file.getvalue().replace(empty, block * 40, 1)
    sizes = struct.pack("<II", len(block) * 40, 128)
    packed = packed.replace(struct.pack("<II", len(empty), 0), sizes)
    grown = len(block) * 40 - len(empty)
    end = packed.rindex(b"PK\5\6")
    start = struct.unpack("<I", packed[end + 16 : end + 20])[0] + grown
    bomb.write_bytes(packed[: end + 16] + struct.pack("<I", start) + packed[end + 20 :])
    assert len(bomb.read_bytes()) < 2500
    with zipfile.ZipFile(bomb) as archive:
        assert archive.infolist()[0].file_size == 128
    said = said_in_little_memory(bomb, "read")
    assert "FormatError" in said
    assert "tensor 'a' is compressed by bzip2; expected deflate or nothing" in said


def test_only_what_numpy_writes_is_inflated(tmp_path):
    array = io.BytesIO()
    np.save(array, np.arange(3))
    for method, name in ((zipfile.ZIP_LZMA, "lzma"), (zipfile.ZIP_BZIP2, "bzip2")):
        (tmp_path / "w.npz").write_bytes(_archive(method, array.getvalue()))
        with pytest.raises(
            FormatError, match=f"tensor 'a' is compressed by {name}; .* numpy.savez_compressed"
        ) as caught:
            read(tmp_path / "w.npz")
        assert caught.value.tensor == "a"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        (tmp_path / "w.npz").write_bytes(_archive(method, array.getvalue()))
        assert read(tmp_path / "w.npz").obj["a"].shape == (3,)


def test_a_deflate_bomb_gives_what_its_directory_says_and_no_more(tmp_path):
    data = bytes(200 << 20)
    (tmp_path / "w.npz").write_bytes(_archive(zipfile.ZIP_DEFLATED, data, said=4096))
    assert "FormatError" in said_in_little_memory(tmp_path / "w.npz", "read")


def test_a_header_of_npy_is_not_longer_than_numpy_takes(tmp_path):
    header = b" " * (100 << 20)
    data = b"\x93NUMPY\2\0" + struct.pack("<I", len(header)) + header
    (tmp_path / "a.npy").write_bytes(data)
    assert "FormatError" in said_in_little_memory(tmp_path / "a.npy", "read")


# ---- gzip
def _bomb(head, megabytes):
    """A gzip file of ``head`` and zeros: many members, as gzip -c a b has it."""
    return gzip.compress(head) + gzip.compress(bytes(1 << 24)) * (megabytes // 16)


@pytest.mark.parametrize("megabytes", [400, 3200])
def test_a_gzip_file_is_inflated_up_to_what_its_header_asks_for(tmp_path, megabytes):
    (tmp_path / "x.gz").write_bytes(_bomb(bytes([0, 0, 8, 1]) + struct.pack(">I", 1000), megabytes))
    said = said_in_little_memory(tmp_path / "x.gz", "read_idx", before="from sparknet.data import read_idx")
    assert "DataError" in said
    assert "has more than 1008 bytes, its IDX header asks for 1008" in said


def test_a_header_that_asks_for_more_than_the_limit_is_refused_before_anything_is_inflated(tmp_path):
    (tmp_path / "x.gz").write_bytes(_bomb(bytes([0, 0, 8, 1]) + struct.pack(">I", 0xF0000000), 16))
    with pytest.raises(
        DataError, match=r"that become 4026531848, as its header says; the limit is 1073741824\. Unpack it"
    ):
        read_idx(tmp_path / "x.gz")


def test_a_gzip_file_without_a_header_is_inflated_up_to_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("sparknet.files.regular.FREE", 1 << 20)
    (tmp_path / "x.gz").write_bytes(_bomb(b"", 32))
    with pytest.raises(DataError, match=r"that become more than 1048576; the limit is 1048576\. Unpack it \(gunzip\)"):
        read_cifar10([tmp_path / "x.gz"])


def test_a_gzip_file_of_several_members_is_whole_and_a_damaged_one_is_noticed(tmp_path):
    array = np.arange(100, dtype=np.uint8)
    data = bytes([0, 0, 8, 1]) + struct.pack(">I", 100) + array.tobytes()
    members = gzip.compress(data[:3]) + gzip.compress(data[3:60]) + gzip.compress(data[60:])
    (tmp_path / "x").write_bytes(members)
    assert np.array_equal(read_idx(tmp_path / "x"), array)
    for damaged in (members[:-4], members[:-8] + b"\0" * 4 + members[-4:], members[:-9], members + b"junk"):
        (tmp_path / "x").write_bytes(damaged)
        with pytest.raises(DataError, match="damaged gzip file"):
            read_idx(tmp_path / "x")


# ---- IDX headers
def test_an_idx_header_that_no_array_has_is_refused(tmp_path):
    path = tmp_path / "x"
    for header, text in (
        (bytes([0, 0, 8, 65]) + struct.pack(">65I", *[1] * 65) + b"\0", "number of axes up to 64"),
        (bytes([0, 0, 8, 3]) + b"\0" * 5, "ends within its IDX header"),
        (bytes([0, 0, 14, 4]) + struct.pack(">4I", 0, *[0xFFFFFFFF] * 3), "asks for the shape"),
    ):
        path.write_bytes(header)
        with pytest.raises(DataError, match=text):
            read_idx(path)
    path.write_bytes(bytes([0, 0, 8, 64]) + struct.pack(">64I", *[1] * 64) + b"\7")
    assert read_idx(path).shape == (1,) * 64


# ---- protobuf
def test_more_arrays_than_any_net_has_are_refused_before_they_are_made(wire):
    net = parse_bytes("NetParameter", wire.field(100, wire.field(7, b"") * (1 << 18)), ".caffemodel")
    with pytest.raises(FormatError, match="it has 262144 arrays, expected at most 131072"):
        _arrays(net)
    check_count(1 << 17)


def test_a_file_of_single_fields_is_known_by_its_first_million(tmp_path, monkeypatch):
    monkeypatch.setattr("sparknet.formats.sniffing._FIELDS", 10)
    path = tmp_path / "mean"
    path.write_bytes(b"\x08\x01\x10\x01\x18\x01\x20\x14" + b"\x2d\0\0\x80\x3f" * 20)
    assert format_of(path) == "binaryproto"
