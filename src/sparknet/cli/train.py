"""``sparknet train``: all its options. :mod:`sparknet.main_job` does the work."""

import argparse

from sparknet.cli.arguments import MAX_BYTES, Help, at_least, names, net_name, positive, seconds_or_auto, widths

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its options to the command."""
    train = commands.add_parser(
        "train",
        help="train a net on a Spark cluster",
        description="Train a net by averaging SGD: broadcast the weights, each worker takes tau solver steps on its "
        "shard of the images, average, repeat. Writes weights, events and (for Caffe) a .caffemodel to --out.",
        formatter_class=Help,
    )
    _add_net(train)
    _add_rounds(train)
    _add_steps(train)
    train.add_argument("--out", default="sparknet-out", metavar="DIR", help="where the results go")
    train.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from sparknet import main_job

    main_job.run(args)


def _add_net(train: argparse.ArgumentParser) -> None:
    """Add the options about the net, the weights it starts from, and the images it gets."""
    net = train.add_mutually_exclusive_group()
    net.add_argument(
        "--net",
        type=net_name,
        default="mlp",
        metavar="NET",
        help="mlp: the embedded net, which needs no framework; torch:package.module:function or torch:FILE.py:function: a function of "
        "yours that returns a torch.nn.Module, which is trained by SGD on the cross entropy, or a TorchNet.factory(...)",
    )
    net.add_argument("--solver", metavar="FILE.prototxt", help="a Caffe solver; trains its net through pycaffe")
    train.add_argument(
        "--scale",
        type=positive,
        metavar="FACTOR",
        help="multiply pixels 0..255 by this first (default: not at all with --solver, where the prototxt says it, as in "
        "transform_param { scale: 0.00390625 }; 0.00390625 with --net)",
    )
    train.add_argument(
        "--bgr",
        action="store_true",
        help="give the net the channels as B, G, R, which nets of Caffe's model zoo were trained on; stored are R, G, B",
    )
    train.add_argument(
        "--drop-unknown-fields",
        action="store_true",
        help="leave out of the prototxts what this Caffe does not know, such as fields of forks, and say what",
    )
    train.add_argument(
        "--trust",
        type=names,
        default=(),
        metavar="TYPE,TYPE",
        help="types of layers that the net may have although they do more than compute: Python runs code of a module that the "
        "prototxt names (default: none)",
    )
    train.add_argument(
        "--weights",
        metavar="FILE",
        help="fine-tune: start from the layers of this file that the net has too, by their names; any format that 'sparknet "
        "convert' reads, several with commas between. It takes the place of the solver's own weights",
    )
    train.add_argument("--max-bytes", type=at_least(0), metavar="N", help="of --weights: " + MAX_BYTES)
    train.add_argument("--data", default="mnist", help="mnist, fashion-mnist, cifar10:DIR or idx:DIR")


def _add_rounds(train: argparse.ArgumentParser) -> None:
    """Add the options about the cluster, the rounds and the rule."""
    train.add_argument("--master", default="local[2]", help="Spark master, or 'none' for this process without Spark")
    train.add_argument(
        "--processes",
        type=at_least(1),
        metavar="N",
        help="with --master none: let the workers be child processes that work at the same time, at most so many",
    )
    train.add_argument(
        "--transport",
        choices=["auto", "direct", "spark"],
        help="how weights come to the workers on Spark, as for SparkCluster: direct: workers stay for the whole training and connect to the "
        "driver; spark: a job for each round; auto: direct where it is possible, else a line says why not (default: auto)",
    )
    train.add_argument(
        "--aggregation",
        choices=["star", "sliced"],
        default="star",
        help="who combines the results of workers that stay: star: the driver, to which all of them go; sliced: each worker a part, for "
        "many workers or large nets, whose results the driver's network is too slow for; workers have to reach each other then",
    )
    train.add_argument(
        "--timeout",
        type=at_least(1),
        metavar="S",
        help="seconds to wait for the cluster (default: 50 for spark://, else 300)",
    )
    train.add_argument("--workers", type=at_least(1), default=2, help="how many workers, each with its own shard")
    train.add_argument(
        "--tau",
        type=at_least(0),
        default=20,
        help="solver steps of each worker in a round; 0: as many as there is time for, with --max-seconds",
    )
    train.add_argument(
        "--max-seconds",
        type=seconds_or_auto,
        metavar="S",
        help="a worker ends its round after so many seconds, even before tau steps, but never before the first; auto: after the time "
        "that tau steps take a worker of typical speed, and a tenth more, as measured in the rounds before (default: no limit)",
    )
    train.add_argument(
        "--min-workers",
        type=at_least(1),
        metavar="N",
        help="end a round without late workers once N are done and a while has passed, which follows from how long steps take; it needs "
        "workers that stay, as with --processes or --transport direct (default: wait for all)",
    )
    train.add_argument("--rounds", type=at_least(1), default=20, help="rounds, including those before a checkpoint")
    train.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="keep there, after each round, all that the next one starts from; the same command, started again, goes on there: a directory, "
        "or a URL such as s3://bucket/run, which takes the extra fsspec and fsspec's driver for it (default: keep nothing)",
    )
    train.add_argument(
        "--keep",
        type=at_least(1),
        metavar="N",
        help="how many of the last rounds stay in --checkpoint (default: 2)",
    )
    train.add_argument(
        "--resume",
        choices=["yes", "no", "other data"],
        help="what becomes of the rounds that --checkpoint has already: yes: go on after them, with the bits of a training without a break; "
        "'other data': go on where the images are others than before, too, with a warning; no: end with an error (default: yes)",
    )
    train.add_argument(
        "--replay",
        metavar="EVENTS",
        help="do the rounds of a former training again, with the same bits: EVENTS is its events.jsonl, which has the steps that clocks decided "
        "on, taken in the place of --tau, and the workers that came late. All else that the weights depend on has to be as it was; a round "
        "with another loss ends it (default: no replay)",
    )
    train.add_argument(
        "--rule",
        choices=["mean", "weighted-mean", "median", "momentum", "nesterov"],
        help="how the workers' weights become the next round's start: their mean, the mean weighted by the examples seen, their "
        "median, or a step with momentum from the former start to the mean (default: mean; weighted-mean with --max-seconds or --min-workers)",
    )
    train.add_argument(
        "--outer-learning-rate",
        type=positive,
        metavar="RATE",
        help="of --rule momentum (default: 1) and nesterov (default: 0.7): the length of the step",
    )
    train.add_argument(
        "--outer-momentum", type=float, metavar="M", help="of --rule momentum and nesterov: momentum (default: 0.9)"
    )


def _add_steps(train: argparse.ArgumentParser) -> None:
    """Add the options about the steps of a worker and their minibatches."""
    train.add_argument("--batch-size", type=at_least(1), help="images in a minibatch (default: the Caffe net's, or 64)")
    train.add_argument(
        "--ragged",
        choices=["drop", "pad", "reshape"],
        help="what becomes of a short last minibatch: left out, filled up (of a net that ignores a label), or taken as it is "
        "(default: what an RDDDataLayer of the net says, or reshape)",
    )
    train.add_argument(
        "--on-nonfinite",
        choices=["error", "leave_out", "warn"],
        default="error",
        help="when a worker's loss or weights are NaN or infinite: end the training, average the other workers, or say so and go on "
        "with what there is",
    )
    train.add_argument("--seed", type=at_least(0), default=0, help="of initial weights, shuffling and order")
    train.add_argument("--test-every", type=at_least(1), default=1, metavar="N", help="measure accuracy every N rounds")
    train.add_argument("--hidden", type=widths, default=(128,), metavar="N,N", help="mlp: widths of the hidden layers")
    train.add_argument(
        "--learning-rate", type=positive, metavar="RATE", help="instead of the solver's base_lr (mlp and torch: 0.05)"
    )
    train.add_argument("--momentum", type=float, default=0.9, help="mlp and torch: momentum")
