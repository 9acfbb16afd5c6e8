"""Conversion to a format that does not hold the dtype of the source."""

import numpy as np
import pytest

import sparknet
from sparknet import NDArray, SchemaError, WeightCollection
from sparknet.cli import main
from sparknet.formats import convert, read, write

MEAN = np.random.default_rng(0).random((3, 4, 5)) * 255


@pytest.fixture
def mean(tmp_path):
    path = tmp_path / "ilsvrc_2012_mean.npy"
    np.save(path, MEAN)
    return path


def test_the_command_names_the_option_that_converts_and_the_option_does(mean, tmp_path, capsys):
    target = tmp_path / "mean.binaryproto"
    assert main(["convert", str(mean), str(target)]) == 2
    err = capsys.readouterr().err
    assert "tensor 'arr_0' is float64; a .binaryproto file holds float32. Give --dtype float32\n" in err
    assert not target.exists()
    assert main(["convert", str(mean), str(target), "--dtype", "float32"]) == 0
    assert np.array_equal(read(target).obj.to_host().reshape(MEAN.shape), MEAN.astype("f4"))


def test_a_program_is_told_both_ways(mean, tmp_path):
    with pytest.raises(SchemaError, match=r"astype\('float32'\), or by convert\(\.\.\., dtype='float32'\)"):
        convert(mean, tmp_path / "mean.binaryproto")


def test_weights_and_mappings_are_cast_and_counts_stay(tmp_path):
    weights = WeightCollection({"ip": [np.arange(6.0).reshape(2, 3), np.arange(2)]})
    sparknet.save(tmp_path / "w.sparknet", weights)
    convert(tmp_path / "w.sparknet", tmp_path / "w.npz", dtype="float16")
    assert read(tmp_path / "w.npz").obj == weights.astype("float16")
    state = {"iteration": NDArray(np.int64(7)), "history/0": NDArray(np.ones(3))}
    write(tmp_path / "s.npz", state)
    convert(tmp_path / "s.npz", tmp_path / "s.solverstate", dtype="float32")
    got = read(tmp_path / "s.solverstate").obj
    assert (int(got["iteration"]), str(got["history/0"].dtype)) == (7, "float32")


@pytest.mark.parametrize(
    ("array", "dtype", "text"),
    [
        (np.array([1e300, np.inf]), "float32", "'arr_0' has numbers that float32 has no place for"),
        (np.ones(2, "c8"), "float32", "'arr_0' is complex64; expected real numbers"),
        (np.ones(2), "int8", "dtype: got 'int8', expected float16, float32, float64"),
    ],
    ids=["too large", "complex", "integers"],
)
def test_what_would_be_lost_is_refused_and_nothing_is_written(tmp_path, array, dtype, text):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(SchemaError, match=text):
        convert(tmp_path / "a.npy", tmp_path / "a.npz", dtype=dtype)
    assert not (tmp_path / "a.npz").exists()


def test_infinities_and_nan_stay(tmp_path):
    np.save(tmp_path / "a.npy", np.array([np.inf, np.nan, 1.0]))
    convert(tmp_path / "a.npy", tmp_path / "b.npy", dtype="float16")
    assert np.array_equal(np.load(tmp_path / "b.npy"), np.array([np.inf, np.nan, 1], "f2"), equal_nan=True)
