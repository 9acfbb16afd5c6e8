"""Claim: a net that our data layer feeds never waits: a step takes at most 1.05 times what it takes with no input at all.

The yardstick is the same net on Caffe's ``DummyData``: its constant blobs are filled once, here with one of the batches,
because pooling and rectifying take longer on values that vary. Two nets:

- ``cifar10_quick``: CIFAR-10-quick of the examples, batch 100. Images are packed, uint8, padded to 40x40; a batch is
  decoded from its message with the checksums verified, the mean image is subtracted, 32x32 are cropped and mirrored.
- ``caffenet``: the shape of CaffeNet, batch 16. Images are packed as JPEG files of 256x256; a batch is decoded by Pillow,
  put into B, G, R, cropped to 227x227, mirrored, and the means of the channels are subtracted.

Ways in: ``train_round``, what an averaging worker does, with all of the waiting for its first batch;
``RDDDataLayer`` in Caffe's own loop (`solver.step(n)`) and ``CaffeNet.step``, both with batches from
``prefetch`` with one thread, and the first without prefetch. Shown beside them: the milliseconds that making a batch
takes by itself, and ``hidden``, the share of its time in the prefetch thread that the caller did not wait for.

The ways take turns, there and back. Each is divided by the mean of the two times that ``DummyData`` is timed in its turn:
the median of these ratios decides, and its 95 % interval says whether it can. ``DummyData again``, divided by the other, shows
what the machine does by itself. A target is met if the upper end is within it, missed if the lower one is not, and
else, or where the machine by itself does more than that, undecided. Beside it the ratio of the minima, because a busy
machine only ever adds. Caffe computes with one BLAS thread, so the ``CPU`` of the thread that steps is all of its work: it
says what feeding costs where other programs have the cores too.

Claim: a worker holds less than three batches beside its net and what the round starts from: the one in use, the one that
is made meanwhile, and what that takes, its message included. In a process of its own, whose net has taken a step: by how
much the peak of its memory (VmHWM) grows during a ``train_round``, in batches as the net takes them.

What not to conclude: anything for a machine whose cores are all busy with other workers' steps, where making a batch
has no core of its own and costs its time in full, or for a GPU, whose step is shorter than this data takes to make.

    python bench/bench_data_layer.py [--net NAME] [--json FILE]
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from facts import machine
from made_images import jpeg

import sparknet
from sparknet import Field, NDArray
from sparknet.data import read_cifar10
from sparknet.data.blas import single_threaded_blas
from sparknet.data.images import ImageDecoder
from sparknet.data.prefetch import prefetch
from sparknet.data.preprocess import Compose, Crop, Decode, Mirror, SubtractMean, ToBGR
from sparknet.data.preprocess.base import preprocessed
from sparknet.data.sampling import step_rng
from sparknet.nets.caffe import CaffeNet, data_layer, feeding
from sparknet.nets.caffe.runtime import load
from sparknet.worker import Task, train_round

TARGET = 1.05  # cifar10_quick, prefetched
BATCHES = 3.0  # that a worker holds, at most
YARDSTICK, AGAIN = "DummyData", "DummyData again"
FIRST = 0.1  # seconds in which the second batch is made, as it would be during the first step
TAU = 3  # times the steps that the other ways take at once
QUICK = Path(__file__).parents[1] / "examples" / "cifar10_quick" / "cifar10_quick_train_test.prototxt"
SOLVER = (
    'base_lr: 0.00001 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005 random_seed: 1 snapshot_after_train: false'
)

caffe = load()


@dataclass(frozen=True)
class Case:
    """A net without its inputs, what feeds it, how many steps are timed at once, and how often."""

    name: str
    body: str
    inputs: list[Field]
    batch_size: int
    messages: list[bytes]
    steps_of_batch: Any
    steps: int
    repetitions: int

    def batch(self, i):
        """Make batch ``i``, as a worker of Spark does from its shard."""
        return preprocessed(self[i % len(self.messages)], self.steps_of_batch, step_rng(0, 0, i), train=True)

    def __getitem__(self, i):
        """Read minibatch ``i`` as a shard does, into memory of its own."""
        return sparknet.loads(bytearray(self.messages[i]), verify=True)

    def round(self, net, tau, start):
        """Take a worker's round of ``tau`` steps from these weights and state; return its seconds a step."""
        task = Task(worker=0, num_batches=len(self.messages), first_step=0, tau=tau, seed=0)
        return train_round(net, self, task, *start, self.steps_of_batch).seconds / tau


