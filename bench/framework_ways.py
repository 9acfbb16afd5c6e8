"""The ways that bench_frameworks.py compares: a training of each is a process of its own, and so is a run of rounds of a large module.

    python bench/framework_ways.py WAY '{"steps": 3750, ...}'

It writes one line of JSON: what came of it. The clock begins where a user's program would: the images are in memory and Spark has started.
"""

import json
import os
import re
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_accuracy import BATCH, LENET, SEED, accuracy, columns
from bench_torch import resnet18
from torch import nn

from sparknet import Field, LocalCluster, NDArray, SparkCluster, averaged_sgd
from sparknet.data import EpochSampler, load_image_set, pack
from sparknet.nets import TorchNet
from sparknet.nets import torch as torch_nets
from sparknet.spark import pack as spark_pack
from sparknet.spark import start_spark

WORKERS = 2
RATE = 0.01
LOSS = nn.functional.cross_entropy
LARGE_BATCH, LARGE_IMAGE = 8, (3, 64, 64)


class LeNet(nn.Module):
    """The net of examples/lenet: pixels of 0 to 255, Caffe's ``xavier`` weights, biases of zero."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
        )
        for parameter in self.parameters():
            if parameter.ndim > 1:
                bound = (3 / parameter[0].numel()) ** 0.5
                nn.init.uniform_(parameter, -bound, bound)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x):
        return self.layers(x * (1 / 256))


def sgd(parameters):
    """The solver of examples/lenet: biases at twice the rate."""
    parameters = list(parameters)
    weights, biases = ([p for p in parameters if (p.ndim > 1) is is_weight] for is_weight in (True, False))
    groups = [{"params": weights}, {"params": biases, "lr": 2 * RATE}]
    return torch.optim.SGD(groups, lr=RATE, momentum=0.9, weight_decay=0.0005)


def falling(optimizer):
    """The rate of examples/lenet, which falls slowly."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + 0.0001 * step) ** -0.75)


def torch_factory():
    return TorchNet.factory(
        LeNet, optimizer=sgd, loss=LOSS, scheduler=falling, metrics={"accuracy": torch_nets.accuracy}
    )


def caffe_factory(fields):
    from sparknet.nets import CaffeNet

    return CaffeNet.factory(solver=LENET, fields=fields)


class Images:
    """The images, packed as all ways have them."""

    def __init__(self, name):
        images = load_image_set(name)
        self.fields, self.given = images.fields, images.train
        self.train = pack(columns(images.train), images.fields, BATCH, shuffle=SEED)
        self.test = pack(columns(images.test), images.fields, BATCH)


class Curve:
    """Weights at times of a training, whose accuracy is looked for when it is over."""

    def __init__(self, every):
        self._every, self._start = every, time.time()
        self._kept = []
        self.launch = 0.0

    def begin_again(self):
        """Set the clock to zero."""
        self._start = time.time()

    def seconds(self):
        return time.time() - self._start

    def keep(self, before, after, weights):
        """Keep weights() where the number of steps goes over a multiple of ``every`` from ``before`` to ``after``."""
        if after // self._every > before // self._every:
            self._kept.append((self.seconds(), after, weights()))

    def result(self, seconds, steps, last, accuracy_of, goal):
        """What is told of a training: where it first reached the goal, and where it ended."""
        points = []
        for when, taken, weights in self._kept:
            points.append((when, taken, accuracy_of(weights)))
            if points[-1][2] >= goal:
                break
        reached = points[-1] if points and points[-1][2] >= goal else (None, None, None)
        return {
            "seconds": seconds,
            "launch": self.launch,
            "steps": steps,
            "images": steps * BATCH / (seconds - self.launch),
            "accuracy": accuracy_of(last),
            "to goal": reached[0],
            "steps to goal": reached[1],
        }


def accuracy_of_state(test):
    """A function that measures a state_dict on the test images."""
    net = torch_factory()()

    def measure(state):
        net.load_state_dict(state)
        return accuracy(net, net.get_weights(), test)

    return measure


