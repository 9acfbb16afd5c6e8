"""The page "Run on a cluster": its commands, on a cluster of Spark's own, made of processes. The bits are those of one process."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from chaos.standalone import Standalone

import sparknet
from sparknet.data import pack
from sparknet.nets import MLP

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "run_on_a_cluster.md").read_text(encoding="utf-8")
PROGRAM = ROOT / "examples" / "spark_submit" / "train.py"


def commands(section):
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [shlex.split(line) for line in re.findall(r"^ *\$ (.+)$", text, re.MULTILINE)]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def in_this_process():
    """Return the weights of the program's training, without Spark."""
    points = np.random.default_rng(7).normal(size=(2000, 2))
    columns = {"data": points, "label": (points[:, 0] > points[:, 1]).astype(int)}
    data = pack(columns, [sparknet.Field("data", (2,)), sparknet.Field("label", (), "int64")], 20, shuffle=7)
    factory = MLP.factory((2,), classes=2, learning_rate=0.5)
    rounds = sparknet.averaged_sgd(factory, data, cluster=sparknet.LocalCluster(), workers=2, tau=10, rounds=5)
    list(rounds)
    return rounds.weights


def test_the_page_starts_what_this_test_starts():
    *started, submitted = commands("Spark's own cluster")
    assert [command[:2] for command in started] == [
        ["spark-class", f"org.apache.spark.deploy.{name}"]
        for name in ("master.Master", "worker.Worker", "worker.Worker")
    ]
    assert submitted[0] == "spark-submit"


def test_the_program_trains_on_a_master_and_two_workers_and_says_so_where_the_page_has_it(tmp_path, monkeypatch):
    # Spark takes the first python3 of the path, on the driver and on executors.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    *_, command = commands("Spark's own cluster")
    shutil.copy(PROGRAM, tmp_path)
    with Standalone(tmp_path / "spark") as cluster:
        command[command.index("--master") + 1] = cluster.address
        done, again = (
            subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False) for _ in range(2)
        )
    for each in done, again:
        assert each.returncode == 0, each.stdout + each.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("round ")]
    start, *events, end = (json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines())
    assert [event["index"] for event in events] == [0, 1, 2, 3, 4]
    assert len(lines) == len(events)
    assert events[-1]["metrics"]["accuracy"] > 0.9
    assert all(event["decided"]["worker_steps"] == [10, 10] for event in events)
    assert (start["settings"]["workers"], end["finished"]) == (2, True)
    assert re.search(r"^5 rounds are done; goodput [\d.]+ % \(", done.stdout, re.MULTILINE)
    assert "each round is a job" not in done.stderr  # the workers stay
    assert names_in(tmp_path / "run" / "checkpoint") == ["round-000003", "round-000004", "run.json"]
    assert "5 rounds are done" in again.stdout  # it went on, and nothing was left
    assert not [line for line in again.stdout.splitlines() if line.startswith("round ")]
    assert sparknet.load(tmp_path / "run" / "weights.sparknet") == in_this_process()