# ---- the two nets and their data
def cifar10_quick(folder):
    """CIFAR-10-quick, and 2,000 random images in CIFAR's own format."""
    rng = np.random.default_rng(0)
    records = rng.integers(0, 256, (2000, 3073), np.uint8)
    records[:, 0] %= 10
    file = folder / "data_batch_1.bin"
    file.write_bytes(records.tobytes())
    images, labels = read_cifar10([file])
    padded = np.pad(images, ((0, 0), (0, 0), (4, 4), (4, 4)))
    messages = packed(padded, labels, 100)
    steps = Compose(SubtractMean("data", padded.mean(axis=0)), Crop("data", 32, 32), Mirror("data"))
    text = QUICK.read_text(encoding="utf-8")
    body = text[text.index('layer {\n  name: "conv1"') :].replace('"centred"', '"data"')  # the mean is a step here
    return Case("cifar10_quick", body, [Field("data", (3, 32, 32)), Field("label")], 100, messages, steps, 3, 48)


def caffenet(_folder):
    """The shape of CaffeNet, and 160 JPEG files of 256x256."""
    rng = np.random.default_rng(0)
    files = [jpeg(rng) for _ in range(160)]
    longest = max(map(len, files))
    data = np.zeros((len(files), longest), np.uint8)
    for row, file in zip(data, files, strict=True):
        row[: len(file)] = np.frombuffer(file, np.uint8)
    messages = packed(data, rng.integers(0, 1000, len(files)), 16)
    steps = Compose(
        Decode("data", ImageDecoder(256, 256)),
        ToBGR("data"),
        Crop("data", 227, 227),
        Mirror("data"),
        SubtractMean("data", [104, 117, 123]),
    )
    inputs = [Field("data", (3, 227, 227)), Field("label")]
    return Case("caffenet", caffenet_body(), inputs, 16, messages, steps, 2, 8)


def packed(data, labels, size):
    return [
        sparknet.dumps({"data": NDArray(data[i : i + size]), "label": NDArray(labels[i : i + size].astype(np.int64))})
        for i in range(0, len(data), size)
    ]


def caffenet_body():
    layers, net, largest = caffe.layers, caffe.NetSpec(), caffe.params.Pooling.MAX
    filler = {"type": "gaussian", "std": 0.01}

    def block(name, bottom, **options):
        net[f"conv{name}"] = layers.Convolution(bottom, weight_filler=filler, **options)
        net[f"relu{name}"] = layers.ReLU(net[f"conv{name}"], in_place=True)
        return net[f"relu{name}"]

    def pooled(name, bottom, *, norm):
        net[f"pool{name}"] = layers.Pooling(bottom, pool=largest, kernel_size=3, stride=2)
        if not norm:
            return net[f"pool{name}"]
        net[f"norm{name}"] = layers.LRN(net[f"pool{name}"], local_size=5, alpha=1e-4, beta=0.75)
        return net[f"norm{name}"]

    def dense(name, bottom):
        net[f"fc{name}"] = layers.InnerProduct(bottom, num_output=4096, weight_filler=filler)
        net[f"relu{name}"] = layers.ReLU(net[f"fc{name}"], in_place=True)
        net[f"drop{name}"] = layers.Dropout(net[f"relu{name}"], dropout_ratio=0.5, in_place=True)
        return net[f"drop{name}"]

    net.data, net.label = layers.DummyData(shape=[{"dim": [1]}, {"dim": [1]}], ntop=2)
    top = pooled(1, block(1, net.data, num_output=96, kernel_size=11, stride=4), norm=True)
    top = pooled(2, block(2, top, num_output=256, kernel_size=5, pad=2, group=2), norm=True)
    top = block(3, top, num_output=384, kernel_size=3, pad=1)
    top = block(4, top, num_output=384, kernel_size=3, pad=1, group=2)
    top = pooled(5, block(5, top, num_output=256, kernel_size=3, pad=1, group=2), norm=False)
    net.fc8 = layers.InnerProduct(dense(7, dense(6, top)), num_output=1000, weight_filler=filler)
    net.loss = layers.SoftmaxWithLoss(net.fc8, net.label)
    text = str(net.to_proto())
    return text[text.index('layer {\n  name: "conv1"') :]


