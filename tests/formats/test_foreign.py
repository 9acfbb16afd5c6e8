"""What sparknet.formats does not read says what it is, and what reads it."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sparknet import FormatError, dumps
from sparknet.formats import convert, describe, format_of, read, write

MESSAGE = dumps({"a": np.ones(2)})


@pytest.fixture
def of_torch(tmp_path):
    """A file as torch.save writes it: a ZIP archive with a pickle."""
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(1))
        archive.writestr("x/data/0", bytes(16))
    return path


def test_a_file_of_torch_is_one_by_its_contents(of_torch):
    assert format_of(of_torch) == "torch"
    with pytest.raises(FormatError, match=r"holds 'x/data\.pkl'; .*a file of torch\.save, of the format 'torch'"):
        read(of_torch, file_format="npz")


@pytest.mark.parametrize("call", [read, describe])
@pytest.mark.parametrize("name", ["x.pkl", "x"])
def test_a_pickle_is_said_to_be_one(tmp_path, call, name):
    (tmp_path / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(FormatError, match=r"it looks like a pickle, which can run code and is never read here"):
        call(tmp_path / name)


CALLS = {
    "read": read,
    "describe": describe,
    "format_of": format_of,
    "write": lambda given: write(given, {"a": np.ones(2)}),
    "convert from": lambda given: convert(given, "w.npz"),
    "convert to": lambda given: convert("w.npz", given),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("given", "text"),
    [
        (MESSAGE, r"got bytes, .*; sparknet\.loads\(message\)"),
        (io.BytesIO(MESSAGE), r"got BytesIO, .*; sparknet\.load\(file\)"),
        (b"/tmp/w.npz", r"got bytes, .*; .*os\.fsdecode\(path\)"),
        (3, "got int, expected the path of a file, str or PathLike$"),
    ],
    ids=["message", "stream", "bytes", "int"],
)
def test_what_is_no_path_is_told_what_takes_it(call, given, text):
    with pytest.raises(TypeError, match=text):
        call(given)
    assert not Path("w.npz").exists()
