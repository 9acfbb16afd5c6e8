"""Claim: where one of two workers is three times slower, rounds by the clock reach an accuracy sooner than rounds of tau steps.

Two worker processes train LeNet (or the MLP) on Fashion-MNIST. One of them is stopped and let go on in turns, by SIGSTOP and SIGCONT, so that
it runs a third of the time. The ways: tau steps for each worker, undisturbed and disturbed; `max_seconds` as long as tau undisturbed steps take;
`"auto"`, with the mean weighted by work and with the plain mean; and a quorum of one, with tau steps and with `"auto"`. A last run has a worker
stopped for ever, with a quorum of one: it must end, with that worker absent in each later round.

Seconds are those of rounds until the averaged weights first have the accuracy on all test images, the evaluation left out. Goodput is that of
these rounds. The seed is the same for all; by which steps the clock ends a round is not.

What not to conclude: that a quorum is worth its lost work where workers are slow all the time (a worker that is always late never takes part),
or seconds from one run: SIGSTOP lands where it lands.

    python bench/bench_stragglers.py [--net lenet|mlp] [--target 0.87] [--tau 50] [--rounds 60] [--times 1] [--json FILE]
"""

import argparse
import json
import os
import signal
import statistics
import threading
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from bench_accuracy import BATCH, SEED, accuracy, columns, factory_of, steps_of
from facts import machine
from processes import children

from sparknet import LocalCluster, averaged_sgd
from sparknet.averaging import Mean
from sparknet.data import load_image_set, pack

WORKERS = 2
SLOWER = 3  # times
PERIOD = 0.15  # seconds of a turn, of which the slow worker runs a third
FOREVER_ROUNDS = 10


def workers_since(before):
    """The worker processes of the session that is open; none while they start."""
    return sorted(pid for first in set(children(os.getpid())) - before for pid in children(first))


@contextmanager
def disturbed(how):
    """Disturb the first worker that is started in the block: "slow", "stopped" for ever, or "" for not at all."""
    before, ended = set(children(os.getpid())), threading.Event()

    def disturb():
        while not ended.wait(PERIOD / SLOWER):
            workers = workers_since(before)
            if len(workers) < WORKERS:
                continue
            with suppress(ProcessLookupError):
                os.kill(workers[0], signal.SIGSTOP)
                if how == "slow":
                    ended.wait(PERIOD * (SLOWER - 1) / SLOWER)
                    os.kill(workers[0], signal.SIGCONT)

    thread = threading.Thread(target=disturb, daemon=True)
    if how:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if how:
            thread.join()


def trained(job, how, *, to_the_end=False, **options):
    """Train until the accuracy is reached, or all rounds: seconds, rounds, steps, goodput, and who was absent how often."""
    net, seconds, absent, steps, goodput = job.factory(seed=SEED), 0.0, 0, 0, None
    reached, best = False, 0.0
    common = {"cluster": LocalCluster(processes=WORKERS), "workers": WORKERS, "tau": job.tau, "seed": SEED}
    with disturbed(how), averaged_sgd(job.factory, job.train, **common, **{"rounds": job.rounds, **options}) as rounds:
        for each in rounds:
            seconds += each.seconds.total
            steps += each.steps
            absent += len(each.decided.absent)
            goodput = rounds.goodput
            best = max(best, accuracy(net, each.weights, job.test))
            reached = best >= job.target
            if reached and not to_the_end:
                break
    found = {"seconds": seconds, "reached": reached, "accuracy": best, "rounds": each.index + 1, "steps": steps}
    return {**found, "absent": absent, "goodput": goodput.facts(), "line": str(goodput)}


class Job:
    """Net, data, and what is to be reached."""

    def __init__(self, chosen):
        images = load_image_set(chosen.data)
        self.factory = factory_of(chosen.net, images)
        pixels = steps_of(chosen.net)
        part = slice(0, chosen.images)
        train = {name: column[part] for name, column in columns(images.train).items()}
        self.train = pack(train, images.fields, BATCH, pixels, shuffle=SEED)
        self.test = pack(columns(images.test), images.fields, BATCH, pixels)
        self.tau, self.rounds, self.target = chosen.tau, chosen.rounds, chosen.target

    def seconds_of_tau(self):
        """The seconds of tau undisturbed steps, two workers at the same time: the median worker of three rounds."""
        rounds = averaged_sgd(
            self.factory, self.train, cluster=LocalCluster(processes=WORKERS), workers=WORKERS, tau=self.tau, rounds=3
        )
        return statistics.median(seconds for each in rounds for seconds in each.seconds.train)


def ways(limit):
    """Name -> how it is disturbed, and the options of the training."""
    return {
        "tau steps, undisturbed": ("", {}),
        "tau steps": ("slow", {}),
        f"max_seconds={limit:.2f}": ("slow", {"max_seconds": limit}),
        "max_seconds='auto'": ("slow", {"max_seconds": "auto"}),
        "max_seconds='auto', plain mean": ("slow", {"max_seconds": "auto", "rule": Mean()}),
        "min_workers=1": ("slow", {"min_workers": 1}),
        "min_workers=1, max_seconds='auto'": ("slow", {"min_workers": 1, "max_seconds": "auto"}),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--net", choices=["lenet", "mlp"], default="lenet")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--images", type=int, help="of the training set (default: all)")
    parser.add_argument("--target", type=float, default=0.87, help="accuracy to reach")
    parser.add_argument("--tau", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=60, help="at most")
    parser.add_argument("--times", type=int, default=1, help="that each way is measured; the ways take turns")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    facts, job = machine("numpy"), Job(chosen)
    limit = job.seconds_of_tau()
    found = {name: [] for name in ways(limit)}
    for _ in range(chosen.times):
        for name, (how, options) in ways(limit).items():
            found[name].append(trained(job, how, **options))
            show(name, found[name][-1], job.target)
    forever = partial(trained, job, "stopped", min_workers=1, rounds=FOREVER_ROUNDS, to_the_end=True)()
    show("min_workers=1, a worker stopped for ever", forever, job.target)
    facts["load after"] = os.getloadavg()[0]
    print(f"load {facts['load']:.1f} before, {facts['load after']:.1f} after")
    if chosen.json:
        about = {"facts": facts, "chosen": {**vars(chosen), "json": None}, "limit": limit}
        chosen.json.write_text(json.dumps({**about, "results": found, "forever": forever}, indent=1) + "\n")


def show(name, run, target):
    """Print a row."""
    what = (
        f"{run['seconds']:7.1f} s to {target:.0%}"
        if run["reached"]
        else f"{run['seconds']:7.1f} s, reached {run['accuracy']:.2%} only"
    )
    print(
        f"{name:42} {what}, {run['rounds']} rounds, {run['steps']:,} steps, {run['absent']} times absent; {run['line']}",
        flush=True,
    )


if __name__ == "__main__":
    main()
