"""Trains a small net on whatever cluster spark-submit names: ``spark-submit --master spark://HOST:PORT train.py FOLDER``."""

import sys
from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession

import sparknet
from sparknet.nets import MLP
from sparknet.spark import pack

WORKERS = 2

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)  # started again, it goes on from the checkpoint there
spark = SparkSession.builder.appName("sparknet").getOrCreate()  # spark-submit has said which master

points = np.random.default_rng(7).normal(size=(2000, 2))  # in your program: spark.read.parquet(...)
rows = [(point.tolist(), int(point[0] > point[1])) for point in points]
frame = spark.createDataFrame(rows, "data array<double>, label long")
fields = [sparknet.Field("data", (2,)), sparknet.Field("label", (), "int64")]
data = pack(frame, fields, 20, shards=WORKERS, shuffle=True, seed=7)

rounds = sparknet.averaged_sgd(
    MLP.factory((2,), classes=2, learning_rate=0.5),
    data,
    cluster=sparknet.SparkCluster(spark),
    workers=WORKERS,
    tau=10,
    rounds=5,
    evaluate=(data, 1),
    checkpoint=folder / "checkpoint",
    events=folder / "events.jsonl",
)
for each in rounds:
    print(f"round {each.index}: loss {each.loss:.3f}, accuracy {each.metrics['accuracy']:.3f}")
print(f"{rounds.finished} rounds are done; {rounds.goodput}")
sparknet.save(folder / "weights.sparknet", rounds.weights)
spark.stop()
