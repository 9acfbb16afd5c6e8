"""Node.js reads what sparknet writes, with examples/javascript and the package @msgpack/msgpack alone."""

import base64
import json
import re
import shutil
import subprocess
from collections import deque
from pathlib import Path
from textwrap import dedent

import ml_dtypes
import msgpack
import numpy as np
import pytest
from hypothesis import given
from strategies import messages_of
from strategies import metadata as plain_values

from sparknet import NDArray, WeightCollection, dumps, loads
from sparknet.serialization import inspect
from sparknet.serialization.message import layout, plans

pytestmark = pytest.mark.node

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLE = ROOT / "examples" / "javascript"
GOLDEN = sorted((HERE / "golden").rglob("*.msg"))
TYPES = {
    "Uint8Array": "bool uint8 float8_e4m3fn float8_e5m2",
    "Uint16Array": "uint16 float16 bfloat16",
    "Uint32Array": "uint32",
    "BigUint64Array": "uint64",
    "Int8Array": "int8",
    "Int16Array": "int16",
    "Int32Array": "int32",
    "BigInt64Array": "int64",
    "Float32Array": "float32 complex64",
    "Float64Array": "float64 complex128",
}


DAMAGE = "Error: (this is not a message|the message is damaged or truncated|the (header|tensor '[ab]') is damaged)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the example with its package installed from the lock file, and the tests' script beside it."""
    folder = tmp_path_factory.mktemp("javascript")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copy(HERE / "answer_messages.mjs", folder)
    npm = [shutil.which("npm"), "ci", "--ignore-scripts", "--engine-strict", "--no-audit", "--no-fund"]
    done = subprocess.run(npm, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="module")
def answer(folder):
    """A function that gives one Node.js, the same for all tests, a message, and returns what it reads."""
    command = [shutil.which("node"), "answer_messages.mjs"]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:

        def answer(message, offset=0):
            node.stdin.write(f"{offset} {base64.b64encode(message).decode()}\n")
            node.stdin.flush()
            return json.loads(node.stdout.readline())

        yield answer
        node.stdin.close()


def value(answered):
    """Return a plain value as the script tells it."""
    if isinstance(answered, list):
        return [value(entry) for entry in answered]
    if not isinstance(answered, dict):
        return answered
    ((kind, told),) = answered.items()
    if kind == "map":
        return {key: value(entry) for key, entry in told}
    return {"bigint": int, "number": float, "bytes": bytes.fromhex}[kind](told)


def arrays(obj):
    """Return all arrays of an object in order."""
    if isinstance(obj, NDArray):
        return [obj.to_host()]
    entries = obj.values()
    return [array.to_host() for entry in entries for array in (entry if isinstance(obj, WeightCollection) else [entry])]


def check(answered, message):
    """Compare an answer with the message: what is told of it, every value, and what is stored where there are none."""
    info, found = inspect(message), arrays(loads(message))
    assert (answered["kind"], value(answered["metadata"])) == (info.kind, info.metadata)
    assert len(answered["tensors"]) == len(info.tensors) == len(found)
    for got, tensor, array in zip(answered["tensors"], info.tensors, found, strict=True):
        assert (got["name"], got["dtype"], got["shape"]) == (tensor.name, tensor.dtype, list(tensor.shape))
        assert (got["encoding"], got["compression"]) == (tensor.encoding, tensor.compression)
        if (tensor.encoding, tensor.compression) == ("raw", None):
            assert tensor.dtype in TYPES[got["type"]].split()
            assert got["values"] == array.tobytes().hex()
        else:
            stored = message[tensor.offset : tensor.offset + tensor.stored_nbytes]
            assert (got["values"], got["bytes"]) == (None, stored.hex())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_golden_message_is_read(answer, path):
    check(answer(path.read_bytes()), path.read_bytes())


@given(messages_of(), plain_values)
def test_any_message_is_read(answer, obj, metadata):
    message = dumps(obj, metadata=metadata)
    check(answer(message), message)


def test_names_shapes_and_values_are_what_was_written(answer):
    written = {
        "ключ 鍵 🔑": np.array([[1.5, -0.25, np.nan], [np.inf, -np.inf, 0.1]]),
        "integers": np.array([2**63 - 1, -(2**63), 0]),
        "unsigned": np.array(2**64 - 1, "uint64"),
        "flags": np.array([[[True], [False]]]),
        "": np.zeros((3, 0, 2), "float32"),
        "bits": np.array([1, -2], ml_dtypes.bfloat16),
        "complex": np.array([1 - 2j], "complex64"),
    }
    answered = answer(dumps(written, metadata={"epoch": 3, "seed": 2**64 - 1, "é": [b"\0", None]}))
    assert value(answered["metadata"]) == {"epoch": 3, "seed": 2**64 - 1, "é": [b"\0", None]}
    assert [(t["name"], t["dtype"], t["shape"], t["first"]) for t in answered["tensors"]] == [
        ("ключ 鍵 🔑", "float64", [2, 3], ["1.5", "-0.25", "NaN", "Infinity"]),
        ("integers", "int64", [3], ["9223372036854775807", "-9223372036854775808", "0"]),
        ("unsigned", "uint64", [], ["18446744073709551615"]),
        ("flags", "bool", [1, 2, 1], ["1", "0"]),
        ("", "float32", [3, 0, 2], []),
        ("bits", "bfloat16", [2], [str(0x3F80), str(0xC000)]),
        ("complex", "complex64", [1], ["1", "-2"]),
    ]


