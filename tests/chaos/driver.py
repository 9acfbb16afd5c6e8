"""The program that trains, and is killed: ``python -m chaos.driver SPEC.json``. It says on its standard output what has happened, as JSON."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from chaos import system
from chaos.training import FIELDS, WORKERS, Meeting, bits, columns, options, taken

from sparknet import LocalCluster, SparkCluster, averaged_sgd
from sparknet.clusters import processes
from sparknet.clusters.direct.results import Results
from sparknet.transport import Limits

_STARTS = 600.0  # seconds in which Spark starts, however busy the machine is
_JOINS = 900.0  # seconds in which another worker has come; of Spark an executor may have to start before it
_SLOW = 0.2  # seconds that the driver takes to combine a slice
# A worker that was stopped is given up after the silence. What a training has by default is longer.
SILENCE = {"processes": 6.0, "spark": 10.0}


@dataclass(frozen=True)
class Spec:
    """What a driver is told: where it works, on which cluster, and the step at which workers meet in a round."""

    folder: str
    cluster: str
    master: str
    policy: str
    rounds: int
    steps: dict[str, int]
    aggregation: str = "star"

    def write(self):
        path = Path(self.folder) / "spec.json"
        path.write_text(json.dumps(asdict(self)))
        return path


def say(**what):
    print(json.dumps({**what, "at": time.monotonic()}), flush=True)


def main(path):
    """Train, go on after Ctrl-C, and say what is left at the end."""
    spec = Spec(**json.loads(Path(path).read_text()))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have had it ignored
    _take_orders(Path(spec.folder))
    opened = _processes if spec.cluster == "processes" else _spark
    factory = Meeting(spec.folder, {int(index): step for index, step in spec.steps.items()})
    with opened(spec) as (cluster, data, before, held):
        say(opened=os.getpid())
        while True:
            try:
                rounds = averaged_sgd(
                    factory,
                    data,
                    cluster=cluster,
                    checkpoint=Path(spec.folder) / "checkpoint",
                    **options(data, spec.rounds, spec.policy),
                )
                for each in rounds:
                    say(round=each.index, bits=bits(each), goodput=asdict(each.goodput))
                break
            except KeyboardInterrupt:
                say(cancelled=True)
        del rounds
        if hasattr(data, "unpersist"):
            data.unpersist()
        system.wait_until(lambda: held() == before, 30)
        after = held()
        say(ended=True, left={name: str(after[name]) for name in before if after[name] != before[name]})


def _take_orders(folder):
    """Let the driver fail, or be slow, between two slices of a round."""

    def ordered(original):
        def take(self, number, slices):
            original(self, number, slices)
            if number == 0 and (what := taken(folder / "order-driver")):
                name, _, place = what.rpartition(" ")
                (folder / place / "did").touch()
                if name == "fails summing":
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(_SLOW)

        return take

    Results.take, Results.put = ordered(Results.take), ordered(Results.put)


def _ours():
    """Return what this process holds beside memory."""
    return {
        "threads": sorted(each.name for each in threading.enumerate()),
        "ports": sorted(system.ports(os.getpid())),
        "children": sorted(pid for pid in system.marked(os.environ[system.MARK]) if system.parent(pid) == os.getpid()),
    }


@contextlib.contextmanager
def _processes(spec):
    from sparknet.data import pack

    processes._LIMITS = Limits(beat=0.5, silence=SILENCE["processes"], join=_JOINS)
    yield LocalCluster(processes=WORKERS, aggregation=spec.aggregation), pack(columns(), FIELDS, 8), _ours(), _ours


@contextlib.contextmanager
def _spark(spec):
    from sparknet.clusters.spark.training.plan import SessionPlan
    from sparknet.spark import pack, start_spark

    limits = SessionPlan.limits.func
    SessionPlan.limits = property(
        lambda plan: Limits(beat=0.5, silence=SILENCE["spark"], join=_JOINS, tries=limits(plan).tries)
    )
    address = {"spark_driver_host": "127.0.0.1", "spark_driver_bindAddress": "127.0.0.1"}
    spark = start_spark(
        spec.master,
        "chaos",
        timeout=_STARTS,
        spark_driver_memory="512m",
        **address,
    )
    context, rows = spark.sparkContext, columns()

    def held():
        return {
            # py4j has a thread for each of the caller's, and keeps it.
            **{name: found for name, found in _ours().items() if name != "threads"},
            "threads": [each.name for each in threading.enumerate() if _is_of_a_session(each)],
            "broadcasts": sorted(path.name for path in Path(context._temp_dir).iterdir()),
            "data sets": sorted(context._jsc.getPersistentRDDs()),
            "jobs": list(context.statusTracker().getActiveJobsIds()),
        }

    before = held()
    data = pack(context.parallelize(list(zip(rows["data"], rows["label"].tolist(), strict=True)), WORKERS), FIELDS, 8)
    yield SparkCluster(spark, transport="direct", aggregation=spec.aggregation), data, before, held
    assert context.parallelize(range(4), WORKERS).sum() == 6  # the task slots are free
    spark.stop()


def _is_of_a_session(thread):
    return any(name in thread.name for name in ("worker", "sparknet", "drives", "watches", "ends a task"))


if __name__ == "__main__":
    main(sys.argv[1])
