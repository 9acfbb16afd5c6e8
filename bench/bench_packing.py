"""Claims: a round costs what its minibatches cost, not what the shard holds; Arrow spares the objects; memory stays flat;
small partitions and columns that are joined cost little.

1. Round cost. Seconds of a round at fixed tau on a shard of 50 MB and on one of 1 GB, after the first round: ratio <= 1.1.
   Beside it what a round did before there was a store: one job that pipes the shard to Python from beginning to end.
2. Packing. Images/s and MB/s out of a Parquet file, by rows and by Arrow batches, against a plain numpy loop over the same
   images in this process (a row's value to an array, 100 arrays to a minibatch, the minibatch to a message). Pixels are
   stored as binary, and as arrays of floats. Claim: Arrow is at least 1.5 times as fast as rows for arrays, and 1.2 times
   for binary, where a row holds one Python object and no more.
   JPEG files of 256x256 as well, decoded on the way and packed as pixels, or packed as they are, for ``Decode`` to decode
   when they are used; the loop decodes them. Claim: as they are at least 3 times as fast, because pixels are ten times
   the bytes, and packing moves every byte five times between Spark's JVM and Python. MB/s are those of the pixels.
3. Memory. The peak of a Python worker (VmHWM) that packs one partition of 400 MB is at most 1.2 times that for one of 40 MB;
   for one that trains on a shard of 1 GB at most 1.2 times that for 50 MB.
4. Small partitions. Seconds to pack two rows of each of 200 and of 2,000 partitions, of a DataFrame as Spark counts them up
   (``range``), shuffled, and cached; and coalesced to 8 first, which is what there is to gain. Of an RDD with a Python function
   (``map``), which starts for each partition, 200 as they are, and with ``coalesce`` before it.
5. Joined columns. 100,000 rows of 50 cached columns of floats, packed as one input, by Arrow batches and by rows, to one
   column of arrays: at most 1.2 and 1.5 times as long.

All on local[2], packed data on disk. Repetitions take turns, and ratios are of minima: a busy machine only adds.

What not to conclude: how fast a cluster packs, where the same stages run on all cores at once. The numpy loop has its rows
in memory, and moves nothing between processes.

    python bench/bench_packing.py [--only PART] [--json FILE]
"""

import argparse
import json
import os
import tempfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
from facts import machine
from made_images import jpeg
from packing_sources import joined_columns, small_partitions
from pyspark import StorageLevel

from sparknet import Field, SparkCluster, averaged_sgd, dumps
from sparknet.data import ImageDecoder
from sparknet.data.preprocess import Scale
from sparknet.nets import MLP
from sparknet.spark import pack, start_spark

SHAPE = (3, 32, 32)
SIDES = (3, 256, 256)  # of decoded JPEG files
JPEGS = 2000
LABEL = Field("label", (), "int64")
UINT8, FLOAT = (Field("data", SHAPE, "uint8"), LABEL), (Field("data", SHAPE, "float32"), LABEL)
MB = 1_000_000
BATCH = 100
TAU = 20
ROUNDS = 15
REPETITIONS = 3
STORED = {  # kind -> (type of the column, fields, images, what a row holds)
    "binary": ("binary", UINT8, 30_000, np.ndarray.tobytes),
    "array<float>": ("array<float>", FLOAT, 10_000, lambda image: image.ravel().astype(np.float32).tolist()),
}
TARGETS = {
    "seconds of a round, 1 GB / 50 MB": 1.1,
    "peak of a worker that packs, 400 MB / 40 MB": 1.2,
    "peak of a worker that trains, 1 GB / 50 MB": 1.2,
    "50 columns / one of arrays, by Arrow": 1.2,
    "50 columns / one of arrays, by rows": 1.5,
}
LEAST = {
    "binary: seconds by rows / by Arrow": 1.2,
    "array<float>: seconds by rows / by Arrow": 1.5,
    "JPEG: seconds decoded / as they are": 3.0,
}


def images(part):
    """(pixels, label) for a slice of the images; a thousand different ones, and again."""
    first, last = part
    block = np.random.default_rng(first).integers(0, 256, (1000, *SHAPE), dtype=np.uint8)
    return ((block[i % 1000], i % 10) for i in range(first, last))


def rdd_of(context, count, partitions):
    ends = np.linspace(0, count, partitions + 1).astype(int).tolist()
    return context.parallelize(list(pairwise(ends)), partitions).flatMap(images)


