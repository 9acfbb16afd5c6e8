"""Claim: K workers that average every tau steps reach the accuracy of one plain process, as many steps in all.

Plain: pycaffe (or the MLP) in a loop of its own, no sparknet driver, N steps of 64. Averaged: Spark local[K], N / K
steps for each of K workers, so N gradient steps in all; at the plain run's learning rate and at K times it (the linear
scaling rule). The same images, minibatch size and initial weights. Test accuracy on all test images. Beside them the
plain run of N / K steps, which is what a worker alone would reach in the same time.

What not to conclude: that K workers need fewer steps, or from one seed more than a percentage point.

    python bench/bench_accuracy.py --net lenet --data fashion-mnist --steps 1875
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np

from sparknet import SparkCluster, averaged_sgd
from sparknet.clusters.totals import mean_metrics
from sparknet.data import EpochSampler, load_image_set, pack
from sparknet.data.blas import single_threaded_blas
from sparknet.data.preprocess import Scale
from sparknet.data.preprocess.base import preprocessed
from sparknet.nets import MLP
from sparknet.spark import pack as spark_pack
from sparknet.spark import start_spark
from sparknet.worker import evaluate_shard

BATCH = 64
SEED = 7
LENET = Path(__file__).parents[1] / "examples" / "lenet" / "lenet_solver.prototxt"


def steps_of(net):
    """What is done to pixels 0..255 before the net gets them; LeNet's prototxt says it itself."""
    return Scale("data", 1 / 256) if net == "mlp" else None


def factory_of(net, images, scale=1):
    if net == "mlp":
        return MLP.factory(images.train[0].shape[1:], images.classes, (128,), learning_rate=0.05 * scale)
    from sparknet.nets import CaffeNet

    return CaffeNet.factory(solver=LENET, fields=images.fields, solver_overrides={"base_lr": 0.01 * scale})


def columns(part):
    return {"data": part[0], "label": part[1]}


def accuracy(net, weights, test):
    return mean_metrics(evaluate_shard(net, test.batches, weights, test.preprocessor))["accuracy"]


def plain(net, train, steps):
    """One process, one net, one loop: pycaffe's own solver step where the net is Caffe's."""
    rng = np.random.default_rng(0)
    solver = getattr(net, "_solver", None)  # pycaffe's own; its net is kept, each access makes a wrapper
    caffe_net = solver.net if solver is not None else None
    start = time.perf_counter()
    with single_threaded_blas():
        for i in EpochSampler(train.num_batches, SEED, 0).indices(0, steps):
            batch = preprocessed(train.batches[i], train.preprocessor, rng, train=True)
            if solver is not None:
                for name, column in batch.items():
                    caffe_net.blobs[name].reshape(*column.shape)
                    caffe_net.blobs[name].data[...] = column.to_host()
                solver.step(1)
            else:
                net.step(batch)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", choices=["mlp", "lenet"], default="lenet")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--steps", type=int, default=1875, help="gradient steps in all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tau", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--scales", type=float, nargs="+", default=[1, 2], help="times the plain run's learning rate")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()

    images = load_image_set(args.data)
    factory = factory_of(args.net, images)
    pixels = steps_of(args.net)
    train = pack(columns(images.train), images.fields, BATCH, pixels, shuffle=SEED)
    test = pack(columns(images.test), images.fields, BATCH, pixels)
    results = []

    def report(what, accuracy, seconds):
        results.append({"what": what, "accuracy": accuracy, "seconds": seconds})
        print(f"{what:<58} accuracy {accuracy:.2%}   {seconds:6.1f} s", flush=True)

    for steps in (args.steps, args.steps // args.workers):
        net = factory(seed=SEED)
        seconds = plain(net, train, steps)
        report(f"plain, one process, {steps} steps", accuracy(net, net.get_weights(), test), seconds)

    spark = start_spark(f"local[{args.workers}]")
    rows = spark.sparkContext.parallelize(list(zip(*images.train, strict=True)), args.workers)
    packed = spark_pack(rows, images.fields, BATCH, train.preprocessor, shards=args.workers, shuffle=SEED)
    for tau, scale in itertools.product(args.tau, args.scales):
        rounds = round(args.steps / args.workers / tau)
        start = time.perf_counter()
        *_, last = averaged_sgd(
            factory_of(args.net, images, scale),
            packed,
            cluster=SparkCluster(spark),
            workers=args.workers,
            tau=tau,
            rounds=rounds,
            seed=SEED,
        )
        seconds = time.perf_counter() - start
        steps = args.workers * tau * rounds
        name = f"{args.workers} workers, tau {tau}, {rounds} rounds ({steps} steps), rate x{scale:g}"
        report(name, accuracy(net, last.weights, test), seconds)
    spark.stop()
    if args.json:
        Path(args.json).write_text(json.dumps({"args": vars(args), "results": results}, indent=1))


if __name__ == "__main__":
    main()
