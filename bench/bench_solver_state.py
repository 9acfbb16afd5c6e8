"""Claim: of what can become of a solver's momentum between rounds, averaging it, the default, is never far from the best.

Two workers train on Fashion-MNIST, minibatches of 64, with as many steps for each tau (LeNet 800 each, cifar10_quick 400); the rates are those
of the solver files.
*average* averages momentum as it does weights, *local* leaves each worker its own, *reset* begins each round without. The row *one worker*
takes as many steps in all as the two do together, with one net: what averaging gives up or gains is the distance from it. Accuracy and loss
are those of all 10,000 test images after the last round. *Far* is more than one percentage point below the best of the three, in the mean over
the seeds.

LeNet takes the images as they are. cifar10_quick takes its 32 x 32 colour images from the same set: each image with a border of two black
pixels, three times. CIFAR-10 itself is in no package; ``--data cifar10:DIR`` reads it where it is.

What not to conclude: anything about rates that were tuned for each policy, about more than two workers, or from one seed about less than a
percentage point.

    python bench/bench_solver_state.py [--net lenet cifar10_quick] [--steps N] [--tau 1 5 20 100] [--seeds 1 2] [--json FILE]

Rows that the file has already are not run again.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

import numpy as np
from facts import machine

from sparknet import LocalCluster, averaged_sgd
from sparknet.data import ImageSet, load_image_set, pack
from sparknet.nets import CaffeNet

EXAMPLES = Path(__file__).parents[1] / "examples"
STEPS = {"lenet": 800, "cifar10_quick": 400}  # of each worker
POLICIES = ("average", "local", "reset")
BATCH, WORKERS = 64, 2
FAR = 0.01  # of accuracy
KEY = ("net", "policy", "tau", "seed", "steps")


def in_colour(part):
    """Images of 28 x 28 gray pixels as ones of 32 x 32 in three channels, and their labels."""
    images, labels = part
    bordered = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    return np.repeat(bordered, 3, axis=1), labels


class Training:
    """A net, and the data that it is trained and measured on."""

    def __init__(self, net, data):
        images = load_image_set(data)
        if net == "cifar10_quick" and images.train[0].shape[1:] == (1, 28, 28):
            images = ImageSet(in_colour(images.train), in_colour(images.test))
        self.factory = CaffeNet.factory(solver=EXAMPLES / net / f"{net}_solver.prototxt", fields=images.fields)
        self.train, self.test = (
            pack({"data": part[0], "label": part[1]}, images.fields, BATCH, shuffle=shuffle)
            for part, shuffle in ((images.train, 0), (images.test, None))
        )

    def measured(self, policy, workers, tau, seed, steps):
        """Test accuracy and loss, and the mean loss of the steps of the last tenth of the rounds."""
        rounds = steps // tau
        start = time.perf_counter()
        found = [
            (each.loss, each.metrics)
            for each in averaged_sgd(
                self.factory,
                self.train,
                cluster=LocalCluster(processes=workers),
                workers=workers,
                tau=tau,
                rounds=rounds,
                seed=seed,
                solver_state=policy,
                evaluate=(self.test, rounds),
            )
        ]
        last = [loss for loss, _ in found[-max(1, rounds // 10) :]]
        return {
            **{name: found[-1][1][name] for name in ("accuracy", "loss")},
            "training loss": statistics.mean(last),
            "seconds": time.perf_counter() - start,
        }


def runs(chosen):
    """Yield the key of each row."""
    for seed, net in itertools.product(chosen.seeds, chosen.net):
        steps = chosen.steps or STEPS[net]
        yield net, "one worker", 100, seed, WORKERS * steps
        for tau, policy in itertools.product(chosen.tau, POLICIES):
            yield net, policy, tau, seed, steps


def show(rows):
    """Print a table for each net: the mean over the seeds, and how far apart they are."""
    for net in dict.fromkeys(row["net"] for row in rows):
        mine = [row for row in rows if row["net"] == net]
        alone = [row["accuracy"] for row in mine if row["policy"] == "one worker"]
        print(f"\n{net}; one worker: {said(alone)}\n{'tau':>5}" + "".join(f"{policy:>20}" for policy in POLICIES))
        for tau in sorted({row["tau"] for row in mine if row["policy"] in POLICIES}):
            cells = {
                policy: [row["accuracy"] for row in mine if (row["tau"], row["policy"]) == (tau, policy)]
                for policy in POLICIES
            }
            means = {policy: statistics.mean(each) for policy, each in cells.items() if each}
            behind = max(means.values()) - means.get("average", 0)
            verdict = "holds" if behind <= FAR else "DOES NOT HOLD"
            print(f"{tau:5}" + "".join(f"{said(cells[policy]):>20}" for policy in POLICIES) + f"   {verdict}")


def said(accuracies):
    """The mean of some accuracies, and half of what is between the least and the most."""
    if not accuracies:
        return "-"
    half = (max(accuracies) - min(accuracies)) / 2
    return f"{statistics.mean(accuracies):.2%} ±{100 * half:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--net", choices=STEPS, nargs="+", default=list(STEPS))
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--steps", type=int, help=f"of each worker; default: {STEPS}")
    parser.add_argument("--tau", type=int, nargs="+", default=[1, 5, 20, 100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    before = json.loads(chosen.json.read_text())["results"] if chosen.json and chosen.json.exists() else []
    rows, trainings = list(before), {}
    known = {tuple(row[name] for name in KEY) for row in rows}
    for key in runs(chosen):
        if key in known:
            continue
        net, policy, tau, seed, steps = key
        if net not in trainings:
            trainings[net] = Training(net, chosen.data)
        workers, state = (1, "average") if policy == "one worker" else (WORKERS, policy)
        rows.append(dict(zip(KEY, key, strict=True)) | trainings[net].measured(state, workers, tau, seed, steps))
        print(f"{net:14} {policy:10} tau {tau:3} seed {seed}: {rows[-1]['accuracy']:.2%}", flush=True)
        if chosen.json:
            facts = {"facts": machine("numpy"), "data": chosen.data, "results": rows}
            chosen.json.write_text(json.dumps(facts, indent=1) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
