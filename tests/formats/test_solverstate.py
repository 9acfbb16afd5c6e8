"""States of Caffe's solvers, in protobuf and in HDF5, without Caffe."""

import h5py
import numpy as np
import pytest

from sparknet import FormatError, NDArray, SchemaError
from sparknet.formats import convert, read, write

STATE = {
    "iteration": NDArray(np.asarray(7, np.int64)),
    "history/0": NDArray(np.array([[1, -0.0], [np.nan, 1e-40]], "f4")),
    "history/1": NDArray(np.ones(3, "f4")),
}
METADATA = {"learned_net": "run/a_iter_7.caffemodel", "current_step": 2}
SUFFIXES = [".solverstate", ".solverstate.h5"]


def bits_of(mapping):
    """Return what two mappings of arrays are compared by: NaN and -0.0 count."""
    arrays = {name: np.asarray(array) for name, array in mapping.items()}
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_state_comes_back_with_the_place_of_its_weights(tmp_path, suffix):
    write(tmp_path / f"a{suffix}", STATE, metadata=METADATA)
    back = read(tmp_path / f"a{suffix}")
    assert bits_of(back.obj) == bits_of(STATE)
    assert back.metadata == METADATA


def test_a_state_is_read_from_bytes_that_no_library_wrote(tmp_path, wire):
    array = np.arange(4, dtype="f4").reshape(2, 2)
    data = wire.field(1, 300) + wire.field(2, "a.caffemodel") + wire.field(3, wire.blob(array)) + wire.field(4, 1)
    (tmp_path / "a.solverstate").write_bytes(data)
    obj, metadata = read(tmp_path / "a.solverstate")
    assert int(obj["iteration"]) == 300
    np.testing.assert_array_equal(obj["history/0"].to_host(), array)
    assert metadata == {"learned_net": "a.caffemodel", "current_step": 1}


def test_the_hdf5_file_is_as_caffe_reads_it(tmp_path):
    write(tmp_path / "a.solverstate.h5", STATE, metadata=METADATA)
    with h5py.File(tmp_path / "a.solverstate.h5") as file:
        assert sorted(file) == ["current_step", "history", "iter", "learned_net"]
        assert (file["iter"].shape, file["iter"].dtype, file["iter"][0]) == ((1,), np.int32, 7)
        assert file["learned_net"].dtype == f"S{len(METADATA['learned_net']) + 1}"  # the NUL has its place
        assert sorted(file["history"]) == ["0", "1"]


def test_states_are_converted_from_one_form_to_the_other_and_to_others(tmp_path):
    write(tmp_path / "a.solverstate", STATE, metadata=METADATA)
    assert convert(tmp_path / "a.solverstate", tmp_path / "a.solverstate.h5").lost == ()
    assert convert(tmp_path / "a.solverstate.h5", tmp_path / "a.npz").lost == ("learned_net", "current_step")
    convert(tmp_path / "a.npz", tmp_path / "b.solverstate")
    assert bits_of(read(tmp_path / "b.solverstate").obj) == bits_of(STATE)
    assert read(tmp_path / "b.solverstate").metadata == {"learned_net": "", "current_step": 0}


def test_hdf5_is_read_as_such_also_where_the_name_does_not_say_so(tmp_path):
    write(tmp_path / "a.solverstate.h5", STATE)
    (tmp_path / "a.solverstate.h5").rename(tmp_path / "a.solverstate")
    assert bits_of(read(tmp_path / "a.solverstate").obj) == bits_of(STATE)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("change", "metadata", "text"),
    [
        ({"iteration": None}, {}, "holds a solver's state: 'iteration', a whole number, .*; got 2 arrays"),
        ({"iteration": NDArray(np.float32(1))}, {}, "holds a solver's state"),
        ({"history/0": None}, {}, "holds a solver's state"),
        ({"w": NDArray([1.0])}, {}, "got w and an iteration"),
        ({"history/1": NDArray([1])}, {}, "tensor 'history/1' is int64"),
        (
            {"iteration": NDArray(np.asarray(1 << 31))},
            {},
            "iteration 2147483648, current_step 0; expected whole numbers",
        ),
        ({}, {"current_step": "2"}, "current_step '2'"),
        ({}, {"learned_net": "a\0b"}, "expected the path of a .caffemodel"),
    ],
)
def test_what_is_no_state_is_not_written(tmp_path, suffix, change, metadata, text):
    state = {name: array for name, array in (STATE | change).items() if array is not None}
    with pytest.raises(SchemaError, match=text):
        write(tmp_path / f"a{suffix}", state, metadata=metadata)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_state_is_not_read(tmp_path, wire):
    (tmp_path / "a.solverstate").write_bytes(wire.field(2, "x"))
    with pytest.raises(FormatError, match=r"neither an iteration nor a history"):
        read(tmp_path / "a.solverstate")
    with h5py.File(tmp_path / "a.solverstate.h5", "w") as file:
        file["data"] = 1
    with pytest.raises(FormatError, match=r"there are data; expected iter and history"):
        read(tmp_path / "a.solverstate.h5")
    with h5py.File(tmp_path / "a.solverstate.h5", "w") as file:
        file["iter"] = 1
        file["history/1"] = np.ones(2, "f4")
    with pytest.raises(FormatError, match=r"the history has the arrays 1; expected 0, 1"):
        read(tmp_path / "a.solverstate.h5")
    with h5py.File(tmp_path / "a.solverstate.h5", "a") as file:
        file["history/0"] = np.ones(2, "f4")
        file["learned_net"] = "a text of any length"
    with pytest.raises(FormatError, match=r"'learned_net' is of dtype object, expected text of a fixed length"):
        read(tmp_path / "a.solverstate.h5")