CASES = {"cifar10_quick": cifar10_quick, "caffenet": caffenet}


# ---- the ways in
def dummy_inputs(case):
    shapes = [{"dim": [case.batch_size, *field.shape]} for field in case.inputs]
    spec = caffe.NetSpec()
    spec.data, spec.label = caffe.layers.DummyData(shape=shapes, ntop=2)
    return str(spec.to_proto())


def rdd_inputs(case):
    spec = caffe.NetSpec()
    spec.data, spec.label = data_layer(case.inputs, case.batch_size)
    return str(spec.to_proto())


def solver_of(folder, case, inputs):
    net, path = folder / f"{case.name}.prototxt", folder / "solver.prototxt"
    net.write_text(inputs + case.body, encoding="utf-8")
    path.write_text(f'net: "{net}" {SOLVER}', encoding="utf-8")
    return caffe.get_solver(str(path))


class Ways:
    """Functions of no argument that take ``case.steps`` steps, by name; and what the prefetchers have measured."""

    def __init__(self, folder, case):
        self.dummy = solver_of(folder, case, dummy_inputs(case))
        net = self.dummy.net
        for name, column in case.batch(0).items():
            net.blobs[name].data[...] = column.to_host()
        self.fed = solver_of(folder, case, rdd_inputs(case))
        # The same prototxt, its layer taken as inputs; another 0.7 GB for caffenet.
        self.net = CaffeNet(folder / "solver.prototxt", seed=1)
        self.case, self.numbers = case, itertools.count()
        self.waited = self.worked = 0.0

    def no_input(self):
        self.dummy.step(self.case.steps)

    def layer(self):
        with self.ahead() as batches, feeding(self.fed, batches):
            return self.timed(batches, lambda: self.fed.step(self.case.steps))

    def layer_alone(self):
        batches = map(self.case.batch, self.numbers)
        with feeding(self.fed, batches):
            self.fed.step(self.case.steps)

    def caffenet(self):
        def steps(batches):
            for batch in itertools.islice(batches, self.case.steps):
                self.net.step(batch)

        with self.ahead() as batches:
            return self.timed(batches, lambda: steps(batches))

    def worker(self):
        start, cpu = (self.net.get_weights(), self.net.get_state()), time.thread_time()
        wall = self.case.round(self.net, TAU * self.case.steps, start)
        return wall * self.case.steps, (time.thread_time() - cpu) / TAU

    def ahead(self):
        return prefetch(itertools.islice(self.numbers, self.case.steps + 1), self.case.batch)

    def timed(self, batches, run):
        """Seconds of the steps after the first batch, which any program waits for."""
        next(batches)
        time.sleep(FIRST)
        waited, worked = batches.waited, batches.worked
        took = seconds_of(run)
        self.waited += batches.waited - waited
        self.worked += batches.worked - worked
        return took


def seconds_of(function):
    """Wall-clock seconds and CPU seconds of this thread; or what the function has measured itself."""
    wall, cpu = time.perf_counter(), time.thread_time()
    measured = function()
    return measured or (time.perf_counter() - wall, time.thread_time() - cpu)


def measure(folder, case):
    """Way -> wall-clock and CPU seconds a step of each repetition; seconds that making a batch takes; and ``hidden``."""
    ways = Ways(folder, case)
    timed = {
        YARDSTICK: ways.no_input,
        "train_round": ways.worker,
        "RDDDataLayer, prefetched": ways.layer,
        "CaffeNet.step, prefetched": ways.caffenet,
        "RDDDataLayer, no prefetch": ways.layer_alone,
        AGAIN: ways.no_input,
    }
    seconds = {name: [] for name in timed}
    for repetition in range(case.repetitions + 1):
        for name in list(timed)[:: -1 if repetition % 2 else 1]:
            seconds[name].append(np.divide(seconds_of(timed[name]), case.steps))
    made = min(seconds_of(lambda i=i: case.batch(i) and None)[1] for i in range(10))
    return {name: np.array(took[1:]) for name, took in seconds.items()}, made, 1 - ways.waited / ways.worked