def peak():
    """The largest VmHWM of this process's Python workers, in MB."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    mine = {os.getpid()}
    while len(mine) < len(mine := mine | {pid for pid, parent in parents.items() if parent in mine}):
        pass
    found = [0]
    for process in (Path(f"/proc/{pid}") for pid in mine):
        with suppress(OSError):
            if b"pyspark.worker" in (process / "cmdline").read_bytes():
                status = (process / "status").read_text()
                found.append(int(status.partition("VmHWM:")[2].split()[0]) * 1024 / MB)
    return max(found)


def packed(context, megabytes):
    """One shard of about so many megabytes, on disk."""
    rows = rdd_of(context, megabytes * MB // (np.prod(SHAPE) + 8), 1)
    return pack(rows, UINT8, BATCH, Scale("data", 1 / 256), shards=1, storage=StorageLevel.DISK_ONLY)


def memory_of_packing(context):
    """The small one first: a process's peak never falls."""
    peaks = {}
    for megabytes in (40, 400):
        packed(context, megabytes).unpersist()
        peaks[f"{megabytes} MB"] = peak()
    return peaks


def round_cost(spark):
    """Name of the shard -> seconds of each round, peak of a worker, and seconds of piping the whole shard, by what it is."""
    net, cluster = MLP.factory(SHAPE, 10, (16,)), SparkCluster(spark)
    data = {f"{name}": packed(spark.sparkContext, size) for name, size in (("50 MB", 50), ("1 GB", 1000))}
    seconds, peaks, piped = {name: [] for name in data}, {}, {}
    runs = {}
    for name, shard in data.items():  # the first round writes the shard's file
        runs[name] = averaged_sgd(net, shard, cluster=cluster, tau=TAU, rounds=ROUNDS + 1)
        print(f"  {name}: {shard}; first round {next(runs[name]).seconds.total:.2f} s", flush=True)
        peaks[name] = peak()
    for turn in zip(*runs.values(), strict=True):
        for name, result in zip(runs, turn, strict=True):
            seconds[name].append(result.seconds.total)
    for name, shard in data.items():
        start = time.perf_counter()
        shard.rdd.mapPartitions(lambda part: [sum(len(message) for _, message in part)]).sum()
        piped[name] = time.perf_counter() - start
        shard.unpersist()
    return {"seconds": seconds, "peaks": peaks, "piped": piped}


def numpy_loop(values, fields):
    """Rows in memory to messages, as one would write it without Spark; seconds an image."""
    start = time.perf_counter()
    for first in range(0, len(values), BATCH):
        some = values[first : first + BATCH]
        arrays = [
            np.frombuffer(pixels, np.uint8) if isinstance(pixels, bytes) else np.array(pixels, np.float32)
            for pixels, _ in some
        ]
        data = np.stack(arrays).reshape(-1, *SHAPE).astype(fields[0].dtype, copy=False)
        dumps({"data": data, "label": np.array([label for _, label in some])})
    return (time.perf_counter() - start) / len(values)


def throughput(spark, folder):
    """Kind -> way -> seconds an image, least of the repetitions."""
    frames, local = {}, {}
    for kind, (column, _, count, value) in STORED.items():
        rows = rdd_of(spark.sparkContext, count, 4).map(lambda image, value=value: (value(image[0]), image[1]))
        spark.createDataFrame(rows, f"data {column}, label bigint").write.parquet(f"{folder}/{len(frames)}")
        frames[kind] = spark.read.parquet(f"{folder}/{len(frames)}")
        local[kind] = [(value(pixels), label) for pixels, label in images((0, 2000))]
    best = {kind: dict.fromkeys(("rows", "Arrow", "numpy loop"), float("inf")) for kind in STORED}
    for _ in range(REPETITIONS):
        for kind, (_, fields, count, _) in STORED.items():
            for way in ("rows", "Arrow"):
                start = time.perf_counter()
                data = pack(frames[kind], fields, BATCH, shards=2, shuffle=True, seed=1, arrow=way == "Arrow")
                best[kind][way] = min(best[kind][way], (time.perf_counter() - start) / count)
                data.unpersist()
            best[kind]["numpy loop"] = min(best[kind]["numpy loop"], numpy_loop(local[kind], fields))
    return best


def jpeg_throughput(spark, folder):
    """As :func:`throughput`, for image files: decoded on the way, as they are, and decoded in the loop."""
    files = [jpeg(np.random.default_rng(i)) for i in range(100)]
    rows = [(files[i % len(files)], i % 10) for i in range(JPEGS)]
    spark.createDataFrame(rows, "data binary, label bigint").repartition(4).write.parquet(f"{folder}/jpeg")
    frame = spark.read.parquet(f"{folder}/jpeg")
    decoder, longest = ImageDecoder(*SIDES[1:]), max(map(len, files))
    padded = frame.rdd.map(lambda row: (row.data.ljust(longest, b"\0"), row.label))

    def decoded():
        return pack(
            frame, (Field("data", SIDES, "uint8"), LABEL), BATCH, decoder=decoder, shards=2, shuffle=True, seed=1
        )

    def encoded():
        return pack(padded, (Field("data", (longest,), "uint8"), LABEL), BATCH, shards=2, shuffle=True, seed=1)

    def loop():
        for first in range(0, JPEGS, BATCH):
            some = rows[first : first + BATCH]
            dumps(
                {"data": np.stack([decoder(file) for file, _ in some]), "label": np.array([label for _, label in some])}
            )

    best = {"decoded": float("inf"), "as they are": float("inf"), "numpy loop": float("inf")}
    for _ in range(REPETITIONS):
        for way, run in zip(best, (decoded, encoded, loop), strict=True):
            start = time.perf_counter()
            data = run()
            best[way] = min(best[way], (time.perf_counter() - start) / JPEGS)
            if data is not None:
                data.unpersist()
    return {"JPEG": best}


