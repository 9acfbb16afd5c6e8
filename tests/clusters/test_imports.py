"""What workers cannot import is named, with the place where the driver has it and the way to bring it to them."""

import os
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest

from sparknet import Field, LocalCluster, averaged_sgd
from sparknet.clusters.imports import executors_fix, forks_fix, helped
from sparknet.clusters.spark.jobs.running import job_error
from sparknet.data import pack
from sparknet.errors import ClusterError, MissingDependency, NetError
from sparknet.nets import MLP

# What Spark's driver gets where a task cannot be unpickled: pyspark 4.3 raises the error itself, pyspark 4.0 puts it into words.
SPARK = """An error occurred while calling z:org.apache.spark.api.python.PythonRDD.runJob.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 1 in stage 2.0 failed 4 times, most recent failure: Lost task 1.3 \
in stage 2.0 (TID 9) (10.0.0.3 executor 7): org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "/x/pyspark/serializers.py", line 471, in loads
    return cloudpickle.loads(obj, encoding=encoding)
ModuleNotFoundError: No module named 'mine'
{}
	at org.apache.spark.api.python.BasePythonRunner.handlePythonException(PythonRunner.scala:572)
"""
IN_WORDS = """
During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/x/pyspark/worker.py", line 1227, in main
    func, profiler, deserializer, serializer = read_command(pickleSer, infile)
pyspark.serializers.SerializationError: Caused by Traceback (most recent call last):
  File "/x/pyspark/serializers.py", line 192, in _read_with_length
    return self.loads(obj)
ModuleNotFoundError: No module named 'mine'

"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that makes a module of this process alone."""

    def module(name, file):
        made = ModuleType(name)
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        made.__file__ = str(path)
        monkeypatch.setitem(sys.modules, name, made)
        return path

    return module


@pytest.mark.parametrize("words", ["", IN_WORDS])
def test_a_task_that_cannot_be_unpickled_says_the_module_the_executor_and_the_way(module, words):
    path = module("mine", "mine.py")
    error = job_error(RuntimeError(SPARK.format(words)), None)
    assert str(error) == (
        "the job failed on the cluster: ModuleNotFoundError: No module named 'mine', in task 1 on 10.0.0.3 (executor 7); the driver has "
        f"it as {path}: send it to the executors with spark-submit --py-files {path} or SparkContext.addPyFile({str(path)!r}), "
        "or install it there (the Python is PYSPARK_PYTHON)"
    )
    assert error.is_import


def test_a_package_beside_the_program_is_sent_as_a_zip(module):
    folder = module("mine", "mine/__init__.py").parent
    assert (
        f"--py-files mine.zip or SparkContext.addPyFile('mine.zip') (python -m zipfile -c mine.zip {folder} makes it)"
        in (executors_fix("ModuleNotFoundError: No module named 'mine.nets'"))
    )


@pytest.mark.parametrize(
    ("said", "file"),
    [
        ("MissingDependency: TorchNet needs torch: pip install 'sparknet[torch]'", None),
        ("ModuleNotFoundError: No module named 'nowhere'", None),
        ("ModuleNotFoundError: No module named 'sparknet'", None),
        ("ModuleNotFoundError: No module named 'numpy'", None),
        ("ModuleNotFoundError: No module named 'json'", None),
        ("ModuleNotFoundError: No module named 'installed'", "lib/site-packages/installed/__init__.py"),
        ("ImportError: cannot import name 'Net' from 'mine' (/x/mine.py)", "mine.py"),
    ],
)
def test_what_is_to_be_installed_is_to_be_installed(module, said, file):
    if file:
        module("installed", file)
    assert executors_fix(said).startswith("; the executors need what the driver imports: install it there")


def test_an_error_of_something_else_stays_as_it_is():
    error = NetError("no such blob", blob="ip9")
    assert helped(error, executors_fix) is error
    assert helped(error, forks_fix) is error


def test_an_error_with_the_fix_keeps_its_type_and_its_facts():
    for error in (MissingDependency("no torch", name="torch"), ClusterError("worker 1: ImportError: x", name="torch")):
        found = pickle.loads(pickle.dumps(helped(error, executors_fix)))
        assert (type(found), found.name) == (type(error), "torch")
        assert str(found).startswith(f"{error}; the executors need")


class Elsewhere:
    """A factory that imports something in worker processes alone."""

    def __init__(self, error):
        self.driver, self.error = os.getpid(), error

    def __call__(self, *, seed=0):
        if os.getpid() != self.driver:
            raise self.error
        return MLP((2,), 2, seed=seed)


@pytest.mark.parametrize("kind", [ModuleNotFoundError, NetError])
def test_a_child_process_that_cannot_import_something_says_which_and_the_way(kind):
    data = pack(
        {"data": np.zeros((8, 2)), "label": np.zeros(8)},
        [Field("data", (2,)), Field("label", (), "int64")],
        batch_size=2,
    )
    name = "" if kind is ModuleNotFoundError else "TorchNet: module(): ModuleNotFoundError: "
    factory = Elsewhere(kind(f"{name}No module named 'mine'"))
    words = r"worker \d: .*ModuleNotFoundError: No module named 'mine'; a worker process is a fork of this one.*at the top of your program"
    with pytest.raises((ClusterError, NetError), match=words):
        list(averaged_sgd(factory, data, cluster=LocalCluster(processes=2), workers=2, tau=1, rounds=1))
