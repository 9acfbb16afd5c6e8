"""Files of ``torch.save``: torch on the other side; what is no tensor is refused by name, and never run."""

import io
import os
import zipfile

import numpy as np
import pytest
import torch

from sparknet import FormatError, SchemaError, WeightCollection
from sparknet.dtypes import TABLE
from sparknet.formats import convert, describe, format_of, read, write

pytestmark = pytest.mark.torch


WEIGHTS = WeightCollection({"conv1": [np.ones((2, 1, 3, 3), "f4"), np.zeros(2, "f4")], "ip": [np.eye(3, dtype="f2")]})


def test_torch_reads_what_is_written(tmp_path):
    arrays = {name: np.ones((2, 3), name) for name in ("f2", "f4", "f8", "i8", "u1", "?", "c8")}
    write(
        tmp_path / "w.pt", {**arrays, "0-d": np.array(7), "empty": np.zeros((0, 3)), "big": np.arange(3, dtype=">f4")}
    )
    found = torch.load(tmp_path / "w.pt", weights_only=True)
    assert list(found) == [*arrays, "0-d", "empty", "big"]
    assert all(np.array_equal(found[name].numpy(), array) for name, array in arrays.items())
    assert found["big"].tolist() == [0, 1, 2]


def test_what_torch_writes_is_read(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).bfloat16()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    obj, metadata = read(tmp_path / "w.pth")
    assert metadata == {}
    assert list(obj) == list(model.state_dict())
    assert obj["0.weight"].dtype.name == "bfloat16"
    for name, tensor in model.state_dict().items():
        assert np.array_equal(obj[name].to_host().astype("f4"), tensor.float().numpy())
        assert obj[name].to_host().flags.writeable


def test_a_file_of_2019_is_read(tmp_path):
    state = torch.nn.Linear(2, 3).state_dict()
    torch.save(state, tmp_path / "w", _use_new_zipfile_serialization=False)
    assert format_of(tmp_path / "w") == "torch"
    assert np.array_equal(read(tmp_path / "w").obj["weight"].to_host(), state["weight"].numpy())


def test_weights_come_back(tmp_path):
    write(tmp_path / "w.pt", WEIGHTS)
    assert read(tmp_path / "w.pt").obj == WEIGHTS
    assert describe(tmp_path / "w.pt").format == format_of(tmp_path / "w.pt") == "torch"
    (tmp_path / "w.pt").rename(tmp_path / "w.bin")
    assert read(tmp_path / "w.bin").obj == WEIGHTS


def test_tensors_that_share_memory_come_apart(tmp_path):
    shared = torch.ones(3)
    torch.save({"a": shared, "b": shared}, tmp_path / "w.pt")
    found = read(tmp_path / "w.pt").obj
    found["a"].to_host()[0] = 5
    assert found["b"].to_host()[0] == 1


def test_names_of_a_state_dict_survive_the_way_through_a_message(tmp_path):
    state = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
    torch.save(state, tmp_path / "a.pt")
    for source, target in (("a.pt", "b.sparknet"), ("b.sparknet", "c.safetensors"), ("c.safetensors", "d.pt")):
        convert(tmp_path / source, tmp_path / target)
    found = torch.load(tmp_path / "d.pt", weights_only=True)
    assert list(found) == list(state)
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize(
    ("what", "told"),
    [
        (lambda torch: torch.nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear, which is code.*state_dict\(\)"),
        (lambda torch: {"state_dict": {"w": torch.ones(1)}, "epoch": 3}, r"'state_dict', 'epoch'.*\['state_dict'\]"),
        (lambda torch: {"w": torch.ones(1), "n": 3}, r"more than tensors by name: 'n'"),
        (lambda torch: {0: torch.ones(1)}, r"by name: 0"),
        (lambda torch: [torch.ones(1)], r"holds list; expected tensors by name"),
        (lambda torch: {"s": torch.eye(2).to_sparse()}, r"tensor 's'.*sparse.*to_dense"),
        (lambda torch: {"z": torch.ones(1).expand(1 << 40)}, r"4398046511104; the limit is"),
    ],
    ids=["module", "checkpoint", "number", "key", "list", "sparse", "expanded"],
)
def test_what_is_no_tensor_by_name_is_refused_with_the_way(tmp_path, what, told):
    torch.save(what(torch), tmp_path / "w.pt")
    with pytest.raises(FormatError, match=told) as caught:
        read(tmp_path / "w.pt")
    assert "weights_only=False" not in str(caught.value)


def test_code_in_a_file_is_not_run(tmp_path):
    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"w": Runs()}, tmp_path / "w.pt")
    with pytest.raises(FormatError, match=r"posix\.mkdir, which is code"):
        read(tmp_path / "w.pt")
    assert not (tmp_path / "made").exists()


def test_a_compressed_archive_is_refused_before_it_is_inflated(tmp_path):
    stored = io.BytesIO()
    torch.save({"w": torch.zeros(1000)}, stored)
    with zipfile.ZipFile(stored) as archive, zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as out:
        for entry in archive.infolist():
            out.writestr(entry.filename, archive.read(entry))
    with pytest.raises(FormatError, match="is compressed"):
        read(tmp_path / "w.pt")


def test_a_cut_file_is_refused(tmp_path):
    torch.save({"w": torch.ones(100)}, tmp_path / "w.pt")
    whole = (tmp_path / "w.pt").read_bytes()
    for end in range(1, len(whole), 37):
        (tmp_path / "w.pt").write_bytes(whole[:end])
        with pytest.raises(FormatError):
            read(tmp_path / "w.pt")


def test_a_dtype_that_torch_has_not_is_named(tmp_path):
    unknown = [row.name for row in TABLE if row.is_numpys and not hasattr(torch, row.name)]
    for name in unknown:
        with pytest.raises(SchemaError, match=f"'a' is {name}, which torch has not"):
            write(tmp_path / "w.pt", {"a": np.ones(2, name)})