def test_many_tensors_are_read(answer):
    message = dumps(WeightCollection({f"layer {n}": [np.full((n % 7, 3), n), np.float32(n)] for n in range(3000)}))
    check(answer(message), message)


@pytest.mark.parametrize("length", [4095, 4096, 4097, 8191, 300_000])
def test_checksums_of_tensors_of_several_blocks_are_compared(answer, length):
    message = bytearray(dumps(np.random.default_rng(0).integers(0, 256, length, "uint8")))
    check(answer(message), message)
    for position in inspect(message).tensors[0].offset + np.array([0, length // 2, length - 1]):
        message[position] ^= 0x80
        assert answer(message) == {"error": "Error: the tensor '' is damaged"}
        message[position] ^= 0x80


def test_a_split_tensor_is_joined(answer, monkeypatch):
    monkeypatch.setattr(layout, "MAX_BIN", 128)  # bytes, instead of 4 GiB
    for made in "_read", "_written":
        monkeypatch.setattr(plans, made, deque(maxlen=4))
    message = dumps({"rest": np.arange(33.0), "exact": np.arange(32.0), "empty": np.zeros(0), "one": np.arange(3)})
    answered = answer(message)
    check(answered, message)
    assert [tensor["shares"] for tensor in answered["tensors"]] == [False, False, True, True]


def test_values_share_memory_with_the_message_unless_it_lies_badly(answer):
    message = dumps({"a": np.arange(3.0), "b": np.arange(5, dtype="int8")})
    for offset in range(9):
        answered = answer(message, offset)
        check(answered, message)
        assert [tensor["shares"] for tensor in answered["tensors"]] == [offset % 8 == 0] * 2


def test_a_damaged_message_gives_an_error_or_what_was_written(answer):
    message = dumps({"a": np.array([1.5, -2.0]), "b": np.array([1, 2, 3], "int16")})
    whole, info = answer(message), inspect(message)
    told = {*range(17, 17 + info.header_nbytes)} | {
        place for t in info.tensors for place in range(t.offset, t.offset + t.nbytes)
    }
    for position in range(len(message)):
        for change in 0x01, 0x80, 0xFF:
            damaged = bytearray(message)
            damaged[position] ^= change
            answered = answer(damaged)
            if position in told or answered != whole:
                assert re.match(DAMAGE, answered["error"])


def test_a_truncated_message_and_one_with_more_bytes_give_an_error(answer):
    message = dumps({"a": np.array([1.5, -2.0])})
    errors = {answer(message[:length])["error"].partition(": ")[2] for length in range(len(message))}
    assert all(error.startswith("the message is damaged or truncated") for error in errors)
    assert "Extra 1 of" in answer(message + b"\0")["error"]


def test_what_a_newer_version_wrote_gives_an_error_that_says_so(answer, forge):
    assert answer(forge(sizes=(8,)))["kind"] == "mapping"
    assert answer(forge(sizes=(8,), novelty=1))["error"].endswith("needs a newer reader: its header has novelty")
    for columns in {"dtypes": b"\x44"}, {"encodings": b"\x09"}:
        assert "the message needs a newer reader" in answer(forge(sizes=(8,), **columns))["error"]
    assert "not a message of the format" in answer(dumps(np.zeros(2)).replace(b"sparknet/1", b"sparknet/2"))["error"]


def test_what_is_no_message_gives_an_error(answer):
    for other in {"a": 1}, ["sparknet/2", b"", 0, []], [], None, 7:
        assert answer(msgpack.packb(other)) == {"error": "Error: this is not a message of the format sparknet/1"}
    assert answer(msgpack.packb(["sparknet/1", None, 0, []])) == {"error": "Error: the header is damaged"}


def test_payloads_that_do_not_fit_the_header_give_an_error(answer, forge):
    assert "lacks 4 bytes" in answer(forge(sizes=(4,)))["error"]
    assert "has 4 bytes too many" in answer(forge(sizes=(12,)))["error"]


def test_the_output_on_the_page_is_that_of_the_example(folder):
    page = (ROOT / "docs" / "how-to" / "read_a_message_in_another_language.md").read_text(encoding="utf-8")
    shown = re.search(r"\$ node print_message\.mjs weights\.msg\n(.+?) *```", page, re.DOTALL)[1]
    written = {"scale": np.float32([[1, 2, 3], [4, 5, 6]]), "count": np.array(7)}
    (folder / "weights.msg").write_bytes(dumps(written, metadata={"epoch": 3}))
    command = [shutil.which("node"), "print_message.mjs", "weights.msg"]
    assert subprocess.run(command, cwd=folder, capture_output=True, check=True, text=True).stdout == dedent(shown)


def test_the_lock_file_names_one_package_and_no_host():
    lock = json.loads((EXAMPLE / "package-lock.json").read_text())
    assert list(lock["packages"]) == ["", "node_modules/@msgpack/msgpack"]
    assert "resolved" not in lock["packages"]["node_modules/@msgpack/msgpack"]