def tensors(batch):
    return torch.from_numpy(batch["data"].to_host()), torch.from_numpy(batch["label"].to_host()).long()


def loop(module, call, batches, indices, after_step):
    """The loop of torch that a user writes."""
    optimizer = sgd(module.parameters())
    scheduler = falling(optimizer)
    for step, index in enumerate(indices):
        data, label = tensors(batches[index])
        optimizer.zero_grad()
        LOSS(call(data), label).backward()
        optimizer.step()
        scheduler.step()
        after_step(step)


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def plain(chosen, threads):
    """One process, torch alone."""
    images = Images(chosen["data"])
    batches, steps = images.train.batches, chosen["steps"]
    torch.set_num_threads(threads)
    curve = Curve(chosen["every"])
    torch.manual_seed(SEED)
    module = LeNet()
    indices = EpochSampler(images.train.num_batches, SEED, 0).indices(0, steps)
    loop(module, module, batches, indices, lambda step: curve.keep(step, step + 1, partial(state_of, module)))
    seconds = curve.seconds()
    torch.set_num_threads(1)
    return curve.result(seconds, steps, state_of(module), accuracy_of_state(images.test), chosen["goal"])


def rounds(chosen, cluster, factory, data, test, tau):
    """Two workers in rounds."""
    curve, taken = Curve(chosen["every"]), 0
    count = round(chosen["steps"] / WORKERS / tau)
    for each in averaged_sgd(factory, data, cluster=cluster, workers=WORKERS, tau=tau, rounds=count, seed=SEED):
        if not each.index:
            curve.launch = curve.seconds() - max(each.seconds.train)
        before, taken = taken, taken + each.steps
        curve.keep(before, taken, lambda each=each: each.weights)
    seconds = curve.seconds()
    net = factory(seed=SEED)
    return curve.result(seconds, taken, each.weights, lambda weights: accuracy(net, weights, test), chosen["goal"])


def in_processes(chosen, kind, tau):
    images = Images(chosen["data"])
    factory = torch_factory() if kind == "torch" else caffe_factory(images.fields)
    return rounds(chosen, LocalCluster(processes=WORKERS), factory, images.train, images.test, tau)


def on_spark(chosen, kind, tau):
    images = Images(chosen["data"])
    factory = torch_factory() if kind == "torch" else caffe_factory(images.fields)
    spark = start_spark(f"local[{WORKERS}]", timeout=1800)
    try:
        rows = spark.sparkContext.parallelize(list(zip(*images.given, strict=True)), WORKERS)
        packed = spark_pack(rows, images.fields, BATCH, shards=WORKERS, shuffle=SEED)
        return rounds(chosen, SparkCluster(spark, transport="direct"), factory, packed, images.test, tau)
    finally:
        spark.stop()


