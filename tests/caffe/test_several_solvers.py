"""Solvers that train together: how many they are, which one this thread's is, and what each of them reads and draws."""

import threading

import caffe
import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.caffe

NET = """layer { name: "a" type: "DummyData" top: "a" dummy_data_param { shape { dim: 2 dim: 3 }
    data_filler { type: "constant" value: 1 } } }
layer { name: "b" type: "Power" bottom: "a" top: "b" power_param { scale: 2 } }
layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" inner_product_param { num_output: 1
    weight_filler { type: "gaussian" } } }
layer { name: "d" type: "Reduction" bottom: "c" top: "d" loss_weight: 1 }"""


@pytest.fixture
def solver_file(tmp_path):
    """Return a function that writes the files of a solver and of its net."""

    def write(settings='base_lr: 0.5 lr_policy: "fixed"'):
        (tmp_path / "net.prototxt").write_text(NET)
        (tmp_path / "solver.prototxt").write_text(f'net: "{tmp_path}/net.prototxt" {settings}')
        return str(tmp_path / "solver.prototxt")

    return write


@pytest.fixture(autouse=True)
def alone():
    """Put back what says how many solvers train together, whatever a test did to it."""
    yield
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
    caffe.set_multiprocess(False)


def test_solver_count_and_rank_are_kept_for_each_thread():
    assert (caffe.solver_count(), caffe.solver_rank()) == (1, 0)
    caffe.set_solver_count(3)
    caffe.set_solver_rank(2)
    assert (caffe.solver_count(), caffe.solver_rank()) == (3, 2)
    seen = []
    thread = threading.Thread(target=lambda: seen.append((caffe.solver_count(), caffe.solver_rank())))
    thread.start()
    thread.join()
    assert seen == [(1, 0)]


@pytest.mark.parametrize(("name", "value"), [("set_solver_count", 0), ("set_solver_rank", -1)])
def test_a_count_or_rank_that_cannot_be_raises(name, value):
    with pytest.raises(RuntimeError, match=name.removeprefix("set_")):
        getattr(caffe, name)(value)


def test_a_solver_of_another_rank_trains_and_draws_numbers_of_its_own(solver_file):
    def weights(rank, seed):
        caffe.set_solver_rank(rank)
        solver = caffe.SGDSolver(solver_file(f'base_lr: 0.5 lr_policy: "fixed" random_seed: {seed}'))
        solver.step(1)
        assert solver.iter == 1
        return solver.net.params["c"][0].data.copy()

    caffe.set_solver_count(2)
    assert (weights(1, 5) == weights(0, 6)).all()
    assert (weights(1, 5) != weights(0, 5)).all()


def test_a_python_layer_trains_with_several_solvers_only_in_processes_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "layer_of_a_test.py").write_text(
        "import caffe\n"
        "class One(caffe.Layer):\n"
        "    def setup(self, bottom, top): pass\n"
        "    def reshape(self, bottom, top): top[0].reshape(1)\n"
        "    def forward(self, bottom, top): top[0].data[...] = 1\n"
        "    def backward(self, *args): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "python.prototxt"
    file.write_text('layer { type: "Python" top: "x" python_param { module: "layer_of_a_test" layer: "One" } }')
    caffe.set_solver_count(2)
    with pytest.raises(RuntimeError, match="set_multiprocess"):
        caffe.Net(str(file), caffe.TRAIN)
    caffe.set_multiprocess(True)
    assert caffe.Net(str(file), caffe.TRAIN).forward()["x"] == 1


def rows_read(tmp_path, files, rank, count, batches, phase=caffe.TRAIN):
    """Return the rows that a solver reads, of files with the rows given."""
    names = []
    for index, rows in enumerate(files):
        names.append(str(tmp_path / f"{index}.h5"))
        with h5py.File(names[-1], "w") as file:
            file["x"] = np.array(rows, np.float32).reshape(len(rows), -1)
    (tmp_path / "list").write_text("\n".join(names))
    text = f'layer {{ type: "HDF5Data" top: "x" hdf5_data_param {{ source: "{tmp_path}/list" batch_size: 2 }} }}'
    (tmp_path / "data.prototxt").write_text(text)
    caffe.set_solver_count(count)
    caffe.set_solver_rank(rank)
    net = caffe.Net(str(tmp_path / "data.prototxt"), phase)
    return [int(row) for _ in range(batches) for row in net.forward()["x"][:, 0]]


# The values are what newest BVLC Caffe reads.
@pytest.mark.parametrize(
    ("rank", "count", "rows"),
    [
        (0, 1, [0, 1, 2, 10, 11, 0, 1, 2]),
        (0, 2, [0, 2, 11, 1, 10, 0, 2, 11]),
        (1, 2, [1, 10, 0, 2, 11, 1, 10, 0]),
        (2, 3, [2, 0, 10, 1, 11, 2, 0, 10]),
    ],
)
def test_solvers_take_turns_at_the_rows_of_hdf5_files(tmp_path, rank, count, rows):
    assert rows_read(tmp_path, [[0, 1, 2], [10, 11]], rank, count, 4) == rows


def test_the_one_solver_that_tests_reads_every_row(tmp_path):
    assert rows_read(tmp_path, [[0, 1, 2], [10, 11]], 0, 2, 3, caffe.TEST) == [0, 1, 2, 10, 11, 0]


def test_a_rank_that_the_count_does_not_reach_raises(tmp_path):
    with pytest.raises(RuntimeError, match="solver_rank counts from 0"):
        rows_read(tmp_path, [[0, 1]], 2, 2, 1)


def test_rows_of_another_size_in_a_later_file_raise(tmp_path):
    with pytest.raises(RuntimeError, match="rows of 'x' have another size than in the first file"):
        rows_read(tmp_path, [[[0, 0], [1, 1]], [2, 3]], 0, 1, 2)
