"""Claim: two workers train LeNet in at most 0.55 times the time of one process for each tau of 5 and more, and 0.7 times for tau 1.

*One process* is pycaffe in a loop of its own: 1,875 steps on minibatches of 64 images of Fashion-MNIST, with one thread; beside it the same with
two threads of BLAS. *Workers* are two tasks on Spark ``local[2]``, with ``transport="direct"``, and half as many steps each. *Two processes apart*
are plain ones at the same time, half of the steps each, which never average: two cores seldom compute twice as much as one, so no way of
averaging could take less. *Raw sockets* are such two, which send their weights and momentum over a socket after every tau steps and get the
mean back in its place: no message, no checksum, no data to prepare, nobody who could be lost. No star over sockets could take less.

The start of Spark, with the images packed and the Python workers started, is timed apart and left out. What counts is a whole training, the
opening of its session included. tau may not divide the steps; so seconds are those of as many steps. Of each training is told where its
seconds went: *steps* of the mean worker, *waiting* for the slowest one, *exchange* (all else of a round), and *opening*, the exchange of the first
round. The ways take turns; a ratio is the median of those of pairs. Accuracy is that on all 10,000 test images.

What not to conclude: that K workers need K times fewer steps for the same accuracy (see bench_accuracy.py), or anything about a net whose step is
shorter than LeNet's 15 to 30 ms.

    python bench/bench_training.py [--tau 1 5 25 100] [--steps 1875] [--times 1] [--transport direct|spark] [--json FILE]
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
from bench_accuracy import BATCH, LENET, SEED, accuracy, columns
from facts import machine
from round_ways import filled

from sparknet import SparkCluster, averaged_sgd
from sparknet.data import EpochSampler, load_image_set, pack
from sparknet.nets import CaffeNet
from sparknet.spark import pack as spark_pack
from sparknet.spark import start_spark

WORKERS = 2
TARGETS = {1: 0.7}  # of the seconds of one process
TARGET = 0.55
ONE, ONE_WITH_TWO, APART = "one process", "one process, two threads", "two processes apart"
RAW = "raw sockets, tau {}"
PARTS = ("steps", "waiting", "exchange", "opening")


def prepared(data):
    """A factory of LeNet, and the images for training and for test."""
    images = load_image_set(data)
    factory = CaffeNet.factory(solver=LENET, fields=images.fields)
    train = pack(columns(images.train), images.fields, BATCH, shuffle=SEED)
    return factory, images, train, pack(columns(images.test), images.fields, BATCH)


def averaged(net, connection):
    """Send the weights and the momentum of a net from its own memory, and get the mean in their place."""
    weights, state = net.lend()
    arrays = [*weights.arrays(), *(array for array in state.values() if array.ndim)]
    views = [memoryview(array.unwrap()).cast("B") for array in arrays]
    for view in views:
        connection.sendall(view)
    for view in views:
        assert filled(connection, view)


class Star:
    """The middle of raw sockets: takes the mean of what two workers send, and sends it back."""

    def __init__(self, nbytes):
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._given = [np.empty(nbytes // 4, np.float32) for _ in range(WORKERS)]

    def serve(self, rounds):
        connections = [self._door.accept()[0] for _ in range(WORKERS)]
        views = [memoryview(each).cast("B") for each in self._given]
        for _ in range(rounds):
            self._at_once(filled, connections, views)
            mean = np.add(*self._given, out=self._given[0])
            mean *= np.float32(0.5)
            self._at_once(lambda connection, view: connection.sendall(view), connections, [views[0]] * WORKERS)
        for each in connections:
            each.close()

    def _at_once(self, what, connections, views):
        threads = [threading.Thread(target=what, args=pair) for pair in zip(connections, views, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def plain(data, steps, shard, tau, port):
    """Train in this process, by pycaffe's own solver, once somebody writes a line; say the seconds, and the accuracy."""
    if tau:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    factory, _, train, test = prepared(data)
    net = factory(seed=SEED)
    solver = net._solver  # pycaffe's own
    caffe_net = solver.net  # each access makes a wrapper
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    for step, i in enumerate(EpochSampler(train.num_batches, SEED, shard).indices(0, steps), start=1):
        for name, column in train.batches[i].items():
            caffe_net.blobs[name].reshape(*column.shape)
            caffe_net.blobs[name].data[...] = column.to_host()
        solver.step(1)
        if tau and step % tau == 0:
            averaged(net, connection)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "accuracy": accuracy(net, net.get_weights(), test)}), flush=True)


