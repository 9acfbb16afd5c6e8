"""Claim: the memory of the driver does not depend on the number of workers, and a round costs little more than its bytes do.

*Memory*: beside the weights that a round starts from, the driver of ``LocalCluster(processes=K)`` takes at most 1.5 models and 64 MB at its
peak, for K of 1, 2, 4 and 8, with ``Mean()``. The peak is that of the resident memory of a process made for one K, from the first round on.

*Time*: rounds of two workers whose steps do nothing, weights out and results back, averaged. The ways, each in processes of its own:

- *copy and add*: numpy copies the same bytes to each worker and from each, in one process, and takes the mean.
- *raw sockets*: the same bytes over a socket of loopback to each of two processes and back, both at the same time, and the mean; no
  message, no checksum, nobody who could be lost.
- *processes*: ``LocalCluster(processes=2)``.
- *direct*, *direct with TLS*, *spark*: ``SparkCluster`` on two executors of one core and 1 GB, with a driver of 1 GB. Weights of 244 MB kill such
  executors the *spark* way, so there they have 3 GB and the driver 4 GB.

For LeNet (1.7 MB) a *direct* round takes at most 3 times the raw sockets and a 15th of *spark*; for AlexNet (244 MB) at most 2.5 times copy
and add and a 12th of *spark*, in a driver whose JVM and Python together never have more than 1 GB and two models in memory. The ways take
turns; a ratio is the median of those of pairs, beside that of the least of each, because a busy machine only ever adds.

What not to conclude: anything about a network, whose speed is another, or about a training, most of which is steps.

    python bench/bench_rounds.py [--only memory|time] [--net alexnet|lenet] [--workers 1 2 4 8] [--rounds N] [--json FILE]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from facts import machine
from processes import resident
from round_ways import SHAPES, WAYS, Factory, Way, in_processes

MB = 1e6
UNTIMED = 2  # rounds: the first opens the session, the second is the first that finds memory to use again
ROUNDS = {"lenet": 31, "alexnet": 7}
# net -> (a way, at most so many times, the other)
CLAIMS = {
    "lenet": [("direct", 3.0, "raw sockets"), ("direct", 1 / 15, "spark")],
    "alexnet": [("direct", 2.5, "copy and add"), ("direct", 1 / 12, "spark")],
}
TOLD = [
    ("direct with TLS", "direct"),
    ("processes", "raw sockets"),
    ("direct", "copy and add"),
    ("direct", "raw sockets"),
]


def measure_memory(net, workers):
    """Models that the driver takes at its peak beside the weights it starts from; run in a process of its own."""
    found = in_processes(net, workers, 3)
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


def alone(net, workers):
    """What measure_memory returns in a fresh process."""
    command = [sys.executable, __file__, "--one", "--net", net, "--workers", str(workers)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def says(holds):
    return "holds" if holds else "DOES NOT HOLD"


def memory_rows(net, counts):
    """Yield a row for each number of workers."""
    for workers in counts:
        row = alone(net, workers)
        print(
            f"{net}, {workers} workers: peak {row['bytes'] / MB:.0f} MB, {row['models']:.2f} models; {says(row['holds'])}",
            flush=True,
        )
        yield row


def in_turns(net, names, rounds):
    """Seconds of each way, and the most memory that it had."""
    ways = {name: Way(name, net) for name in names}
    took = {name: [] for name in ways}
    for turn in range(UNTIMED + rounds):
        for name, way in ways.items():
            took[name] += [way.round()] if turn >= UNTIMED else [way.round()][:0]
    return took, {name: way.end() for name, way in ways.items()}


def ratio_of(took, name, other):
    """The median of the ratios of pairs, and the ratio of the least."""
    pairs = zip(took[name], took[other], strict=True)
    return {
        "way": name,
        "to": other,
        "ratio": statistics.median(a / b for a, b in pairs),
        "ratio of the least": min(took[name]) / min(took[other]),
    }


def time_rows(net, names, rounds):
    """Yield a row for each way, one for each ratio, and one for the driver's memory."""
    took, most = in_turns(net, names, rounds)
    for name, seconds in took.items():
        row = {"what": "a round", "net": net, "way": name, "seconds": statistics.median(seconds), "least": min(seconds)}
        memory = ", ".join(f"{process} {size / MB:.0f} MB" for process, size in most[name].items())
        print(
            f"{net}, {name:16} {row['seconds'] * 1e3:9.1f} ms, least {row['least'] * 1e3:9.1f} ms; at the most {memory}"
        )
        yield {**row, "all": seconds, "most memory": most[name]}
    told = dict.fromkeys(TOLD) | {(name, other): most for name, most, other in CLAIMS[net]}
    for (name, other), limit in told.items():
        if name not in took or other not in took:
            continue
        row = {"what": "a ratio", "net": net, **ratio_of(took, name, other), "claim": limit}
        found, least = row["ratio"], row["ratio of the least"]
        turned = limit is not None and limit < 1
        words = (
            f"1/{1 / found:.1f} (of the least 1/{1 / least:.1f})"
            if turned
            else f"{found:.2f} (of the least {least:.2f})"
        )
        claim = (
            "" if limit is None else f"; at most {f'1/{1 / limit:.0f}' if turned else limit}: {says(found <= limit)}"
        )
        print(f"{net}, {name} to {other}: {words}{claim}", flush=True)
        yield row | ({} if limit is None else {"holds": found <= limit})
    if "direct" in most:
        size = Factory(net)().get_weights().nbytes
        limit, taken = (1 << 30) + 2 * size, sum(most["direct"].values())
        print(
            f"{net}, direct: the driver had {taken / MB:.0f} MB, at most {limit / MB:.0f} MB: {says(taken <= limit)}",
            flush=True,
        )
        yield {"what": "memory of the driver on Spark", "net": net, "bytes": taken, "holds": taken <= limit}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=["memory", "time"])
    parser.add_argument("--net", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8], help="of which the memory is measured")
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--rounds", type=int, help="that are timed; default: " + str(ROUNDS))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure_memory(chosen.net[0], chosen.workers[0])))
        return
    facts, rows = machine("numpy", "pyspark", "cryptography"), []
    for net in chosen.net:
        if chosen.only != "time":
            rows += memory_rows(net, chosen.workers)
        if chosen.only != "memory":
            rows += time_rows(net, chosen.ways, chosen.rounds or ROUNDS[net])
    facts["load after"] = os.getloadavg()[0]
    print(f"load {facts['load']:.1f} before, {facts['load after']:.1f} after", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({"facts": facts, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
