"""Chaos with real processes: ``nox -s chaos -- --real --seeds 20 --rounds 50 --clusters processes local-cluster standalone``.

Each run is a training whose driver, workers, executors and Spark workers are killed, stopped and told to fail, as its seed says. It has
to end in time, with the bits of the undisturbed run in each round, and to leave no process, port, file or broadcast. Then the memory of
all processes is looked at over many undisturbed rounds. With a finding the exit status is not 0.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from chaos.faults import KINDS, Fault, plan
from chaos.run import Run, RunError
from chaos.standalone import Standalone
from chaos.training import FIELDS, Meeting, bits, columns, options

from sparknet import LocalCluster, averaged_sgd
from sparknet.data import pack

_CLUSTERS = ("processes", "local-cluster", "standalone")
_POLICIES = ("average", "reset")
_SETTLED = 0.25  # of the rounds, before memory is looked at
_GROWTH = 0.05  # models that a process of Python may grow by in a round: one that kept what it got would grow by one


def expected(rounds, policy):
    """Return the bits of each round, and the bytes of a model."""
    data = pack(columns(), FIELDS, 8)
    done = list(averaged_sgd(Meeting("", {}), data, cluster=LocalCluster(), **options(data, rounds, policy)))
    return [bits(each) for each in done], done[-1].weights.nbytes


def main():
    """Run, and print what became of each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", nargs="+", choices=_CLUSTERS, default=_CLUSTERS)
    parser.add_argument("--seeds", type=int, default=20, help="runs of each cluster")
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--rounds", type=int, default=50, help="of each run")
    parser.add_argument("--faults", type=int, default=10, help="of each run")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="KIND", default=(), help=", ".join(KINDS))
    parser.add_argument("--aggregation", choices=["star", "sliced"], default="star")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds in which a run has to end")
    parser.add_argument("--memory", type=int, default=200, help="undisturbed rounds whose memory is looked at; 0: none")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the processes of a run end with this one
    known = {policy: expected(chosen.rounds, policy)[0] for policy in _POLICIES}
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        findings = [
            found for cluster in chosen.clusters for found in _tried(cluster, Path(folder) / cluster, chosen, known)
        ]
    for found in findings:
        print(f"FOUND: {found}")
    sys.exit(len(findings) > 0)


def _tried(cluster, folder, chosen, known):
    """Run all seeds on a cluster, and yield what was found."""
    with Standalone(folder / "spark") if cluster == "standalone" else nullcontext() as standalone:

        def run(name, policy, rounds, faults, **more):
            more = {"standalone": standalone, "limit": chosen.limit, "aggregation": chosen.aggregation, **more}
            return Run(folder / name, cluster, policy, rounds, faults, **more)

        quiet, injected, missed, seconds = {}, Counter(), 0, []
        for policy in _POLICIES if chosen.seeds else ():
            try:
                with run(f"undisturbed-{policy}", policy, chosen.rounds, []) as each:
                    quiet[policy] = each.ends_as(known[policy])
            except RunError as error:
                yield str(error)
                return
        for seed in range(chosen.first, chosen.first + chosen.seeds):
            policy = _POLICIES[seed % 2]
            faults = plan(cluster, seed, chosen.rounds, chosen.faults, chosen.only)
            try:
                with run(f"seed-{seed}", policy, chosen.rounds, faults) as each:
                    outcome = each.ends_as(known[policy])
            except RunError as error:
                print(f"{cluster}, seed {seed}, {policy}: FAILED", flush=True)
                yield str(error)
                continue
            injected += outcome.injected
            missed += outcome.missed
            seconds.append(outcome.seconds)
            print(
                f"{cluster}, seed {seed}, {policy}: {chosen.rounds} rounds and {outcome.injected.total()} faults in "
                f"{outcome.seconds:.1f} s, undisturbed {quiet[policy].seconds:.1f} s; {outcome.goodput}, undisturbed {100 * quiet[policy].goodput.ratio:.1f} %; the same bits, nothing left; "
                f"load {os.getloadavg()[0]:.0f}",
                flush=True,
            )
        if seconds:
            print(
                f"{cluster}: {len(seconds)} of {chosen.seeds} runs survived {injected.total()} faults, {np.median(seconds):.1f} s a run "
                f"(median; undisturbed {np.mean([each.seconds for each in quiet.values()]):.1f} s); {missed} came after their round: "
                + ", ".join(f"{name} {count}" for name, count in sorted(injected.items())),
                flush=True,
            )
        if chosen.memory:
            yield from _memory(cluster, run, chosen.memory)


def _memory(cluster, run, rounds):
    """Print how much the processes grow in a round, and yield what grows too much."""
    right, model = expected(rounds, "average")
    meets = [Fault("nothing", 1, 0, 0, 0.0)]  # tells which processes the workers are
    start = time.monotonic()
    try:
        with run("memory", "average", rounds, meets, sampled=True) as each:
            samples = each.ends_as(right).samples
    except RunError as error:
        yield str(error)
        return
    samples = [(index, found) for index, found in samples if index >= _SETTLED * rounds]
    slopes = {
        name: np.polyfit([index for index, _ in samples], [found[name] for _, found in samples], 1)[0]
        for name in samples[0][1]
    }
    print(
        f"{cluster}: {rounds} rounds of {model / 1024:,.0f} KiB in {time.monotonic() - start:.0f} s; memory at the end, and growth in a round: "
        + ", ".join(
            f"{name} {samples[-1][1][name] / 1024:,.0f} MiB {slope:+.1f} KiB" for name, slope in slopes.items()
        ),
        flush=True,
    )
    for name in "driver", "workers":
        if slopes[name] * 1024 > _GROWTH * model:
            yield f"{cluster}: memory: {name} grows by {slopes[name]:.1f} KiB in a round"


if __name__ == "__main__":
    main()
