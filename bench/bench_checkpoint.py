"""Claim: a checkpoint of 244 MB after every round makes rounds of 5 s at most 5 % longer.

Two workers, in processes, with AlexNet's weights. Their steps multiply matrices for 5 s in all, on one core each, or sleep (``--sleep``) as
on machines whose cores are not those of the driver. Trainings with a checkpoint and without one take turns. The ratio is
that of the medians of their rounds, median over the pairs. Beside it: how long writing one checkpoint takes by itself.

What not to conclude: anything about a disk that is slower. Where writing takes longer than a round, the next one waits, and says so.

    python bench/bench_checkpoint.py [--mb 244] [--seconds 5] [--rounds 6] [--sleep] [--directory DIR] [--json FILE]
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from bench_round_model import MB, UNTIMED, Sleeper, numbered
from facts import machine

from sparknet import LocalCluster, averaged_sgd
from sparknet.checkpoint import Checkpoint, Position

TARGET = 1.05
WORKERS, TAU = 2, 5
SIDE = 384  # of the matrices


class Busy(Sleeper):
    """A net whose step takes a given time."""

    def __init__(self, nbytes, seconds, products):
        super().__init__(nbytes)
        self._seconds, self._products = seconds, products
        self._matrix = np.ones((SIDE, SIDE), np.float32)

    def step(self, batch):
        del batch
        self.iteration += 1
        if self._products is None:
            time.sleep(self._seconds)
        else:
            multiply(self._matrix, self._products)
        return 0.0


def multiply(matrix, times):
    for _ in range(times):
        np.dot(matrix, matrix)


class Factory:
    """Makes the net in each process."""

    def __init__(self, *arguments):
        self._arguments = arguments

    def __call__(self, *, seed=0):
        del seed
        return Busy(*self._arguments)


def products_in(seconds):
    """How many products take so long on one core."""
    matrix, times, took = np.ones((SIDE, SIDE), np.float32), 1, 0.0
    while took < min(0.2, seconds):
        times *= 2
        start = time.perf_counter()
        multiply(matrix, times)
        took = time.perf_counter() - start
    return max(1, round(times * seconds / took))


def training(factory, directory, rounds):
    return averaged_sgd(
        factory,
        numbered(WORKERS),
        cluster=LocalCluster(processes=WORKERS),
        workers=WORKERS,
        tau=TAU,
        rounds=rounds,
        checkpoint=directory,
    )


def alone(factory, directory, rounds):
    """The rounds of each training by itself, one after the other."""
    took, waited = {}, 0.0
    for name, where in (("without", None), ("with", directory)):
        with closing(training(factory, where, UNTIMED + rounds)) as running:
            found = [each.seconds for each in running]
        took[name] = [seconds.total for seconds in found[UNTIMED:]]
        waited = max(waited, *(seconds.checkpoint for seconds in found))
    return took, waited


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mb", type=float, default=244.0)
    parser.add_argument("--seconds", type=float, default=5.0, help="of the steps of a round")
    parser.add_argument("--rounds", type=int, default=6, help="that are timed")
    parser.add_argument("--times", type=int, default=2, help="pairs of trainings")
    parser.add_argument(
        "--sleep", action="store_true", help="let steps sleep: the workers have other cores than the driver"
    )
    parser.add_argument("--directory", type=Path, help="on the disk that is meant; default: that for temporary files")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    facts, ratios, waits = machine("numpy"), [], []
    step = chosen.seconds / TAU
    factory = Factory(int(chosen.mb * MB), step, None if chosen.sleep else products_in(step))
    for _ in range(chosen.times):
        with tempfile.TemporaryDirectory(dir=chosen.directory) as directory:
            took, waited = alone(factory, Path(directory) / "run", chosen.rounds)
        ratios.append(statistics.median(took["with"]) / statistics.median(took["without"]))
        waits.append(waited)
        shown = {name: f"{statistics.median(each):.2f} s" for name, each in took.items()}
        print(
            f"a round {shown['without']} without, {shown['with']} with a checkpoint, ratio {ratios[-1]:.3f}; waited {waited:.2f} s",
            flush=True,
        )
    with tempfile.TemporaryDirectory(dir=chosen.directory) as directory:
        net, start = factory(), time.perf_counter()
        Checkpoint(Path(directory) / "run", {}).write(Position(1, net.get_weights(), [net.get_state()], [1]))
        writing = time.perf_counter() - start
    ratio = statistics.median(ratios)
    facts["load after"] = os.getloadavg()[0]
    print(f"writing one takes {writing:.2f} s by itself")
    print(f"ratio {ratio:.3f}, at most {TARGET}: {'holds' if ratio <= TARGET else 'DOES NOT HOLD'}")
    print(f"load {facts['load']:.1f} before, {facts['load after']:.1f} after")
    if chosen.json:
        found = {"ratio": ratio, "ratios": ratios, "waited": waits, "writing": writing, "holds": ratio <= TARGET}
        chosen.json.write_text(json.dumps({"facts": facts, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
