"""``sparknet doctor`` lists what this machine has, and warnings about a Spark cluster."""

import argparse

from sparknet.cli.arguments import Help, at_least

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its options to the command."""
    doctor = commands.add_parser(
        "doctor",
        help="show what this machine has, and what there is to say against a Spark cluster",
        description="List what is installed here: Python, the array libraries, Java, Caffe and the packages of each extra. With "
        "--master, look at a session on that cluster too: whether other users can join it, whether lost tasks are tried again, and "
        "whether its executors have the packages of this machine. The exit code is 1 if there is a warning.",
        formatter_class=Help,
    )
    doctor.add_argument("--master", help="a Spark master, such as spark://host:7077 (default: no session is started)")
    doctor.add_argument(
        "--timeout", type=at_least(1), metavar="S", help="seconds to wait for the cluster, as for train"
    )
    doctor.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from sparknet.doctor import examine
    from sparknet.serialization.visible import say

    spark = None
    if args.master:
        from sparknet.spark import start_spark

        spark = start_spark(args.master, timeout=args.timeout)
    try:
        found = examine(spark)
    finally:
        if spark is not None:
            spark.stop()
    say(*map(str, found))
    return int(any(each.state == "warning" for each in found))
