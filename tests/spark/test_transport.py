"""Another transport than Spark's own carries weights and results, and no task notices: the bits are the same."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pyspark import SparkContext

from sparknet import Field, SparkCluster, averaged_sgd
from sparknet.nets import MLP
from sparknet.spark import evaluate, pack, predict

pytestmark = pytest.mark.spark

RNG = np.random.default_rng(0)
ROWS = [(image, int(image.sum() > 0)) for image in RNG.normal(size=(60, 4)).astype(np.float32)]
FIELDS = [Field("data", (4,)), Field("label", (), "int64")]
FACTORY = MLP.factory((4,), 2, (5,), learning_rate=0.1)
OPTIONS = {"tau": 3, "rounds": 2, "seed": 3, "solver_state": "local"}


@dataclass(frozen=True)
class FileParcel:
    """Messages in files of a folder that all workers share."""

    folder: str

    def open(self, *places):
        return [Path(self.folder, str(place)).read_bytes() for place in places]

    def answer(self, messages):
        folder = tempfile.mkdtemp(dir=self.folder)
        for place, message in enumerate(messages):
            Path(folder, str(place)).write_bytes(message)
        return folder, len(messages)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)


class FileTransport:
    folder = ""
    closed = 0

    def __init__(self, context):
        assert isinstance(context, SparkContext)

    def send(self, messages):
        parcel = FileParcel(tempfile.mkdtemp(dir=type(self).folder))
        for place, message in enumerate(messages):
            Path(parcel.folder, str(place)).write_bytes(message)
        return parcel

    def receive(self, answer):
        folder, count = answer
        return [Path(folder, str(place)).read_bytes() for place in range(count)]

    def close(self):
        type(self).closed += 1


@pytest.fixture
def by_file(tmp_path, monkeypatch):
    """Let weights travel in files, and make a broadcast an error."""
    monkeypatch.setattr(FileTransport, "folder", str(tmp_path))
    monkeypatch.setattr(FileTransport, "closed", 0)

    def use():
        for module in ("training.cluster", "inference.predict", "inference.evaluate"):
            monkeypatch.setattr(f"sparknet.clusters.spark.{module}.SparkTransport", FileTransport)
        monkeypatch.setattr(SparkContext, "broadcast", None)
        return tmp_path

    return use


def test_training_and_its_evaluation_have_the_same_bits(spark, context, by_file):
    data = pack(context.parallelize(ROWS, 2), FIELDS, 5)

    def trained():
        *_, last = averaged_sgd(
            FACTORY, data, cluster=SparkCluster(spark, transport="spark"), evaluate=(data, 1), **OPTIONS
        )
        return last

    with_broadcasts = trained()
    folder = by_file()
    with_files = trained()
    assert with_files.weights == with_broadcasts.weights
    assert with_files.metrics == with_broadcasts.metrics
    assert (with_files.bytes_down, with_files.bytes_up) == (with_broadcasts.bytes_down, with_broadcasts.bytes_up)
    assert list(folder.iterdir()) == []  # every parcel was released
    assert FileTransport.closed == 1
    data.unpersist()


def test_inference_has_the_same_results(context, by_file):
    weights = FACTORY(seed=2).get_weights()
    rows = context.parallelize([{"data": image, "label": label} for image, label in ROWS], 2)

    def inferred():
        found = predict(rows, FACTORY, weights, fields=FIELDS[:1], batch_size=7)
        return [row["prediction"] for row in found.collect()], evaluate(rows, FACTORY, weights, fields=FIELDS)

    with_broadcasts = inferred()
    folder = by_file()
    assert inferred() == with_broadcasts
    assert len(list(folder.iterdir())) == 1  # that of predict(): its rows may be computed again