def ratios(seconds):
    """Way -> median, with its interval, of the ratios to the yardstick in the same turn (wall); ratios of the minima (wall, CPU)."""
    first, again = seconds[YARDSTICK], seconds[AGAIN]
    found = {}
    for way in list(seconds)[1:]:
        yardstick, least = (first, first) if way == AGAIN else ((first + again) / 2, np.minimum(first, again))
        # The ranks between which the median lies in 95 of 100 samples: binomial, by its normal approximation.
        half = 1.96 / 2 / np.sqrt(len(first))
        median = np.quantile(seconds[way][:, 0] / yardstick[:, 0], (0.5 - half, 0.5, 0.5 + half))
        minima = seconds[way].min(0) / least.min(0)
        found[way] = {"median": median.tolist(), "minima": minima.tolist()}
    return found


class Peaked(CaffeNet):
    """Notes the peak of this process's memory before its weights are copied out, which is when the steps are over."""

    def get_weights(self):
        self.peak = memory("VmHWM")
        return super().get_weights()


def growth(folder, case):
    """Bytes by which the peak of this process's memory grows while its net is trained, and those of a batch."""
    solver_of(folder, case, rdd_inputs(case))
    net, batch = Peaked(folder / "solver.prototxt", seed=1), case.batch(0)
    net.step(batch)
    nbytes = sum(column.nbytes for column in batch.values())
    del batch
    start = net.get_weights(), net.get_state()
    with single_threaded_blas():  # imports what it takes, once in a process
        before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    case.round(net, 8, start)
    return net.peak - before, nbytes


def memory(name):
    return int(Path("/proc/self/status").read_text().partition(f"{name}:")[2].split()[0]) * 1024


def growth_alone(name):
    command = [sys.executable, __file__, "--growth", name]
    return tuple(map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()))


def verdict(low, high, control):
    """Say of a ratio with this interval whether it is within the target, given the median of the yardstick's own."""
    if abs(control - 1) > TARGET - 1:
        return "undecided"
    return "met" if high <= TARGET else "missed" if low > TARGET else "undecided"


def run(folder, case):
    """Measure one net, print it, and return the figures."""
    seconds, made, hidden = measure(folder, case)
    found = ratios(seconds)
    print(f"\n{case.name}, batch {case.batch_size}: making a batch {made * 1e3:.1f} ms, {hidden:.0%} of it hidden")
    least = {way: took[:, 0].min() * 1e3 for way, took in seconds.items()}
    print(f"  {YARDSTICK:28}{least[YARDSTICK]:9.1f} ms a step   median of ratios (95 %), of minima")
    for way, ratio in found.items():
        low, median, high = ratio["median"]
        claimed = case.name == "cifar10_quick" and way not in (AGAIN, "RDDDataLayer, no prefetch")
        target = f"   target {TARGET}: {verdict(low, high, found[AGAIN]['median'][1])}" if claimed else ""
        wall, cpu = ratio["minima"]
        print(
            f"  {way:28}{least[way]:9.1f} ms {median:8.3f} ({low:.3f}-{high:.3f}) {wall:8.3f}   CPU {cpu:.3f}{target}"
        )
    grown, nbytes = growth_alone(case.name)
    held = f"{grown / 1e6:.1f} MB, {grown / nbytes:.2f} batches of {nbytes / 1e6:.1f} MB"
    print(f"  memory of a worker grows by {held}   target {BATCHES}: {'met' if grown < BATCHES * nbytes else 'missed'}")
    return {
        "net": case.name,
        "batch_size": case.batch_size,
        "repetitions": case.repetitions,
        "seconds_a_batch": made,
        "hidden": hidden,
        "growth": grown,
        "batch_bytes": nbytes,
        "ratios": found,
        "seconds_a_step": {
            way: {"wall": took[:, 0].tolist(), "cpu": took[:, 1].tolist()} for way, took in seconds.items()
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", choices=CASES, help="this one alone; by default both")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--growth", choices=CASES, help="print bytes of growth and of a batch, and no more")
    args = parser.parse_args()
    facts = machine("numpy", "pillow")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.growth:
            print(*growth(folder, CASES[args.growth](folder)))
            return 0
        results = [run(folder, CASES[net](folder)) for net in ([args.net] if args.net else CASES)]
    if args.json:
        content = {"machine": facts, "target": TARGET, "results": results}
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
