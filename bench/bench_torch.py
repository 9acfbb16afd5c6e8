"""Claim: a TorchNet adds little to torch's own steps, and a round copies a module's numbers once each way.

A step of LeNet on 64 images takes at most 1.2 times the processor time of the same lines of torch, and one of ResNet-18's size (47 MB) at
most 1.1 times. Weights and state are read by one copy to new memory, and no more: the peak is 1. They are written into the module's and
the optimizer's own memory, which allocates nothing of their size, and for 47 MB takes at most twice as long as a copy by numpy. For small
modules calls count, not bytes: half a millisecond.

Times are those of the processor, on one thread: a busy machine adds little to them. The ways take turns; a ratio is the median of the
ratios of pairs. *Peak* is the most that tracemalloc sees in units of the weights; torch does not report its memory there.

What not to conclude: anything about a GPU, about several threads (torch is faster with them), or about the time that a round waits for
its slowest worker.

    python bench/bench_torch.py [--json FILE]
"""

import argparse
import itertools
import json
import statistics
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import torch
from facts import machine
from torch import nn

from sparknet import NDArray
from sparknet.nets import TorchNet

REPETITIONS = 15
SGD = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
LOSS = nn.functional.cross_entropy


def lenet():
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )


class Residual(nn.Module):
    """Two convolutions, batch norms, and the way around them, as in ResNet-18."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.one, self.norm1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.two, self.norm2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        is_same = before == after
        self.around = nn.Identity() if is_same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x):
        inner = self.norm2(self.two(self.norm1(self.one(x)).relu()))
        return (inner + self.around(x)).relu()


def resnet18():
    widths = [64, 64, 128, 256, 512]
    stages = [
        nn.Sequential(Residual(before, after, 1 if before == after else 2), Residual(after, after, 1))
        for before, after in itertools.pairwise(widths)
    ]
    first = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*first, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


NETS = {
    "lenet, 64 images of 28 x 28": (lenet, (64, 1, 28, 28), 10),
    "resnet-18, 8 of 64 x 64": (resnet18, (8, 3, 64, 64), 1000),
}


def plain_step(module, shape, classes):
    """The lines of torch that a step of the net is."""
    rng = np.random.default_rng(0)
    data = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
    label = torch.from_numpy(rng.integers(0, classes, shape[0]))
    optimizer = SGD(module.parameters())

    def step():
        optimizer.zero_grad()
        loss = LOSS(module(data), label)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, {"data": NDArray(data.numpy()), "label": NDArray(label.numpy())}


def interleaved(ways):
    """Seconds of the processor of each way, in turns; the first turn is not counted."""
    took = {name: [] for name in ways}
    for _ in range(REPETITIONS + 1):
        for name, way in ways.items():
            start = time.process_time()
            result = way()
            took[name].append(time.process_time() - start)
            del result
    return {name: seconds[1:] for name, seconds in took.items()}


def peak(way):
    """Most bytes allocated at a time while ``way`` runs, its result among them."""
    tracemalloc.start()
    result = way()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return most


def rows(net, step, batch):
    """Yield what each part costs: a step beside torch's own, and weights and state beside a copy by numpy."""
    yield "step", {"ours": lambda: net.step(batch), "torch": step}
    weights, state = net.get_weights(), net.get_state()
    for name, arrays in (("weights", weights.arrays()), ("state", list(state.values()))):
        sources = [array.to_host() for array in arrays]
        targets = [array.copy() for array in sources]

        def copy(sources=sources, targets=targets):
            for target, source in zip(targets, sources, strict=True):
                np.copyto(target, source)

        value = weights if name == "weights" else state
        yield f"get_{name}", {"ours": getattr(net, f"get_{name}"), "copy": copy}
        yield f"set_{name}", {"ours": partial(getattr(net, f"set_{name}"), value), "copy": copy}


def measured(ways, nbytes):
    """Medians of the seconds, the median of the ratios, and the peak of ours."""
    took = interleaved(ways)
    pairs = zip(*took.values(), strict=True)
    return {
        "seconds": {name: statistics.median(seconds) for name, seconds in took.items()},
        "ratio": statistics.median(ours / other for ours, other in pairs),
        "peak": peak(ways["ours"]) / nbytes,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for name, (module, shape, classes) in NETS.items():
        net = TorchNet(module, optimizer=SGD, loss=LOSS)
        step, batch = plain_step(module(), shape, classes)
        net.step(batch)
        nbytes = net.get_weights().nbytes
        print(f"\n{name}, {nbytes / 1e6:.1f} MB\n{'':14}{'ms':>10}{'against':>18}{'ratio':>8}{'peak':>8}")
        for part, ways in rows(net, step, batch):
            result = measured(ways, nbytes)
            (_, took), (other, against) = result["seconds"].items()
            beside = f"{other} {against * 1e3:.2f}"
            print(f"{part:14}{took * 1e3:10.2f}{beside:>18}{result['ratio']:8.2f}{result['peak']:8.2f}")
            found.append({"net": name, "nbytes": nbytes, "part": part, **result})
    if chosen.json:
        chosen.json.write_text(json.dumps({"facts": machine("numpy", "torch"), "results": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
