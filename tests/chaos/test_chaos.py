"""Real processes that are killed, stopped and told to fail: a few of them here, all of them in ``nox -s chaos``."""

import os
import subprocess
import sys

import pytest
from chaos import system
from chaos.faults import KINDS, Fault, plan
from chaos.run import Run, RunError
from chaos.standalone import Standalone
from chaos.training import FIELDS, Meeting, bits, columns, options

from sparknet import LocalCluster, averaged_sgd
from sparknet.data import pack
from sparknet.training import Goodput

ROUNDS = 5
FEW = [
    Fault("worker killed", 1, 1, 0, 0.0),
    Fault("fails sending", 2, 2, 1, 0.0),
    Fault("sums slowly", 3, 0, 0, 0.0),
]


def undisturbed(rounds):
    data = pack(columns(), FIELDS, 8)
    return [
        bits(each)
        for each in averaged_sgd(Meeting("", {}), data, cluster=LocalCluster(), **options(data, rounds, "average"))
    ]


@pytest.mark.parametrize("aggregation", ["star", "sliced"])
def test_processes_that_are_killed_change_no_bit_and_nothing_is_left(tmp_path, aggregation):
    right = undisturbed(ROUNDS)
    with Run(tmp_path / "run", "processes", "average", ROUNDS, FEW, limit=250.0, aggregation=aggregation) as run:
        outcome = run.ends_as(right)
        assert outcome.injected == {"worker killed": 1, "fails sending": 1, "sums slowly": 1}
        assert outcome.missed == 0
        assert outcome.goodput.steps > 0
        assert outcome.goodput.lost > 0  # of the worker that was killed, and of the one that failed
        # What would be found: other bits, a round that is missing, a process, a file.
        with pytest.raises(RunError, match="round 1 has other bits"):
            run.check([right[0], "others", *right[2:]])
        with pytest.raises(RunError, match=f"the last round was {ROUNDS - 1}"):
            run.check([*right, "one more"])
        with subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={**os.environ, system.MARK: run.mark}
        ) as left:
            with pytest.raises(RunError, match=rf"processes are left: {left.pid} \(.*python"):
                run.check(right, ends=0.0)
            left.kill()
        (tmp_path / "run" / "tmp" / "left").touch()
        with pytest.raises(RunError, match=r"a file is left: .*/left"):
            run.check(right)


def test_a_round_that_is_done_again_after_the_driver_was_killed_was_lost_work_the_first_time(tmp_path):
    with Run(tmp_path / "run", "processes", "average", 2, []) as run:
        for index, steps in ((0, 4.0), (1, 6.0), (1, 5.0)):
            run._take_goodput(index, Goodput(steps=steps, exchange=1.0))
        assert run.outcome.goodput == Goodput(steps=9.0, lost=6.0, exchange=3.0)


def test_the_seeds_of_a_cluster_have_all_kinds_of_faults_equally_often():
    for cluster in "processes", "local-cluster", "standalone":
        drawn = [fault for seed in range(20) for fault in plan(cluster, seed, 50, 10)]
        counts = [sum(fault.name == name for fault in drawn) for name in KINDS if cluster in KINDS[name].clusters]
        assert min(counts) > 0
        assert max(counts) - min(counts) <= 1
        assert plan(cluster, 3, 50, 10) == plan(cluster, 3, 50, 10)
        assert len({fault.round for fault in plan(cluster, 3, 50, 10)}) == 10


@pytest.mark.spark
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("cluster", ["local-cluster", pytest.param("standalone", marks=pytest.mark.further)])
def test_executors_that_are_killed_change_no_bit_and_nothing_is_left(tmp_path, cluster):
    names = ["executor killed"]
    names += [] if cluster == "local-cluster" else ["driver killed", "executor killed", "Spark worker killed"]
    rounds = 2 * len(names) + 2
    chosen = [Fault(name, 2 * place + 1, 1, place % 2, 0.2) for place, name in enumerate(names)]

    def ends(standalone=None):
        with Run(tmp_path / "run", cluster, "average", rounds, chosen, standalone=standalone, limit=1400.0) as run:
            return run.ends_as(undisturbed(rounds))

    if cluster == "standalone":
        with Standalone(tmp_path / "spark") as standalone:
            outcome = ends(standalone)
    else:
        outcome = ends()
    assert outcome.injected.total() == len(names)
