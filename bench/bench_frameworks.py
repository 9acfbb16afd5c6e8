"""Claim: two workers in rounds train LeNet sooner than one process of torch with two threads, for tau of 10 and more, and beside DDP too.

*Training*: the same LeNet (examples/lenet: its layers, fillers, rates) on the same images of Fashion-MNIST, minibatches of 64, as many steps in
all. *torch*: its own loop in one process, with one thread and with two. *TorchNet* and *CaffeNet*: two workers with one thread each, half of
the steps each, in child processes and as tasks of Spark ``local[2]`` over direct connections, for each tau. *DDP*: two processes that average
gradients in each step, started by pyspark's ``TorchDistributor`` (gloo).

Of each are told: *seconds* of the training, its *launch* included (of rounds: the first round without its steps; of DDP: until both processes are
connected) and the start of Spark and the reading of images not; images a second without the launch; the seconds until the test accuracy, looked
for every so many steps, was at least 87 %; and the accuracy at the end. Weights are kept while the clock runs, and measured afterwards.

*Rounds of a large module*, ResNet-18 with 47 MB on 8 images of 64 x 64: what a round takes beside its steps, bytes, how often the net's numbers were
copied out of or into the module, in models of 47 MB (momentum is another one).

*Memory of a worker*: in runs of their own, what its process has written and shares with no other one, looked at after each step and where weights and
momentum come in; beside that of a process of torch which takes the same steps (for workers that are forks, of one that is forked as they are).
Claimed is at most one model more. That is when a message with weights and momentum is there: the net has both then, and neither gradients nor what the
module computes between them. *Spare* is told beside: memory of the message that the kernel may have during the steps, and takes if it is short of any.

Each run is a process of its own; the ways take turns, ``--times`` times, and medians are told.

What not to conclude: anything about GPUs or a network; that rates which suit one process suit two workers; or from one seed anything about half a
percentage point.

    python bench/bench_frameworks.py [--only training|large|memory] [--steps 3750] [--tau 1 10 50] [--times 1] [--ways SUBSTRING ...] [--json FILE]

It takes torch, pyspark and, for CaffeNet, pycaffe in one environment: ``tools/nox -s bench -- bench_frameworks.py`` makes it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from facts import machine

GOAL = 0.87
ONE, TWO = "torch, 1 thread", "torch, 2 threads"
WAY = Path(__file__).parent / "framework_ways.py"
LARGE = {"tau": 4, "rounds": 6, "looks": False}
MEMORY = {"tau": 4, "rounds": 3, "looks": True}
ALLOWED = 1.1  # models: a tenth for buffers and the allocators of two processes


def measured(kind, name, chosen):
    """What a way says, in a process of its own."""
    paths = [str(WAY.parent), *sys.path]  # Spark's workers look there too
    done = subprocess.run(
        [sys.executable, str(WAY), kind, name, json.dumps(chosen)],
        check=False,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            # a thread of BLAS for a worker; torch is told by each way
            **({} if name == TWO else {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}),
        },
    )
    if done.returncode:
        msg = f"{kind}, {name} ended with status {done.returncode}:\n{done.stderr[-3000:]}"
        raise RuntimeError(msg)
    return json.loads(done.stdout.splitlines()[-1])


def names_of_trainings(taus, wanted):
    """The names of the ways, of those that can run here."""
    names = [ONE, TWO, "torch DDP, gloo"]
    for kind in ("TorchNet", "CaffeNet"):
        if kind == "CaffeNet" and find_spec("caffe") is None:
            print("CaffeNet is left out: pycaffe is not installed here", flush=True)
            continue
        names += [f"{kind}, {place}, tau {tau}" for place in ("processes", "Spark") for tau in taus]
    return [name for name in names if not wanted or any(part in name for part in wanted)]


def in_turns(kind, names, chosen, times):
    found = {name: [] for name in names}
    for _ in range(times):
        for name, runs in found.items():
            runs.append(measured(kind, name, chosen))
            print(f"  {kind}, {name}: {json.dumps(runs[-1])}", file=sys.stderr, flush=True)
    return found


def median(runs, part):
    """The median of a part; None if a run has none."""
    values = [run[part] for run in runs]
    return None if None in values else statistics.median(values)


def training_rows(found):
    for name, runs in found.items():
        row = {"what": "training", "way": name, **{part: median(runs, part) for part in runs[0]}}
        goal = "never" if row["to goal"] is None else f"{row['to goal']:6.1f} s"
        print(
            f"{name:28} {row['seconds']:7.1f} s (launch {row['launch']:5.1f}) for {row['steps']:,} steps, {row['images']:6,.0f} images/s, "
            f"{GOAL:.0%} after {goal:>8}, at the end {row['accuracy']:.2%}"
        )
        yield row


def large_rows(found, tau):
    for name, runs in found.items():
        row = {"what": "a round of ResNet-18", "way": name, **{part: median(runs, part) for part in runs[0]}}
        if name == ONE:
            print(f"{name:28} a step {row['step'] * 1e3:.0f} ms")
        else:
            size = row["nbytes"]
            row["copies"] = row["crossed"] / size
            print(
                f"{name:28} a step {row['step'] * 1e3:.0f} ms; a round of {tau} takes {row['exchange'] * 1e3:.0f} ms beside them, "
                f"{row['bytes down'] / 1e6:.0f} MB to a worker and {row['bytes up'] / 1e6:.0f} MB back, {row['copies']:.1f} copies of "
                f"{size / 1e6:.0f} MB in the worker"
            )
        yield row


def memory_rows(found):
    plain = found[ONE]
    for name, runs in found.items():
        row = {"what": "memory of ResNet-18", "way": name, **{part: median(runs, part) for part in runs[0]}}
        said = f"{name:28} {row['most'] / 1e6:.0f} MB"
        if name == ONE:
            said += f", forked {row['most of a fork'] / 1e6:.0f} MB"
        else:
            beside = median(plain, "most of a fork" if name == "processes" else "most")
            row["more"] = row["most"] - beside
            row["models"] = row["more"] / row["nbytes"]
            row["holds"] = row["models"] <= ALLOWED
            verdict = "holds" if row["holds"] else "DOES NOT HOLD"
            said += (
                f", {row['more'] / 1e6:.0f} MB more than torch: {row['models']:.2f} models of {row['nbytes'] / 1e6:.0f} MB, at most "
                f"{ALLOWED:.1f}: {verdict}; {row['spare'] / 1e6:.0f} MB spare"
            )
        print(said)
        yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=["training", "large", "memory"])
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--steps", type=int, default=3750, help="in all")
    parser.add_argument("--every", type=int, default=250, help="steps from one look at the accuracy to the next")
    parser.add_argument("--tau", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--times", type=int, default=1, help="that each way is measured")
    parser.add_argument("--ways", nargs="+", metavar="SUBSTRING", help="only ways with one of these in their names")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    facts, rows = machine("numpy", "torch", "pyspark"), []
    if chosen.only in (None, "training"):
        names = names_of_trainings(chosen.tau, chosen.ways)
        options = {name: getattr(chosen, name) for name in ("data", "steps", "every", "tau")} | {"goal": GOAL}
        rows += training_rows(in_turns("training", names, options, chosen.times))
    names = [ONE, "processes", "Spark"]
    if chosen.only in (None, "large"):
        rows += large_rows(in_turns("large", names, LARGE, chosen.times), LARGE["tau"])
    if chosen.only in (None, "memory"):
        rows += memory_rows(in_turns("memory", names, MEMORY, chosen.times))
    facts["load after"] = os.getloadavg()[0]
    print(f"load {facts['load']:.1f} before, {facts['load after']:.1f} after")
    if chosen.json:
        about = {"facts": facts, "steps": chosen.steps, "every": chosen.every, "times": chosen.times, "large": LARGE}
        chosen.json.write_text(json.dumps({**about, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