def in_processes(data, steps, *, count=1, threads=1, tau=0, star=None):
    """Seconds of the slowest of so many processes that train at the same time, and the accuracy of the first."""
    command = [sys.executable, __file__, "--data", data, "--steps", str(steps)]
    command += ["--average", str(tau), str(star.port)] if tau else []
    command += ["--shard"]
    limits = {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    running = [
        subprocess.Popen(
            [*command, str(k)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | limits
        )
        for k in range(count)
    ]
    for each in running:
        assert each.stdout.readline() == "ready\n"
    for each in running:
        each.stdin.write("go\n")
        each.stdin.flush()
    if tau:
        star.serve(steps // tau)
    found = [json.loads(each.communicate()[0]) for each in running]
    return {"seconds": max(each["seconds"] for each in found), "accuracy": found[0]["accuracy"], "steps": steps * count}


class OnSpark:
    """Trainings by two workers on one Spark session."""

    def __init__(self, data, transport):
        start = time.perf_counter()
        self._factory, images, _, self._test = prepared(data)
        self._spark = start_spark(f"local[{WORKERS}]", timeout=1800)
        rows = self._spark.sparkContext.parallelize(list(zip(*images.train, strict=True)), WORKERS)
        self._packed = spark_pack(rows, images.fields, BATCH, shards=WORKERS, shuffle=SEED)
        self._cluster = SparkCluster(self._spark, transport=transport)
        self._net = self._factory(seed=SEED)
        self.nbytes = 2 * self._net.get_weights().nbytes  # with the momentum
        list(self._rounds(1, 1))
        self.start = time.perf_counter() - start

    def _rounds(self, tau, rounds):
        return averaged_sgd(
            self._factory, self._packed, cluster=self._cluster, workers=WORKERS, tau=tau, rounds=rounds, seed=SEED
        )

    def train(self, tau, steps):
        """A training with about so many steps in all: its seconds, their parts, and the accuracy."""
        start, parts, taken = time.perf_counter(), dict.fromkeys(PARTS, 0.0), 0
        for each in self._rounds(tau, round(steps / WORKERS / tau)):
            taken += each.steps
            slowest, mean = max(each.seconds.train), statistics.mean(each.seconds.train)
            parts["steps"] += mean
            parts["waiting"] += slowest - mean
            parts["exchange" if each.index else "opening"] += each.seconds.total - slowest
        seconds = time.perf_counter() - start
        reached = accuracy(self._net, each.weights, self._test)
        return {"seconds": seconds, "accuracy": reached, "steps": taken, "parts": parts}

    def stop(self):
        self._spark.stop()


def in_turns(chosen, workers):
    """Way -> what each of its runs gave; the ways take turns."""
    ways = {
        ONE: lambda: in_processes(chosen.data, chosen.steps),
        ONE_WITH_TWO: lambda: in_processes(chosen.data, chosen.steps, threads=2),
        APART: lambda: in_processes(chosen.data, chosen.steps // WORKERS, count=WORKERS),
    }
    star = Star(workers.nbytes)
    for tau in chosen.tau:
        steps = max(1, round(chosen.steps / WORKERS / tau)) * tau
        ways[RAW.format(tau)] = partial(in_processes, chosen.data, steps, count=WORKERS, tau=tau, star=star)
        ways[tau] = partial(workers.train, tau, chosen.steps)
    found = {way: [] for way in ways}
    for _ in range(chosen.times):
        for way, run in ways.items():
            found[way].append(run())
    return found


def summed_up(way, found):
    """The row of a way: medians, and the ratio to one process, of as many steps; of workers the ratio to raw sockets too."""
    runs = found[way]

    def median(part):
        return statistics.median(map(part, runs))

    def ratio(other):
        pairs = zip(runs, found[other], strict=True)
        return statistics.median(mine["seconds"] / mine["steps"] * its["steps"] / its["seconds"] for mine, its in pairs)

    row = {
        "way": way if isinstance(way, str) else f"{WORKERS} workers, tau {way}",
        "seconds": median(lambda run: run["seconds"]),
        "steps": runs[0]["steps"],
        "accuracy": runs[0]["accuracy"],
        "ratio": ratio(ONE),
    }
    if isinstance(way, int):
        target = TARGETS.get(way, TARGET)
        row |= {"parts": {name: median(lambda run, name=name: run["parts"][name]) for name in PARTS}}
        row |= {"to raw sockets": ratio(RAW.format(way))}
        rest = 1 - row["parts"]["opening"] / row["seconds"]
        row |= {"claim": target, "holds": row["ratio"] <= target, "ratio without opening": rest * row["ratio"]}
    return row


def show(row):
    """Print a row."""
    print(
        f"{row['way']:26} {row['seconds']:7.2f} s for {row['steps']:,} steps, accuracy {row['accuracy']:.2%}, ratio {row['ratio']:.3f}",
        end="",
    )
    if "parts" in row:
        verdict = "holds" if row["holds"] else "DOES NOT HOLD"
        print(f" ({row['ratio without opening']:.3f} without opening), at most {row['claim']}: {verdict}")
        parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in row["parts"].items())
        print(f"{'':27}{parts}; {row['to raw sockets']:.2f} times raw sockets", end="")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--steps", type=int, default=1875, help="in all")
    parser.add_argument("--tau", type=int, nargs="+", default=[1, 5, 25, 100])
    parser.add_argument("--times", type=int, default=1, help="that each way is measured")
    parser.add_argument("--transport", choices=["direct", "spark"], default="direct")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--average", type=int, nargs=2, default=[0, 0], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.shard is not None:
        plain(chosen.data, chosen.steps, chosen.shard, *chosen.average)
        return
    facts = machine("numpy", "pyspark")
    workers = OnSpark(chosen.data, chosen.transport)
    print(f"Spark's start, images packed and Python workers started: {workers.start:.1f} s, left out", flush=True)
    try:
        found = in_turns(chosen, workers)
    finally:
        workers.stop()
    rows = [summed_up(way, found) for way in found]
    for row in rows:
        show(row)
    facts["load after"] = os.getloadavg()[0]
    print(f"load {facts['load']:.1f} before, {facts['load after']:.1f} after")
    if chosen.json:
        about = {"facts": facts, "start": workers.start, "transport": chosen.transport, "times": chosen.times}
        chosen.json.write_text(json.dumps({**about, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
