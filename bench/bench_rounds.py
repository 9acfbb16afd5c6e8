"""Claim: the memory of the driver does not depend on the number of workers, and a round costs little more than its bytes do.

*Memory*: beside the weights that a round starts from, the driver of ``LocalCluster(processes=K)`` takes at most 1.5 models and 64 MB at its
peak, for K of 1, 2, 4 and 8, with ``Mean()``. The peak is that of the resident memory of a process made for one K, from the first round on.

*Time*: a round without steps, its weights out and the results back, averaged. The baseline is *copy and add*: numpy copies the same bytes as
often as they must be moved (once to each worker, once from each), and the mean is taken. It needs no processes, so no round can be faster.
Rounds and baseline take turns; the figures are medians, and the least of each, because a busy machine only ever adds.

What not to conclude: anything about a network, whose speed is another, or about a training, most of which is steps.

    python bench/bench_rounds.py [--net alexnet|lenet] [--workers 1 2 4 8] [--rounds N] [--json FILE]
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from bench_weights import ALEXNET, LENET, with_biases
from facts import machine

from sparknet import Field, LocalCluster, NDArray, WeightCollection, averaged_sgd
from sparknet.data import pack

SHAPES = {"lenet": with_biases(LENET), "alexnet": with_biases(ALEXNET)}
MB = 1e6


class Still:
    """A net whose steps do nothing, so that rounds are all that is measured; it copies its weights as any net does."""

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


def rounds_of(net, workers, rounds):
    """The rounds of a training whose workers are processes."""
    data = pack({"x": np.ones((workers, 1), "f")}, [Field("x", (1,), "float32")], 1)
    cluster = LocalCluster(processes=workers)
    return averaged_sgd(Factory(net), data, cluster=cluster, workers=workers, tau=1, rounds=rounds, seed=1)


def resident(name):
    """Bytes of this process that are in memory: VmRSS now, VmHWM at the most."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def measure_memory(net, workers, rounds):
    """Models that the driver takes at its peak beside the weights it starts from; run in a process of its own."""
    found = rounds_of(net, workers, rounds)
    size = found.weights.nbytes
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    for _ in found:
        pass
    taken = resident("VmHWM") - before
    return {
        "what": "memory of the driver",
        "net": net,
        "workers": workers,
        "bytes": taken,
        "models": taken / size,
        "holds": taken <= 1.5 * size + 64 * MB,
    }


def copy_and_add(weights, workers):
    """A function that moves the bytes of a round as often as a round has to, and takes the mean."""
    sent = [weights.copy() for _ in range(workers)]
    back = [weights.copy() for _ in range(workers)]

    def move():
        for target, source in [(each, weights) for each in sent] + list(zip(back, sent, strict=True)):
            for to, array in zip(target.arrays(), source.arrays(), strict=True):
                np.copyto(to.unwrap(), array.unwrap())
        return WeightCollection.mean(back)

    return move


def measure_time(net, workers, rounds):
    """Seconds of rounds, of which steps are not counted, and of copy and add, in turns."""
    took = {"round": [], "copy and add": []}
    found = rounds_of(net, workers, rounds + 1)
    move = copy_and_add(found.weights, workers)
    for each in found:
        took["round"].append(each.seconds.total - max(each.seconds.train))
        start = time.perf_counter()
        move()
        took["copy and add"].append(time.perf_counter() - start)
    took = {name: sorted(seconds[1:]) for name, seconds in took.items()}  # the first round opens the session
    median, least = ({name: seconds[at] for name, seconds in took.items()} for at in (rounds // 2, 0))
    return {
        "what": "a round",
        "net": net,
        "workers": workers,
        "seconds": median,
        "least": least,
        "ratio": median["round"] / median["copy and add"],
        "ratio of the least": least["round"] / least["copy and add"],
    }


MEASURES = {"memory": measure_memory, "time": measure_time}


def alone(what, net, workers, rounds):
    """What a measure returns in a fresh process."""
    command = [
        sys.executable,
        __file__,
        "--one",
        what,
        "--net",
        net,
        "--workers",
        str(workers),
        "--rounds",
        str(rounds),
    ]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def show(row):
    if row["what"] == "a round":
        seconds = ", ".join(f"{name} {value * 1e3:.1f} ms" for name, value in row["seconds"].items())
        print(
            f"{row['net']}, {row['workers']} workers: {seconds}; ratio {row['ratio']:.2f}, of the least {row['ratio of the least']:.2f}"
        )
    else:
        says = "holds" if row["holds"] else "DOES NOT HOLD"
        print(
            f"{row['net']}, {row['workers']} workers: peak {row['bytes'] / MB:.0f} MB, {row['models']:.2f} models; {says}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--net", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--one", choices=MEASURES, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(MEASURES[chosen.one](chosen.net[0], chosen.workers[0], chosen.rounds)))
        return
    rows = []
    for net in chosen.net:
        for what in MEASURES:
            for workers in chosen.workers:
                rows.append(alone(what, net, workers, 3 if what == "memory" else chosen.rounds))
                show(rows[-1])
    if chosen.json:
        chosen.json.write_text(json.dumps({"facts": machine("numpy"), "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
