"""Claim: with ``aggregation="sliced"`` the driver's link carries two models a round, however many workers there are, and is no longer the wall.

Rounds of ``LocalCluster(processes=K)`` whose steps do nothing, of a net of AlexNet's size (244 MB), with ``"star"`` and ``"sliced"`` in turns,
each in processes of its own that stay:

- *loopback*: as it is. All links are one memory bus there.
- *so many Mbit/s*: driver and workers are each in a network namespace of their own (``links.py``), whose link the kernel limits in each
  direction. Bytes are those that the links have counted, with the headers of what the kernel sends as one packet.

Where links have 1,000 Mbit/s, the driver's link carries at most 2.1 models a round in the sliced way (a star: 2 K), that of a worker at most
2.1 in each direction, and a round takes at most 0.9 (K = 2) and 0.6 (K = 4) of that of a star: by bytes alone it would be (2 - 1 / K) / K,
which is 0.75 and 0.44. The ratio is the median of those of pairs. What the model of rounds (``round_model.py``) says stands beside.

What not to conclude: anything about the speed of the sliced way from loopback, where the same cores and the same memory carry more bytes
than in a star and nothing is gained; or about a real network from the limited links, whose latency is nearly nothing and which lose nothing
on the way. A step that computes would run beside no transfer, in either way.

    python bench/bench_sliced.py [--workers 2 4] [--links 0 1000] [--net alexnet|lenet] [--rounds N] [--json FILE]
"""

import argparse
import json
import os
import statistics
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from facts import machine
from links import Network, each_on_its_own
from processes import children, resident
from round_costs import Costs, sliced, star
from round_model import Work, simulate
from round_ways import MANY, READY, SHAPES, Factory, Way, in_processes, obey

MB = 1e6
UNTIMED = 2  # rounds: the first opens the session, the second is the first that finds memory to use again
MODELS = {"star": star, "sliced": sliced}
MOST = 2.1  # models over the driver's link, both directions together, and over a worker's, each direction
CLAIMED = 1000  # Mbit/s of a link
SLOWEST = {2: 0.9, 4: 0.6}  # of the seconds of a star, by the number of workers


def rounds_of(net, workers, way, rate):
    """Do rounds, and yield of each the seconds, and the bytes that came to each machine and that it sent, the driver first."""
    with ExitStack() as opened:
        network = Network(1 + workers, rate * MB) if rate else None
        if network is not None:
            opened.enter_context(each_on_its_own(network))
        rounds = opened.enter_context(in_processes(net, workers, MANY, aggregation=way))
        yield READY
        before = network and network.carried()
        for each in rounds:
            after = network and network.carried()
            carried = network and [
                [b - a for a, b in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)
            ]
            before = after
            yield {"seconds": each.seconds.total, "carried": carried}  # its step takes no time


def peaks():
    """The most bytes that the driver has had in memory, and each worker."""
    workers = [pid for first in children(os.getpid()) for pid in children(first)]
    return {"driver": resident("VmHWM"), "workers": [resident("VmHWM", pid) for pid in workers]}


def in_turns(net, workers, rate, rounds):
    """What came of each round of each way, and the most memory that it had."""
    ways = {name: Way("--one", name, str(workers), str(rate), "--net", net, program=__file__) for name in MODELS}
    found = {name: [] for name in ways}
    for turn in range(UNTIMED + rounds):
        for name, way in ways.items():
            answer = way.round()
            found[name] += [answer] if turn >= UNTIMED else []
    return found, {name: way.end() for name, way in ways.items()}


def of_way(name, found, most, size):
    """A row about a way: seconds, models that the links carry, and memory."""
    seconds = [each["seconds"] for each in found]
    row = {"way": name, "seconds": statistics.median(seconds), "all": seconds, "most memory": most}
    if found[0]["carried"] is not None:
        # of each machine: the median of what came, and of what it sent
        carried = [
            [statistics.median(counts) / size for counts in zip(*rounds, strict=True)]
            for rounds in zip(*(each["carried"] for each in found), strict=True)
        ]
        row["models"] = {"driver": carried[0], "workers": carried[1:]}
    return row


def predicted(name, size, workers, rate):
    """Seconds by the model of rounds, with its constants, on the cores of this machine."""
    costs = Costs(bandwidth=rate * MB / 8, cores=float(len(os.sched_getaffinity(0))))
    return simulate(MODELS[name], costs, Work(size, tau=0), workers, rounds=1).seconds


def rows(net, workers, rate, rounds):
    """Yield a row for each way, and one for their ratio."""
    size = Factory(net)().get_weights().nbytes
    found, most = in_turns(net, workers, rate, rounds)
    where = f"{net}, {workers} workers, {f'{rate} Mbit/s' if rate else 'loopback'}"
    about = {"net": net, "workers": workers, "Mbit/s": rate}
    made = {name: about | of_way(name, found[name], most[name], size) for name in MODELS}
    for name, row in made.items():
        memory = row["most memory"]
        words = f"driver {memory['driver'] / MB:.0f} MB, a worker {max(memory['workers']) / MB:.0f} MB at the most"
        if rate:
            row["predicted"] = predicted(name, size, workers, rate)
            models = row["models"]
            words = (
                f"by the model {row['predicted']:.2f} s; driver's link {' and '.join(f'{n:.2f}' for n in models['driver'])} models in "
                f"and out, a worker's {' and '.join(f'{max(each):.2f}' for each in zip(*models['workers'], strict=True))}; {words}"
            )
        print(f"{where}, {name:6} {row['seconds']:6.2f} s; {words}", flush=True)
        yield row
    pairs = [b["seconds"] / a["seconds"] for a, b in zip(found["star"], found["sliced"], strict=True)]
    ratio = {**about, "way": "sliced to star", "ratio": statistics.median(pairs), "all": pairs}
    claimed = rate == CLAIMED and workers in SLOWEST
    if claimed:
        ratio["holds"] = holds(ratio["ratio"], made["sliced"]["models"], SLOWEST[workers])
    words = (
        f"; at most {SLOWEST[workers]}, with its links: {'holds' if ratio['holds'] else 'DOES NOT HOLD'}"
        if claimed
        else ""
    )
    print(f"{where}, sliced to star: {ratio['ratio']:.2f}{words}", flush=True)
    yield ratio


def holds(ratio, models, slowest):
    """Whether the claim holds, of the sliced way."""
    busiest = max(max(each) for each in models["workers"])
    return ratio <= slowest and max(sum(models["driver"]), busiest) <= MOST


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--net", choices=SHAPES, default="alexnet")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4])
    parser.add_argument(
        "--links", type=int, nargs="+", default=[0, CLAIMED], metavar="MBIT", help="a second; 0: loopback, as it is"
    )
    parser.add_argument("--rounds", type=int, default=5, help="that are timed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        way, workers, rate = chosen.one
        obey(partial(rounds_of, chosen.net, int(workers), way, int(rate)), peaks)
        return
    facts, found = machine("numpy"), []
    facts["congestion control"] = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    for rate in chosen.links:
        for workers in chosen.workers:
            found += rows(chosen.net, workers, rate, chosen.rounds)
    facts["load after"] = os.getloadavg()[0]
    print(f"load {facts['load']:.1f} before, {facts['load after']:.1f} after", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({"facts": facts, "results": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
