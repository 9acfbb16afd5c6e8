"""Training on executors of their own, over direct connections and by a job for each round: the bits of one process, whatever ends in a round."""

import subprocess
import sys
from pathlib import Path

import pytest
from chaos.standalone import Standalone

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1000)]  # the program itself ends where it hangs

PROGRAM = Path(__file__).with_name("on_executors.py")


def run(master, folder, cases):
    command = [sys.executable, str(PROGRAM), master, str(folder), *cases]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == cases


def test_the_bits_are_the_same_when_an_executor_or_a_worker_in_the_middle_of_its_result_is_killed(tmp_path):
    cases = [
        "direct",
        "executor_killed",
        "stopped_after_its_executor_was_killed",
        "executor_killed_sliced",
        "killed_while_pulled",
        "executor_killed_by_jobs",
    ]
    run("local-cluster[2,1,1024]", tmp_path, cases)


@pytest.mark.further
def test_the_bits_are_the_same_on_a_master_and_workers_of_their_own_by_both_ways_of_the_weights(tmp_path):
    with Standalone(tmp_path / "spark") as standalone:
        run(standalone.address, tmp_path, ["executor_killed", "executor_killed_sliced", "executor_killed_by_jobs"])
