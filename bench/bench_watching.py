"""Claim: to watch a job costs less than a hundredth of the shortest job there is, and a minibatch less than ten microseconds.

On the driver: what every job waits for, with and without its watch, around an action that does nothing; beside it
the shortest job of Spark that there is, for a measure. In a worker: going through minibatches that are nothing, observed or
not. Interleaved, medians of repetitions.

What not to conclude: what a job that takes minutes costs. It is looked at every five seconds at first, and later after each
tenth of its time: a few milliseconds of the driver's JVM each time.

    python bench/bench_watching.py
"""

import argparse
import json
import statistics
import time

from sparknet.clusters.spark.jobs.stacks import observed
from sparknet.clusters.spark.jobs.watching import watched
from sparknet.spark import start_spark

MINIBATCHES = 100_000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    context = start_spark("local[2]").sparkContext
    rdd = context.parallelize(range(2), 2).cache()
    rdd.count()
    ways = {"a job": rdd._jrdd.count, "a watch": lambda: watch(context), "plain": plain, "observed": through_observed}
    seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    facts = {
        "shortest job, ms": 1e3 * medians["a job"],
        "watch of a job, ms": 1e3 * medians["a watch"] / 100,
        "minibatch observed, us": 1e6 * (medians["observed"] - medians["plain"]) / MINIBATCHES,
    }
    print(json.dumps({name: round(value, 4) for name, value in facts.items()}, indent=1))
    context.stop()


def watch(context):
    for _ in range(100):
        with watched(context, "sparknet-bench"):
            pass


def plain():
    for _ in iter(range(MINIBATCHES)):
        pass


def through_observed():
    for _ in observed(range(MINIBATCHES), "bench", 0):
        pass


if __name__ == "__main__":
    main()
