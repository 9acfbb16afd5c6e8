"""Claim: a training of two workers that goes on with 1, 3 or 4 trains on: no jump of the test loss, and a lower one at the end.

The embedded net learns handwritten digits for some rounds with two workers. From copies of that one checkpoint it goes on with 1, 2, 3 and 4
workers, for as many rounds more; two are the training without a change. The test loss is measured after each round. *No jump*: the
largest loss in the three rounds after the change is at most 10 % above the last one before it. *Lower*: the last loss is below that one.

What not to conclude: which number of workers is best. A round has ``tau`` steps of each worker, so more workers see more data in it.

    python bench/bench_resume.py [--data mnist] [--tau 10] [--rounds 10] [--seed 7] [--json FILE] [--plot FILE]

It takes some seconds. ``--plot`` draws the curves, if matplotlib is there.
"""

import argparse
import json
import logging
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from facts import machine

from sparknet import LocalCluster, averaged_sgd
from sparknet.data import load_image_set, pack
from sparknet.data.preprocess import Scale
from sparknet.nets import MLP

BEFORE, AFTER = 2, (1, 2, 3, 4)  # workers
JUMP, SOON = 1.1, 3
WIDTH = 60  # characters of the plot


def curves(factory, train, test, *, tau, rounds, seed):
    """Workers after the change -> the test loss after each round."""
    options = {"cluster": LocalCluster(), "tau": tau, "seed": seed, "evaluate": (test, 1)}
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        kept = Path(directory) / "kept"
        first = losses(averaged_sgd(factory, train, workers=BEFORE, rounds=rounds, checkpoint=kept, **options))
        for workers in AFTER:
            copy = shutil.copytree(kept, Path(directory) / str(workers))
            rest = averaged_sgd(factory, train, workers=workers, rounds=2 * rounds, checkpoint=copy, **options)
            found[workers] = first + losses(rest)
    return found


def losses(rounds):
    return [each.metrics["loss"] for each in rounds]


def verdict(curve, rounds):
    """Whether the loss makes no jump at the change, and ends lower: the two parts of the claim."""
    before = curve[rounds - 1]
    return max(curve[rounds : rounds + SOON]) <= JUMP * before, curve[-1] < before


def drawn(found, rounds):
    """The curves as lines of text: one for each round, with the number of workers where its loss is."""
    highest = max(map(max, found.values()))
    yield f"round   0 {'':{WIDTH - 12}} {highest:10.3f}"
    for index in range(2 * rounds):
        line = [" "] * (WIDTH + 1)
        for workers, curve in found.items():
            place = round(WIDTH * curve[index] / highest)
            line[place] = "*" if line[place] != " " else str(workers if index >= rounds else BEFORE)
        yield f"{index:5}   |{''.join(line).rstrip()}"
        if index == rounds - 1:
            yield f"        + from here on with {', '.join(map(str, found))} workers; * is more than one of them"


def save_plot(found, rounds, path):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for workers, curve in found.items():
        axes.plot(range(rounds - 1, 2 * rounds), curve[rounds - 1 :], label=f"then {workers}")
    axes.plot(range(rounds), found[BEFORE][:rounds], color="black", label=f"{BEFORE} workers")
    axes.set(xlabel="round", ylabel="test loss", yscale="log")
    axes.legend()
    figure.savefig(path, bbox_inches="tight")


def main():
    logging.disable(logging.WARNING)  # each training says where it goes on
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--tau", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=10, help="before the change, and after it")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    chosen = parser.parse_args()
    facts, images = machine("numpy"), load_image_set(chosen.data)
    train, test = (
        pack({"data": part[0], "label": part[1]}, images.fields, 64, Scale("data", 1 / 256), shuffle=shuffle)
        for part, shuffle in ((images.train, chosen.seed), (images.test, None))
    )
    factory = MLP.factory(images.train[0].shape[1:], images.classes, (32,), learning_rate=0.05, momentum=0.9)
    found = curves(factory, train, test, tau=chosen.tau, rounds=chosen.rounds, seed=chosen.seed)
    print(*drawn(found, chosen.rounds), sep="\n")
    verdicts = {}
    for workers, curve in found.items():
        smooth, lower = verdicts[workers] = verdict(curve, chosen.rounds)
        soon = max(curve[chosen.rounds : chosen.rounds + SOON])
        print(
            f"{BEFORE} -> {workers} workers: test loss {curve[chosen.rounds - 1]:.4f} before, at most {soon:.4f} in {SOON} rounds after "
            f"({'no jump' if smooth else 'A JUMP'}), {curve[-1]:.4f} at the end ({'lower' if lower else 'NOT LOWER'})"
        )
    holds = all(map(all, verdicts.values()))
    print(f"{'holds' if holds else 'DOES NOT HOLD'}")
    if chosen.json:
        content = {"facts": facts, "tau": chosen.tau, "seed": chosen.seed, "losses": found, "holds": holds}
        chosen.json.write_text(json.dumps(content, indent=1) + "\n")
    if chosen.plot and find_spec("matplotlib"):
        save_plot(found, chosen.rounds, chosen.plot)
    elif chosen.plot:
        print(f"{chosen.plot} is not drawn: pip install matplotlib")


if __name__ == "__main__":
    main()
