"""Speculation of Spark: a second copy of each worker changes no bit, ends no worker, and takes over where the first one is lost."""

import subprocess
import sys
from pathlib import Path

import pytest
from chaos.standalone import Standalone

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1000)]  # the program itself ends where it hangs

PROGRAM = Path(__file__).with_name("speculated.py")


def test_second_copies_of_all_workers_wait_and_one_takes_over(tmp_path):
    steps = tmp_path / "steps"
    steps.mkdir()
    with Standalone(tmp_path / "spark", hosts=("127.0.0.1", "127.0.0.2"), cores=3) as cluster:
        command = [sys.executable, str(PROGRAM), cluster.address, str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    name, *copies = done.stdout.split()
    assert name == "copies"
    assert len(copies) == 3
    assert all(int(each) >= 2 for each in copies)
