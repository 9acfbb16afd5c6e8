"""Where messages are read from: every kind of path, of file object and of socket; a stream's end; what is said of foreign bytes."""

import bz2
import errno
import gzip
import io
import lzma
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sparknet import (
    FormatError,
    SchemaError,
    StreamEnd,
    WeightCollection,
    dump,
    dumps,
    formats,
    inspect,
    iter_load,
    load,
    loads,
    save,
)
from sparknet.serialization import Codec, load_into, verify

OBJECT = {"a": np.arange(6.0).reshape(2, 3), "b": np.int8([1, 2])}
MESSAGE = dumps(OBJECT, metadata={"step": 7})


class Short:
    """An object with read() alone, which gives less than it is asked for, as those of fsspec and of urllib may."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def read(self, size):
        return self._file.read(min(size, 100))


def in_a_zip(data, _):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("w.msg", data)
    return zipfile.ZipFile(archive).open("w.msg")


def in_a_pipe(data, _):
    read, write = os.pipe()
    threading.Thread(target=_written, args=(write, data)).start()
    return os.fdopen(read, "rb")


def _written(descriptor, data):
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def in_a_socket(data, _):
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    return ours


def in_a_file(data, tmp_path, **options):
    (tmp_path / "w.msg").write_bytes(data)
    return (tmp_path / "w.msg").open("rb", **options)


STREAMS = {
    "BytesIO": lambda data, _: io.BytesIO(data),
    "buffered": lambda data, _: io.BufferedReader(io.BytesIO(data)),
    "file": in_a_file,
    "unbuffered file": lambda data, path: in_a_file(data, path, buffering=0),
    "read alone": lambda data, _: Short(data),
    "gzip": lambda data, _: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data))),
    "bz2": lambda data, _: bz2.BZ2File(io.BytesIO(bz2.compress(data))),
    "lzma": lambda data, _: lzma.LZMAFile(io.BytesIO(lzma.compress(data))),  # noqa: SIM115 - the fixture closes it
    "zip": in_a_zip,
    "pipe": in_a_pipe,
    "socket": in_a_socket,
}


@pytest.fixture(params=STREAMS.values(), ids=STREAMS)
def stream(request, tmp_path):
    """stream(data) gives an open file object or a socket."""
    opened = []

    def make(data):
        opened.append(request.param(data, tmp_path))
        return opened[-1]

    yield make
    for file in opened:
        getattr(file, "close", int)()


def same(got):
    return list(got) == list(OBJECT) and all(np.array_equal(got[name].to_host(), OBJECT[name]) for name in OBJECT)


# ---- file objects and sockets
def test_load_takes_the_next_message_and_no_byte_more_until_the_end(stream):
    file = stream(MESSAGE + MESSAGE)
    first = load(file)
    assert same(first)
    assert first["a"].unwrap().flags.writeable
    assert same(load(file, verify=True, keys=["a", "b"]))
    with pytest.raises(StreamEnd, match="the stream has ended"):
        load(file)


def test_keys_choose_from_a_stream_too(stream):
    assert list(load(stream(MESSAGE), keys=["b"])) == ["b"]


def test_inspect_and_verify_take_a_stream(stream):
    file = stream(MESSAGE + MESSAGE)
    info = inspect(file, verify=True)
    assert (info.metadata, info.nbytes, [tensor.name for tensor in info.tensors]) == (
        {"step": 7},
        len(MESSAGE),
        ["a", "b"],
    )
    can_seek = hasattr(file, "seekable") and file.seekable()
    assert len(list(iter_load(file))) == (2 if can_seek else 1)
    verify(stream(MESSAGE))


def test_a_damaged_or_shortened_stream_is_a_format_error(stream):
    with pytest.raises(FormatError, match="checksum does not match"):
        load(stream(MESSAGE[:-1] + b"x"))
    with pytest.raises(FormatError, match="truncated message: it ends at byte 100"):
        load(stream(MESSAGE[:100]))


def test_a_gzip_file_that_was_cut_is_damage_and_no_end():
    cut = gzip.compress(MESSAGE)[:-20]
    with pytest.raises(FormatError, match="the stream ends early"):
        load(gzip.GzipFile(fileobj=io.BytesIO(cut)))


def test_a_file_opened_as_text_says_how_to_open_it(tmp_path):
    (tmp_path / "w.msg").write_bytes(b"text")
    with (tmp_path / "w.msg").open(encoding="utf-8") as file, pytest.raises(TypeError, match="open it with mode 'rb'"):
        load(file)


# ---- paths
@pytest.mark.parametrize("kind", [str, os.fsencode, lambda path: path], ids=["str", "bytes", "PathLike"])
def test_a_path_of_any_kind_is_saved_to_and_mapped(tmp_path, kind):
    path = kind(tmp_path / "ä.msg")
    save(path, OBJECT)
    assert same(load(path))
    assert not load(path)["a"].unwrap().flags.writeable
    assert load(path, mmap=False)["a"].unwrap().flags.writeable


def test_a_mapped_file_is_not_read(tmp_path):
    save(tmp_path / "large.msg", {"a": np.zeros(1 << 24), "b": np.ones(2)})
    before = _read_bytes()
    opened = load(tmp_path / "large.msg")
    assert _read_bytes() - before < 1 << 16  # of 128 MiB
    assert opened["a"].unwrap().base is not None


def _read_bytes():
    """Bytes that this process has asked the system to read; those of a map are not among them."""
    return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text(encoding="ascii"))[1])


@pytest.mark.parametrize("call", ["load('/dev/stdin')", "load(sys.stdin.buffer)", "inspect('/dev/stdin', verify=True)"])
def test_standard_input_is_read_from_a_pipe_and_from_a_file(tmp_path, call):
    (tmp_path / "w.msg").write_bytes(MESSAGE)
    code = f"import sys; from sparknet import load, inspect; print({call})"
    piped = subprocess.run([sys.executable, "-c", code], input=MESSAGE, capture_output=True, check=True)
    with (tmp_path / "w.msg").open("rb") as file:
        redirected = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True, check=True)
    assert piped.stdout == redirected.stdout != b""


def test_a_fifo_holds_one_message_as_a_file_does(tmp_path):
    os.mkfifo(tmp_path / "fifo")

    def through(data):
        writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(data,))
        writer.start()
        try:
            return load(tmp_path / "fifo", mmap=False)
        finally:
            writer.join()

    assert same(through(MESSAGE))
    with pytest.raises(FormatError, match=rf"ends at byte {len(MESSAGE)}, more bytes follow; .* iter_load"):
        through(MESSAGE + MESSAGE)
    with pytest.raises(FormatError, match="truncated message: it ends at byte 0"):
        through(b"")


def test_what_is_neither_path_nor_stream_says_what_it_is_for(tmp_path):
    with pytest.raises(TypeError, match=r"load\(\): got bytes, a message in memory, .*; write loads\(message\)"):
        load(MESSAGE)
    with pytest.raises(TypeError, match=r"load\(\): got int, expected a path, a socket or a file object"):
        load(3)
    with pytest.raises(TypeError, match=r"iter_load\(\): got the path .*; write open\(path, 'rb'\)"):
        iter_load(tmp_path / "w.msg")
    with pytest.raises(TypeError, match=r"save\(\): got BytesIO for the path, .*; write dump\(obj, file\)"):
        save(io.BytesIO(), OBJECT)
    with pytest.raises(TypeError, match=r"save\(\): got dict for the path, .*; write save\(path, obj\)"):
        save(OBJECT, tmp_path / "w.msg")
    with pytest.raises(TypeError, match=r"dump\(\): got the path .*; write save\(path, obj\)"):
        dump(OBJECT, tmp_path / "w.msg")


def test_a_read_only_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "w.msg"
    save(path, OBJECT)
    path.chmod(0o444)
    before = path.read_bytes()
    real = os.access
    # root may write to it: as for any other user, who asks the mode
    monkeypatch.setattr(
        os, "access", lambda p, m, **options: real(p, m, **options) and bool(path.stat().st_mode & 0o222)
    )
    monkeypatch.setattr(os, "supports_effective_ids", {os.access})
    with pytest.raises(PermissionError, match="the file is read-only") as raised:
        save(path, {"other": np.ones(1)})
    assert (raised.value.errno, raised.value.filename) == (errno.EACCES, str(path))
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]
    path.chmod(0o644)
    save(path, {"other": np.ones(1)})
    assert list(load(path)) == ["other"]


# ---- a stream of messages
def test_each_message_of_a_stream_has_metadata_of_its_own():
    codec, live, stream = (
        Codec(OBJECT, metadata={"run": "a", "step": -1}),
        {k: v.copy() for k, v in OBJECT.items()},
        io.BytesIO(),
    )
    for step in range(3):
        size = codec.dump(OBJECT, stream, metadata={"step": step})
        assert size == len(codec.dumps(OBJECT, metadata={"step": step}))
    stream.seek(0)
    assert [facts for _, facts in iter_load(stream, metadata=True)] == [{"run": "a", "step": n} for n in range(3)]
    stream.seek(0)
    assert [
        codec.load_into(live, stream)["step"],
        load_into(live, stream)["step"],
        inspect(stream).metadata["step"],
    ] == [0, 1, 2]
    buffer = np.empty(codec.nbytes + 64, np.uint8)
    parts = codec.dump_parts(OBJECT, metadata={"step": 9})
    assert (
        inspect(b"".join(parts)).metadata
        == inspect(buffer[: codec.dumps_into(OBJECT, buffer, metadata={"step": 9})]).metadata
    )
    assert inspect(codec.dumps(OBJECT)).metadata == {"run": "a", "step": -1}
    with pytest.raises(TypeError, match="metadata: got list"):
        codec.dumps(OBJECT, metadata=["step"])


def test_metadata_that_was_returned_is_the_callers_own():
    plain = dumps({"a": np.ones(2)})
    load_into({"a": np.ones(2)}, plain)["mine"] = 1
    assert load_into({"a": np.ones(2)}, plain) == {}


def test_a_peer_that_closes_between_messages_is_an_end_and_within_one_is_damage():
    def receive(data):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            steps, live = [], {name: value.copy() for name, value in OBJECT.items()}
            try:
                while True:
                    steps.append(load_into(live, ours)["step"])
            except StreamEnd:
                return steps

    assert receive(MESSAGE + MESSAGE) == [7, 7]
    assert receive(b"") == []
    with pytest.raises(FormatError, match="truncated"):
        receive(MESSAGE + MESSAGE[:40])


# ---- foreign bytes
def _npz():
    file = io.BytesIO()
    np.savez(file, a=np.ones(2))
    return file.getvalue()


def _npy():
    file = io.BytesIO()
    np.save(file, np.ones(2))
    return file.getvalue()


def _safetensors():
    from safetensors.numpy import save as save_safetensors

    return save_safetensors({"a": np.ones(2)})


FOREIGN = {
    "pickle": (lambda: pickle.dumps({"a": 1}), "a pickle, which can run code and is never read here"),
    "npz": (_npz, r"a ZIP archive; of an \.npz or a file of torch\.save, sparknet\.formats\.read\(path\) reads it"),
    "npy": (_npy, r"a \.npy file of numpy: sparknet\.formats\.read\(path\)"),
    "safetensors": (_safetensors, r"safetensors: sparknet\.formats\.read\(path\)"),
    "gzip": (lambda: gzip.compress(MESSAGE), r"gzip: load\(gzip\.open\(path\)\)"),
    "bz2": (lambda: bz2.compress(MESSAGE), r"load\(bz2\.open\(path\)\)"),
    "xz": (lambda: lzma.compress(MESSAGE), r"load\(lzma\.open\(path\)\)"),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), r"HDF5; .*sparknet\.formats\.read\(path\)"),
    "caffemodel": (
        lambda: b"\x0a\x05LeNet\xa2\x06\x10" + bytes(20),
        r"protobuf; of a \.caffemodel.*formats\.read\(path\)",
    ),
    "prototxt": (lambda: b'name: "LeNet"\nlayer {\n}', r"text: sparknet\.formats\.describe\(path\)"),
    "msgpack-numpy": (lambda: b"\x85\xa2nd\xc3\xa4type\xa3<f8" + bytes(20), "MessagePack of another program"),
}


@pytest.mark.parametrize(("make", "text"), FOREIGN.values(), ids=FOREIGN)
def test_foreign_bytes_are_told_by_what_they_look_like(tmp_path, make, text):
    data = make()
    (tmp_path / "w").write_bytes(data)
    for read in (
        lambda: loads(data),
        lambda: load(tmp_path / "w"),
        lambda: load(io.BytesIO(data)),
        lambda: inspect(data),
    ):
        with pytest.raises(
            FormatError, match=rf"^not a sparknet message: it begins with .*, which looks like .*{text}"
        ):
            read()


def test_bytes_that_look_like_nothing_are_said_to_be_no_message():
    with pytest.raises(FormatError, match=r"begins with b'\\xff\\xfe.*', expected b'\\x94\\xaasparknet/1'"):
        loads(b"\xff\xfe" * 20)


# ---- what people type
class Name(str):
    """A str of another class, as numpy's is, and as an enum's member may be."""

    __slots__ = ()

    def __str__(self):
        return "another"


@pytest.mark.parametrize("kind", [np.str_, Name])
def test_names_may_be_any_kind_of_str_and_come_back_plain(kind):
    for obj in ({kind("ä"): np.ones(1)}, WeightCollection({kind("ä"): [np.ones(1)]})):
        (name,) = loads(dumps(obj))
        assert (type(name), name) == (str, "ä")
    with pytest.raises(TypeError, match=r"the names in a mapping are str; got 3: write \{str\(name\)"):
        dumps({"a": np.ones(1), 3: np.ones(1)})


def test_copy_and_mmap_are_one_wish_in_the_words_of_either(tmp_path):
    save(tmp_path / "w.msg", OBJECT)
    for writable in (load(tmp_path / "w.msg", copy=True), loads(MESSAGE, mmap=False), loads(MESSAGE, copy=True)):
        assert writable["a"].unwrap().flags.writeable
    for view in (
        load(tmp_path / "w.msg", copy=False),
        load(tmp_path / "w.msg", mmap=True, copy=False),
        loads(MESSAGE, mmap=True),
    ):
        assert not view["a"].unwrap().flags.writeable
    with pytest.raises(ValueError, match=r"got mmap=True and copy=True; .*copy=True is mmap=False"):
        load(tmp_path / "w.msg", mmap=True, copy=True)


@pytest.mark.parametrize(
    ("typed", "meant"), [("bf16", "bfloat16"), ("FP16", "float16"), ("i8", "int8"), ("fp32", "raw")]
)
def test_an_encoding_by_the_name_of_another_library_is_told_ours(typed, meant):
    with pytest.raises(ValueError, match=rf"encoding '{typed}' is not known; .*; '{meant}' is what is meant"):
        dumps(OBJECT, encoding=typed)


def test_a_flat_collection_is_told_both_ways_to_write_it():
    with pytest.raises(
        SchemaError, match=r"got ndarray; write \{'w': \[array\]\}, or dumps\(\) and save\(\) the flat dict"
    ):
        WeightCollection({"w": np.ones(2)})


ENDINGS = (
    ".npz .npy .safetensors .caffemodel .caffemodel.h5 .PT .pkl .joblib .sparknet.gz .bz2 .xz .zst .lz4 .zip .tar .mat .csv .txt "
    ".keras .tflite .pb .onnx .arrow .parquet .png"
).split()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_message_is_not_saved_under_the_ending_of_another_program(tmp_path, ending):
    path = tmp_path / f"w{ending}"
    with pytest.raises(
        ValueError, match=r"a message of sparknet is no .* file; .* writes? .*, or call this one \.sparknet"
    ):
        save(path, OBJECT)
    assert not path.exists()
    formats.write(path, OBJECT, file_format="sparknet")  # who says so
    assert same(load(path))


@pytest.mark.parametrize("name", ["w", "w.sparknet", "w.msg", "w.bin", "w.1", "w.weights"])
def test_any_other_ending_will_do(tmp_path, name):
    save(tmp_path / name, OBJECT)
    assert same(load(tmp_path / name))
