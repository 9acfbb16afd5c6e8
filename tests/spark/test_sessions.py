"""A Spark session that was stopped is named by every public verb, and never by the JVM or by pyspark's own attributes."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from sparknet import ClusterError
from sparknet.clusters.spark.jobs.sessions import check_rows, is_stopped, running_context
from sparknet.spark import image_classes, load_packed, read_image_tars, read_images

pytestmark = pytest.mark.spark

STOPPED = """
import threading, time
from sparknet import ClusterError, Field, SparkCluster, averaged_sgd
from sparknet.data.images import ImageDecoder
from sparknet.nets import MLP
from sparknet.spark import *

first = start_spark("local[2]")
context = first.sparkContext
fields = [Field("data", (1, 1, 2)), Field("label", (), "int64")]
rows = [([0.0, 1.0], 0)] * 4
rdd, frame = context.parallelize(rows, 2), first.createDataFrame(rows, "data array<double>, label bigint")
packed = pack(rdd, fields, 2)
net = MLP.factory((1, 1, 2), 2)
weights = net(seed=0).get_weights()
cluster = SparkCluster(first)
rounds = averaged_sgd(net, packed, cluster=cluster, tau=1, rounds=2)
next(rounds)
options = {"fields": fields[:1]}
verbs = {
    "pack()": [lambda: pack(rdd, fields, 2), lambda: pack(frame, fields, 2), lambda: pack(frame, fields, 2, arrow=False)],
    "featurize()": [lambda: featurize(rows, net, weights, ["prob"], **options) for rows in (rdd, frame)],
    "predict()": [lambda: predict(rows, net, weights, **options) for rows in (rdd, frame)],
    "evaluate()": [lambda: evaluate(rows, net, weights, fields=fields) for rows in (rdd, frame, packed)],
    "decode_images()": [lambda: decode_images(rows, ImageDecoder(2, 2)) for rows in (rdd, frame)],
    "first_batch()": [packed.first_batch],
    "summed()": [lambda: packed.summed(lambda part: 1), lambda: mean_image(packed), lambda: channel_means(packed)],
    "map_shards()": [lambda: packed.map_shards(len)],
    "reshard()": [lambda: packed.reshard(1)],
    "train_test_split()": [lambda: packed.train_test_split(0.5)],
    "to_local()": [packed.to_local],
    "save()": [lambda: packed.save("/nowhere/set")],
    "load_packed()": [lambda: load_packed(first, "/nowhere/set"), lambda: load_packed(context, "/nowhere/set")],
    "read_images()": [lambda: read_images(first, "/nowhere")],
    "read_image_tars()": [lambda: read_image_tars(first, "/nowhere")],
    "image_classes()": [lambda: image_classes(first, "/nowhere")],
    "SparkCluster": [
        lambda: SparkCluster(first),
        lambda: SparkCluster(context),
        lambda: next(averaged_sgd(net, packed, cluster=cluster, tau=1, rounds=1)),
    ],
}


def asked(when):
    for who, calls in verbs.items():
        for place, call in enumerate(calls):
            try:
                call()
            except ClusterError as error:
                if str(error).startswith(f"{who}: ") and "session was stopped" in str(error):
                    continue
                print(when, who, place, error)
            except Exception as error:
                print(when, who, place, type(error).__name__, error)
            else:
                print(when, who, place, "no error")


first.stop()
asked("stopped")
try:
    next(rounds)
except ClusterError as error:
    print(error)
print(packed, packed.count(), packed.shard_sizes[0].batches)  # what needs no Spark is still known
second = start_spark("local[2]")  # a new session makes the old data no younger
asked("another runs")
try:
    next(averaged_sgd(net, packed, cluster=SparkCluster(second), tau=1, rounds=1))
except ClusterError as error:
    print(error)
packed.unpersist()


def slow(row):
    time.sleep(100)


late = second.sparkContext.parallelize(rows, 2)
threading.Timer(3, second.sparkContext._jsc.stop).start()  # as Spark itself does when its master is lost
try:
    pack(late.map(slow), fields, 2)
except ClusterError as error:
    print("its Spark session was stopped meanwhile" in str(error))
try:
    pack(late, fields, 2)
except ClusterError as error:
    print(error)
"""


def test_every_verb_says_that_the_session_was_stopped_and_what_to_do(tmp_path):
    program = tmp_path / "stopped.py"
    program.write_text(STOPPED)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    running = "in a session that runs, as start_spark() gives one"
    pack_again = f"pack again, or load_packed() what was saved, {running}"
    assert done.stdout.splitlines() == [
        f"SparkCluster: the packed data set is gone, its Spark session was stopped: {pack_again}",
        "<PackedDataset: 4 examples in 2 minibatches of 2, 64 bytes, 2 shards of 2 examples> 4 1",
        f"SparkCluster: the packed data set is gone, its Spark session was stopped: {pack_again}",
        "True",
        f"pack(): the RDD cannot be computed, its Spark session was stopped: make it again {running}",
    ]


class Connect:
    """A session of Spark Connect: it reads, and asking for its context is an AttributeError (pyspark.sql.connect.session)."""

    read = None

    @property
    def sparkContext(self):  # noqa: N802 - Spark's name
        msg = "[JVM_ATTRIBUTE_NOT_SUPPORTED] Attribute `sparkContext` is not supported in Spark Connect"
        raise AttributeError(msg)


@pytest.mark.parametrize("verb", [load_packed, read_images, read_image_tars, image_classes])
def test_a_connect_session_is_refused_by_every_verb_that_takes_a_session(verb):
    with pytest.raises(
        ClusterError, match=rf"^{verb.__name__}\(\): got Connect, expected a SparkSession or SparkContext"
    ):
        verb(Connect(), "/nowhere")


def test_sessions_that_run_and_things_that_are_none_pass(spark, context):
    assert running_context(spark, "test") is running_context(context, "test") is context
    frame = spark.range(1).toDF("context")  # a column of the name of an RDD's attribute
    for rows in (frame, frame.rdd, [1], None):
        check_rows(rows, "test")


def test_a_context_whose_jvm_does_not_answer_is_stopped():
    def gone():
        raise ConnectionRefusedError

    assert is_stopped(SimpleNamespace(_jsc=SimpleNamespace(sc=gone)))
    assert is_stopped(SimpleNamespace(_jsc=None))
