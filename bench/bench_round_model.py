"""Claim: the model of rounds (round_model.py) is at most 20 % off the rounds of ``LocalCluster(processes=K)`` that it did not see.

The constants of the model are measured apart from any round of a training:

- *messages*: rounds of a net of eight bytes, with 1, 2 and 4 workers, less their step. No other round of a training is seen.
- *bandwidth, cores*: a ``Hub`` and workers that give back nothing, or as many bytes as they are asked for; 64 MB, one connection and two.
- *code*: the functions of a worker's round and of the driver's end, called in this process, one after the other, with 64 MB.
- *a step*: a worker's 25 steps, in this process. A step sleeps, because more workers than cores could not compute at the same time.

Then rounds are predicted and measured: 1, 2 and 4 workers, three sizes, three tau, without and with one worker three times as slow. The
constants are medians, and a measured round is the median of those after the first two. The error is predicted / measured - 1. That of the
least round is beside it: a busy machine only ever adds.

What not to conclude: anything about a network. What the table of the docs says of those follows from the model alone.

    python bench/bench_round_model.py [--workers 1 2 4] [--sizes 1.7 45 244] [--tau 1 5 25] [--rounds N] [--apart MB] [--json FILE]
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
from facts import machine
from round_costs import Costs, star
from round_model import Work, simulate
from round_ways import Still

from sparknet import Field, LocalCluster, NDArray, WeightCollection, averaged_sgd, dump_parts, loads
from sparknet.averaging import Mean, first_nonfinite
from sparknet.clusters.direct.bodies import SLICE
from sparknet.clusters.direct.payload import ResultLayout, Slices, checked, data_in_a_slice, schema_of
from sparknet.data import pack
from sparknet.transport import Hello, Hub, Result, new_secret, serve
from sparknet.worker import Task, train_round

TARGET = 0.20
STEP = 0.02  # seconds that a step sleeps
SLOWER = 3
UNTIMED = 2  # rounds: the first opens the session, the second is the first that finds memory to use again
FIELDS = [Field("x", (1,), "float32")]
MB = 1e6


class Sleeper(Still):
    """A net of so many bytes whose step sleeps."""

    def __init__(self, nbytes, slow_worker=None):
        self.iteration, self._slow = 0, slow_worker
        half = int(nbytes) // 8
        self._weights = WeightCollection({name: [np.ones(half, np.float32)] for name in ("a", "b")})

    def step(self, batch):
        self.iteration += 1
        worker = int(batch["x"].to_host()[0, 0])  # each shard holds its worker's number
        time.sleep(STEP * (SLOWER if worker == self._slow else 1))
        return 0.0


class Factory:
    """Makes the net in each process."""

    def __init__(self, nbytes, slow_worker=None):
        self._arguments = nbytes, slow_worker

    def __call__(self, *, seed=0):
        del seed
        return Sleeper(*self._arguments)


def numbered(workers):
    """Minibatches of one row: those of the shard of worker k hold k."""
    return pack({"x": np.arange(workers, dtype="f")[:, None]}, FIELDS, 1)


def rounds_of(nbytes, workers, tau, slow_worker, rounds):
    """The median of the seconds of measured rounds, and the least."""
    took = []
    with closing(
        averaged_sgd(
            Factory(nbytes, slow_worker),
            numbered(workers),
            cluster=LocalCluster(processes=workers),
            workers=workers,
            tau=tau,
            rounds=UNTIMED + rounds,
        )
    ) as training:
        for each in training:
            took += [each.seconds.total] if each.index >= UNTIMED else []
    return statistics.median(took), min(took)


# ---- the constants
def echo(address, shard, secret, nbytes):
    """Be a worker that takes what comes and gives back so many bytes."""
    data = data_in_a_slice(nbytes)
    # memory of their own: what is in the cache costs less
    slices = [np.ones(data, np.uint8) for _ in range(nbytes // data)]
    used = []

    def do(body, exactly, is_wanted):
        del body, exactly, is_wanted
        before, used[:] = (used or [0.0])[0], [time.process_time()]
        return Result(1, slices, notes=json.dumps(used[0] - before).encode())

    serve(address, Hello(shard), secret=secret, do=do)


def exchange(workers, down, up, times):
    """Seconds and processor seconds of rounds of the transport alone: the median of each."""
    secret, context = new_secret(), multiprocessing.get_context("fork")
    found, said = [], []
    with Hub(workers, secret=secret, longest=SLICE) as hub:
        children = [context.Process(target=echo, args=(hub.address, k, secret, up)) for k in range(workers)]
        for each in children:
            each.start()
        # not zeros, which would all be one page of memory
        bodies = dict.fromkeys(range(workers), memoryview(np.ones(max(1, down), np.uint8)))
        for _ in range(UNTIMED + times):
            start, mine = time.perf_counter(), time.process_time()
            done = hub.round(bodies, combine=lambda _number, _slices: None)
            found.append(time.perf_counter() - start)
            # a worker says what it used since its last answer, which is that round's sending and this one's receiving
            said.append(time.process_time() - mine + sum(json.loads(each.notes) for each in done.values()))
    for each in children:
        each.join()
    return statistics.median(found[UNTIMED:]), statistics.median(said[UNTIMED:])


def seconds_of(times, function, *args):
    """The median seconds of a call."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        function(*args)
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def of_code(nbytes, times):
    """Seconds a byte of what worker and driver do with weights."""
    net, stored = Sleeper(nbytes), numbered(1).shard(0, 1)
    weights = net.get_weights()
    message = b"".join(dump_parts(weights))
    data = data_in_a_slice(weights.nbytes)
    slices = Slices([ResultLayout(schema_of(weights))], list(weights.arrays()), data)
    task = Task(worker=0, num_batches=1, first_step=0, tau=0, seed=0)
    loaded = seconds_of(times, lambda: net.set_weights(loads(message, verify=True)))
    # takes weights and gives them, as a worker that stays does
    whole = seconds_of(times, lambda: train_round(net, stored, task, weights, net.get_state(), lend=True))
    taken = seconds_of(times, net.set_weights, weights)
    parts = [[np.concatenate([data, np.frombuffer(sums, np.uint8)]) for data, sums in slices]] * 4
    mean = [np.ones(data // 4, np.float32) for _ in slices]

    def combine(workers):
        way, before = Mean().by_slices(weights, [1] * workers, {}), [0] * workers
        for number in range(len(slices)):
            given = []
            for k in range(workers):
                data, before[k] = checked(memoryview(parts[k][number]), k, number, before[k])
                given.append(NDArray(data.view(np.float32)))
            combined = way.combine(given).to_host()
            mean[number][: combined.size] = combined

    # in turns, and often: of the many, what counts is a difference
    turns = [[seconds_of(1, combine, workers) for workers in (1, 2, 4)] for _ in range(3 * times)]
    one, two, four = map(statistics.median, zip(*turns, strict=True))
    combined = max(0.0, (four - one) / 3)
    fresh = lambda: list(Slices([ResultLayout(schema_of(weights))], list(weights.arrays()), data))  # noqa: E731
    costs = {
        "sent": seconds_of(times, dump_parts, weights),
        "loaded": loaded,
        "ready": max(0.0, whole - taken),
        "sliced": seconds_of(times, fresh),
        "combined": combined,
        "stored": max(0.0, one - combined),
        "of_two": two,
        "looked": seconds_of(times, first_nonfinite, weights, []),
    }
    return {name: seconds / nbytes for name, seconds in costs.items()}


def step_of(tau, times):
    """Seconds of a step of a worker, and of a step of a slow one."""
    net, stored = Sleeper(8), numbered(1).shard(0, 1)
    task = Task(worker=0, num_batches=1, first_step=0, tau=tau, seed=0)
    return statistics.median(
        train_round(net, stored, task, net.get_weights(), net.get_state()).seconds / tau for _ in range(times)
    )


def measured_costs(nbytes, times):
    """The constants, and the seconds of a step."""
    step = step_of(25, times)
    empty = {workers: rounds_of(8, workers, 1, None, 10 * times)[0] - step for workers in (1, 2, 4)}
    message = max(0.0, (empty[4] - empty[1]) / 3)
    nothing = {workers: exchange(workers, 0, 0, times)[0] for workers in (1, 2)}
    ways = {(workers, way): exchange(workers, *way, times) for workers in (1, 2) for way in ((nbytes, 0), (0, nbytes))}
    rates = {
        workers: 2
        * workers
        * nbytes
        / sum(ways[workers, way][0] - nothing[workers] for way in ((nbytes, 0), (0, nbytes)))
        for workers in (1, 2)
    }
    moved = statistics.mean(used / (workers * nbytes) for (workers, _), (_, used) in ways.items())
    costs = Costs(
        bandwidth=rates[1],
        many=max(rates.values()),
        fixed=max(0.0, empty[1] - message),
        message=message,
        moved=moved,
        cores=float(len(os.sched_getaffinity(0))),
        **of_code(nbytes, times),
    )
    return costs, step


def rows(chosen, costs, step):
    """Yield a row for each case, as it is measured."""
    for workers in chosen.workers:
        for size in chosen.sizes:
            for tau in chosen.tau:
                for slow in (None, 0):
                    work = Work(size * MB, tau, step, slower=SLOWER, slow_ones=() if slow is None else (slow,))
                    predicted = simulate(star, costs, work, workers, rounds=1).seconds
                    measured, least = rounds_of(size * MB, workers, tau, slow, chosen.rounds)
                    error = predicted / measured - 1
                    said = "slow" if slow is not None else "even"
                    print(
                        f"{workers} workers, {size:5.1f} MB, tau {tau:2}, {said}: predicted {predicted * 1e3:7.1f} ms, "
                        f"measured {measured * 1e3:7.1f} ms, error {error:+.0%} (of the least {predicted / least - 1:+.0%})",
                        flush=True,
                    )
                    yield {
                        "workers": workers, "MB": size, "tau": tau, "slow": slow is not None,
                        "predicted": predicted, "measured": measured, "least": least, "error": error,
                    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--sizes", type=float, nargs="+", default=[1.7, 45.0, 244.0], help="of the weights, in MB")
    parser.add_argument("--tau", type=int, nargs="+", default=[1, 5, 25])
    parser.add_argument("--rounds", type=int, default=5, help="that are timed in each case")
    parser.add_argument("--apart", type=float, default=64.0, metavar="MB", help="with which the constants are measured")
    parser.add_argument("--times", type=int, default=5, help="that each constant is measured")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    facts = machine("numpy")
    costs, step = measured_costs(int(chosen.apart * MB), chosen.times)
    print(
        ", ".join(f"{name} {value:.3g}" for name, value in asdict(costs).items()) + f"; a step {step * 1e3:.2f} ms",
        flush=True,
    )
    found = list(rows(chosen, costs, step))
    facts["load after"] = os.getloadavg()[0]
    worst = max(abs(row["error"]) for row in found)
    median = statistics.median(abs(row["error"]) for row in found)
    of_least = statistics.median(abs(row["predicted"] / row["least"] - 1) for row in found)
    says = "holds" if worst <= TARGET else "DOES NOT HOLD"
    print(f"error at most {worst:.0%}, median {median:.0%} (of the least {of_least:.0%}); at most {TARGET:.0%}: {says}")
    print(f"load {facts['load']:.1f} before, {facts['load after']:.1f} after")
    if chosen.json:
        about = {"facts": facts, "costs": asdict(costs), "step": step}
        chosen.json.write_text(json.dumps({**about, "results": found}, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