def replica(chosen):
    """One of the two processes of DistributedDataParallel. Returns the curve's points, by the clock of the machine."""
    import torch.distributed as dist

    arrived = time.time()
    images = Images(chosen["data"])
    loading = time.time() - arrived  # left out: the other ways have their images already
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(SEED)
    module = LeNet()
    kept, model = [], nn.parallel.DistributedDataParallel(module)
    begun = time.time()
    mine = images.train.batches[rank::WORKERS]
    indices = EpochSampler(len(mine), SEED, 0).indices(0, chosen["steps"] // WORKERS)

    def after_step(step):
        before, after = step * WORKERS, (step + 1) * WORKERS
        if rank == 0 and after // chosen["every"] > before // chosen["every"]:
            kept.append((time.time() - loading, after, {n: v.numpy() for n, v in state_of(module).items()}))

    loop(module, model, mine, indices, after_step)
    ended = time.time() - loading
    last = {name: value.numpy() for name, value in state_of(module).items()}
    dist.destroy_process_group()
    return {"kept": kept, "begun": begun - loading, "ended": ended, "last": last}


def distributed(chosen):
    """PyTorch's own way on Spark: TorchDistributor starts two processes on this machine, which average gradients in each step."""
    from pyspark.ml.torch.distributor import TorchDistributor

    images = Images(chosen["data"])
    spark = start_spark(f"local[{WORKERS}]", timeout=1800)
    try:
        curve = Curve(chosen["every"])
        start = time.time()
        found = TorchDistributor(num_processes=WORKERS, local_mode=True, use_gpu=False).run(replica, chosen)
    finally:
        spark.stop()
    curve.launch = found["begun"] - start
    curve._kept = [(when - start, taken, state) for when, taken, state in found["kept"]]
    steps = chosen["steps"] // WORKERS * WORKERS
    measure = accuracy_of_state(images.test)
    return curve.result(found["ended"] - start, steps, found["last"], measure, chosen["goal"])


# ---- a large module
def counted(part):
    """Bytes of this process that the kernel counts as this part."""
    return int(re.search(rf"{part}:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text())[1]) * 1024


def private():
    """Bytes that this process has written and shares with no other one: what a fork has from its parent does not count."""
    return counted("Private_Dirty")


class Watched(TorchNet):
    """A net that counts the bytes which are copied out of it and into it, and looks at the memory of its process if it is told to."""

    crossed = most = spare = 0
    folder, looks = None, False

    def _look(self):
        if self.folder and self.looks:
            self.most = max(self.most, private())
            self.spare = max(self.spare, counted("LazyFree"))

    def _counted(self, arrays):
        self.crossed += sum(array.nbytes for array in arrays)

    def get_weights(self):
        found = super().get_weights()
        self._counted(found.arrays())
        return found

    def set_weights(self, weights):
        super().set_weights(weights)
        self._counted(weights.arrays())
        self._look()

    def get_state(self):
        found = super().get_state()
        self._counted(found.values())
        return found

    def set_state(self, state):
        super().set_state(state)
        self._counted(state.values())
        self._look()

    def lend(self):
        """Copy nothing, so nothing is counted."""
        return super().lend()

    def step(self, batch):
        loss = super().step(batch)
        self._look()
        if self.folder:
            said = {"crossed": self.crossed, "most": self.most, "spare": self.spare, "steps": self.iteration}
            (Path(self.folder) / f"{os.getpid()}.json").write_text(json.dumps(said))
        return loss


class LargeFactory:
    """Makes Watched nets of ResNet-18's size; where they write is known to workers alone."""

    def __init__(self, folder=None, *, looks=False):
        self.folder, self.looks = folder, looks

    def __call__(self, *, seed=0):
        net = Watched(resnet18, optimizer=large_sgd, loss=LOSS, seed=seed)
        net.folder, net.looks = self.folder, self.looks
        return net


large_sgd = partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def large_columns(count):
    rng = np.random.default_rng(0)
    return {
        "data": rng.normal(size=(count, *LARGE_IMAGE)).astype(np.float32),
        "label": rng.integers(0, 1000, count),
    }


LARGE_FIELDS = [Field("data", LARGE_IMAGE), Field("label", (), "int64")]


def large_plain(chosen):
    """Seconds of torch's own steps; or the memory of a process that takes them, and of a forked one."""
    if not chosen["looks"]:
        return {"step": own_steps(chosen)["step"]}
    from pyspark import worker  # noqa: F401 - a worker of Spark has imported it

    # First: torch does not allow to fork once this process has taken steps.
    beside = forked(partial(tried_and_forked, chosen))
    return {"most": own_steps(chosen)["most"], "most of a fork": beside["most"]}


def tried_and_forked(chosen):
    """The memory of a process that takes torch's own steps, forked of one that has tried a net, as the driver of such workers has."""
    given = large_columns(LARGE_BATCH)
    LargeFactory()().rehearse({name: NDArray(column) for name, column in given.items()})
    return forked(partial(own_steps, chosen))


def forked(work):
    """What work() returns in a child process."""
    here, there = os.pipe()
    if not os.fork():
        os.write(there, json.dumps(work()).encode())
        os._exit(0)
    os.close(there)
    found = json.loads(os.read(here, 1 << 16))
    os.wait()
    return found


def own_steps(chosen):
    torch.set_num_threads(1)
    given = large_columns(LARGE_BATCH * 4)
    module = resnet18()
    optimizer = large_sgd(module.parameters())
    took, most = [], 0
    for step in range(chosen["tau"] * chosen["rounds"]):
        rows = slice(step % 4 * LARGE_BATCH, (step % 4 + 1) * LARGE_BATCH)
        start = time.perf_counter()
        optimizer.zero_grad()
        LOSS(module(torch.from_numpy(given["data"][rows])), torch.from_numpy(given["label"][rows])).backward()
        optimizer.step()
        took.append(time.perf_counter() - start)
        most = max(most, private()) if chosen["looks"] else 0
    return {"step": sorted(took)[len(took) // 2], "most": most}


def large_rounds(chosen, cluster, data, folder):
    """What rounds of two workers cost beside their steps."""
    done = list(
        averaged_sgd(
            LargeFactory(folder, looks=chosen["looks"]),
            data,
            cluster=cluster,
            workers=WORKERS,
            tau=chosen["tau"],
            rounds=chosen["rounds"],
            seed=SEED,
        )
    )
    size = done[-1].weights.nbytes
    later = done[1:]
    said = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    said = [each for each in said if each["steps"]]
    if chosen["looks"]:
        return {"nbytes": size, **{part: max(each[part] for each in said) for part in ("most", "spare")}}
    return {
        "nbytes": size,
        "step": float(np.median([seconds / chosen["tau"] for each in later for seconds in each.seconds.train])),
        "exchange": float(np.median([each.seconds.total - max(each.seconds.train) for each in later])),
        "bytes down": later[-1].bytes_down / WORKERS,
        "bytes up": later[-1].bytes_up / WORKERS,
        # what the net gave and took in all, its last result not yet
        "crossed": max(each["crossed"] for each in said) / chosen["rounds"],
    }


def large_in_processes(chosen):
    data = pack(large_columns(LARGE_BATCH * 8), LARGE_FIELDS, LARGE_BATCH)
    with tempfile.TemporaryDirectory() as folder:
        return large_rounds(chosen, LocalCluster(processes=WORKERS), data, folder)


def large_on_spark(chosen):
    given = large_columns(LARGE_BATCH * 8)
    spark = start_spark(f"local[{WORKERS}]", timeout=1800)
    try:
        rows = spark.sparkContext.parallelize(list(zip(*given.values(), strict=True)), WORKERS)
        data = spark_pack(rows, LARGE_FIELDS, LARGE_BATCH, shards=WORKERS)
        with tempfile.TemporaryDirectory() as folder:
            return large_rounds(chosen, SparkCluster(spark, transport="direct"), data, folder)
    finally:
        spark.stop()


def training_ways(taus):
    """Name -> the way, a function of what was chosen."""
    ways = {
        "torch, 1 thread": partial(plain, threads=1),
        "torch, 2 threads": partial(plain, threads=2),
        "torch DDP, gloo": distributed,
    }
    for name, kind in (("TorchNet", "torch"), ("CaffeNet", "caffe")):
        for place, way in (("processes", in_processes), ("Spark", on_spark)):
            ways |= {f"{name}, {place}, tau {tau}": partial(way, kind=kind, tau=tau) for tau in taus}
    return ways


LARGE_WAYS = {"torch, 1 thread": large_plain, "processes": large_in_processes, "Spark": large_on_spark}


def main():
    kind, name, options = sys.argv[1:]
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever Spark and torch print
    chosen = json.loads(options)
    ways = training_ways(chosen["tau"]) if kind == "training" else LARGE_WAYS
    print(json.dumps(ways[name](chosen)), file=said, flush=True)


if __name__ == "__main__":
    from framework_ways import main as main_of_the_module  # so that other processes find the functions by their module

    main_of_the_module()