# ---- output
def of_memory(peaks):
    """Print what one part found, as all of these do, and return the ratios that are claimed."""
    print("packing: peak of a worker " + ", ".join(f"{peak:.0f} MB for {name}" for name, peak in peaks.items()))
    return {"peak of a worker that packs, 400 MB / 40 MB": peaks["400 MB"] / peaks["40 MB"]}


def of_rounds(found):
    seconds, peaks, piped = found.values()
    for name in seconds:
        print(
            f"shard of {name:6}: round {min(seconds[name]):.3f} s (median {np.median(seconds[name]):.3f}), "
            f"piping all of it {piped[name]:.2f} s, peak of a worker {peaks[name]:.0f} MB"
        )
    return {
        "seconds of a round, 1 GB / 50 MB": min(seconds["1 GB"]) / min(seconds["50 MB"]),
        "peak of a worker that trains, 1 GB / 50 MB": peaks["1 GB"] / peaks["50 MB"],
        "piping 1 GB / a round": piped["1 GB"] / min(seconds["1 GB"]),
    }


def of_throughput(best):
    for kind, ways in best.items():
        stored = STORED[kind][1] if kind in STORED else (Field("data", SIDES, "uint8"), LABEL)
        nbytes = sum(np.prod(f.shape, dtype=int) * np.dtype(f.dtype).itemsize for f in stored)
        for way, each in ways.items():
            print(f"packing {kind:13} {way:10} {1 / each:10,.0f} images/s {nbytes / each / MB:8,.0f} MB/s")
    return {
        **{f"{kind}: seconds by rows / by Arrow": best[kind]["rows"] / best[kind]["Arrow"] for kind in STORED},
        **{f"{kind}: seconds by Arrow / numpy loop": best[kind]["Arrow"] / best[kind]["numpy loop"] for kind in STORED},
        "JPEG: seconds decoded / as they are": best["JPEG"]["decoded"] / best["JPEG"]["as they are"],
        "JPEG: seconds decoded / numpy loop": best["JPEG"]["decoded"] / best["JPEG"]["numpy loop"],
    }


def of_partitions(best):
    for count, ways in best.items():
        print(
            f"packing 2 rows of each of {count} partitions: " + ", ".join(f"{way} {s:.2f} s" for way, s in ways.items())
        )
    return {}


def of_columns(best):
    for way, made in best.items():
        print(f"packing by {way}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in made.items()))
    return {
        f"50 columns / one of arrays, by {way}": made["columns"] / made["one of arrays"] for way, made in best.items()
    }


# part -> (measure, show, name in the JSON); memory first, because a process's peak never falls
PARTS = {
    "memory": (lambda spark, _: memory_of_packing(spark.sparkContext), of_memory, "packing peaks"),
    "rounds": (lambda spark, _: round_cost(spark), of_rounds, "rounds"),
    "throughput": (
        lambda spark, folder: throughput(spark, folder) | jpeg_throughput(spark, folder),
        of_throughput,
        "seconds an image",
    ),
    "partitions": (lambda spark, _: small_partitions(spark, REPETITIONS), of_partitions, "seconds of small partitions"),
    "columns": (lambda spark, _: joined_columns(spark, REPETITIONS), of_columns, "seconds of columns"),
}


def show(ratios):
    for name, ratio in ratios.items():
        target = f"   target at most {TARGETS[name]}" if name in TARGETS else ""
        target = f"   target at least {LEAST[name]}" if name in LEAST else target
        print(f"{name:45}{ratio:8.2f}{target}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=PARTS, help="this part alone; by default all")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    facts, figures, ratios = machine("numpy", "pyspark", "pyarrow", "pillow"), {}, {}
    spark = start_spark("local[2]", "bench packing", timeout=300, spark_driver_memory="3g")
    try:
        with tempfile.TemporaryDirectory() as folder:
            for part in [args.only] if args.only else PARTS:
                run, report, name = PARTS[part]
                found = figures[name] = run(spark, folder)
                ratios |= report(found)
    finally:
        spark.stop()
    show(ratios)
    if args.json:
        content = {"machine": facts, "targets": {"at most": TARGETS, "at least": LEAST}, "ratios": ratios, **figures}
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
