"""The ways of a round that bench_rounds.py compares: each is a process of its own, and does a round whenever it is told to.

    python bench/round_ways.py WAY NET

It says "ready" once there are workers, reads a line for each round, answers with its seconds, and at the end with the most memory it had.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
from bench_weights import ALEXNET, LENET, with_biases
from processes import resident

from sparknet import Field, LocalCluster, NDArray, SparkCluster, WeightCollection, averaged_sgd
from sparknet.data import pack
from sparknet.spark import pack as spark_pack
from sparknet.spark import start_spark

SHAPES = {"lenet": with_biases(LENET), "alexnet": with_biases(ALEXNET)}
EXECUTORS = {("spark", "alexnet"): (3072, "4g")}  # megabytes of an executor, memory of the driver
USUAL = 1024, "1g"  # what Spark gives both by default
WORKERS = 2
MANY = 1 << 30  # rounds: as many as are asked for
READY = "ready"
PATIENCE = 1800  # seconds in which Spark must have started: a busy machine takes long


class Still:
    """A net whose steps do nothing, so that rounds are all that is measured; it copies and lends its weights as the nets of sparknet do."""

    def __init__(self, name, seed):
        rng = np.random.default_rng(seed)
        self.iteration = 0
        self._weights = WeightCollection(
            {layer: [rng.random(shape, dtype=np.float32) for shape in shapes] for layer, shapes in SHAPES[name].items()}
        )

    def get_weights(self):
        return self._weights.copy()

    def set_weights(self, weights):
        for mine, given in zip(self._weights.arrays(), weights.arrays(), strict=True):
            np.copyto(mine.unwrap(), given.to_host())

    def get_state(self):
        return {"iteration": NDArray(np.int64(self.iteration))}

    def lend(self):
        return self._weights, self.get_state()

    def set_state(self, state):
        self.iteration = int(state["iteration"])

    def step(self, batch):
        self.iteration += len(batch["x"])
        return 0.0

    def forward(self, batch, outputs=None):
        del batch, outputs
        return {"loss": NDArray(np.float32(0))}


class Factory:
    def __init__(self, name):
        self.name = name

    def __call__(self, *, seed=0):
        return Still(self.name, seed)


def rounds_of(net, cluster, data, workers, rounds):
    """The rounds of a training that is nothing but rounds."""
    return averaged_sgd(Factory(net), data, cluster=cluster, workers=workers, tau=1, rounds=rounds, seed=1)


def in_processes(net, workers, rounds, **options):
    """Those of a training whose workers are child processes, with these options of the cluster."""
    data = pack({"x": np.ones((workers, 1), "f")}, [Field("x", (1,), "float32")], 1)
    return rounds_of(net, LocalCluster(processes=workers, **options), data, workers, rounds)


def seconds_of(rounds):
    """Do rounds, and yield the seconds of each without those of steps."""
    with rounds:
        yield READY
        for each in rounds:
            yield each.seconds.total - max(each.seconds.train)


def copy_and_add(net):
    """Copies of numpy, to each worker and from each, and the mean."""
    weights = Still(net, 1).get_weights()
    sent, back = ([weights.copy() for _ in range(WORKERS)] for _ in range(2))
    yield READY
    while True:
        start = time.perf_counter()
        for target, source in [(each, weights) for each in sent] + list(zip(back, sent, strict=True)):
            for to, array in zip(target.arrays(), source.arrays(), strict=True):
                np.copyto(to.unwrap(), array.unwrap())
        WeightCollection.mean(back)
        yield time.perf_counter() - start


def echo(connection, size):
    """Be a worker that gives back what it gets; its memory is used again."""
    memory = memoryview(bytearray(size))
    while filled(connection, memory):
        connection.sendall(memory)
    os._exit(0)


def filled(connection, view):
    """Receive so many bytes, and say whether they came."""
    while view and (count := connection.recv_into(view)):
        view = view[count:]
    return not view


def raw_sockets(net):
    """The same bytes over a socket to each of two processes and back, all at the same time, and the mean: no message, no checksum."""
    flat = np.concatenate([array.to_host().ravel() for array in Still(net, 1).get_weights().arrays()])
    back, connections = [np.empty_like(flat) for _ in range(WORKERS)], []
    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        for _ in range(WORKERS):
            if not os.fork():
                echo(socket.create_connection(door.getsockname()), flat.nbytes)
            connections.append(door.accept()[0])
    out, into = memoryview(flat).cast("B"), [memoryview(each).cast("B") for each in back]
    yield READY
    while True:
        start = time.perf_counter()
        threads = [threading.Thread(target=each.sendall, args=(out,)) for each in connections]
        threads += [threading.Thread(target=filled, args=pair) for pair in zip(connections, into, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.add(back[0], back[1], out=back[0])
        np.multiply(back[0], np.float32(0.5), out=back[0])
        seconds = time.perf_counter() - start
        assert np.array_equal(back[0], flat)
        yield seconds


def processes(net):
    """Child processes, and no Spark."""
    return seconds_of(in_processes(net, WORKERS, MANY))


def on_spark(net, **options):
    """Two executors of one core."""
    executor, driver = EXECUTORS.get((options["transport"], net), USUAL)
    master = f"local-cluster[{WORKERS},1,{executor}]"
    spark = start_spark(master, timeout=PATIENCE, spark_executor_memory=f"{executor}m", spark_driver_memory=driver)
    try:
        rows = spark.sparkContext.parallelize([(np.ones(1, "f"),)] * WORKERS, WORKERS)
        data = spark_pack(rows, [Field("x", (1,), "float32")], 1, shards=WORKERS)
        yield from seconds_of(rounds_of(net, SparkCluster(spark, **options), data, WORKERS, MANY))
    finally:
        spark.stop()


WAYS = {
    "copy and add": copy_and_add,
    "raw sockets": raw_sockets,
    "processes": processes,
    "direct": partial(on_spark, transport="direct", encrypt=False),
    "direct with TLS": partial(on_spark, transport="direct", encrypt=True),
    "spark": partial(on_spark, transport="spark"),
}


def peaks():
    """The most bytes that this process has had in memory, and the JVM of its Spark."""
    found = {"Python": resident("VmHWM")}
    if "pyspark" in sys.modules:
        from pyspark import SparkContext

        if SparkContext._gateway is not None:
            found["JVM"] = resident("VmHWM", SparkContext._gateway.proc.pid)
    return found


class Way:
    """A way in a process of its own, as the one that measures has it: a program that obeys, and what it is told which way to go."""

    def __init__(self, *which, program=__file__):
        paths = [str(Path(__file__).parent), *sys.path]  # executors look there too
        self._process = subprocess.Popen(
            [sys.executable, program, *which],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        self._heard()  # before another one starts

    def _asked(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self):
        line = self._process.stdout.readline()
        if not line:
            msg = f"{self._process.args[2]} has ended, with status {self._process.wait()}"
            raise RuntimeError(msg)
        return json.loads(line)

    def round(self):
        """What a round took."""
        return self._asked("round")

    def end(self):
        """End it, and return what it says then, such as the most memory it had."""
        found = self._asked("end")
        self._process.communicate()
        return found


def obey(made, at_end):
    """Be the process of a way, which is made now: do a round for each line that comes, and say what came of it; and what ``at_end`` returns."""
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever Spark prints
    with closing(made()) as way:
        print(json.dumps(next(way)), file=said, flush=True)
        for line in sys.stdin:
            answer = next(way) if line == "round\n" else at_end()
            print(json.dumps(answer), file=said, flush=True)


def main():
    name, net = sys.argv[1:]
    obey(partial(WAYS[name], net), peaks)


if __name__ == "__main__":
    from round_ways import main as main_of_the_module  # so that executors find the classes by their module

    main_of_the_module()
