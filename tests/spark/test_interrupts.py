"""A session trains again after an interruption, at whichever moment it came.

``SPARKNET_MOMENTS=50`` takes 50 random moments on each master instead of a few.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sparknet.clusters.spark.jobs.running import run_job

pytestmark = pytest.mark.spark

MOMENTS = int(os.environ.get("SPARKNET_MOMENTS", "4"))


@pytest.mark.slow
@pytest.mark.timeout(600 + 60 * MOMENTS)  # the program itself ends where it hangs
@pytest.mark.parametrize("master", [pytest.param("local[2]", marks=pytest.mark.further), "local-cluster[2,1,1024]"])
def test_a_session_trains_again_after_any_interruption(tmp_path, master):
    program = Path(__file__).with_name("interrupting.py")
    command = [sys.executable, str(program), master, "1", str(MOMENTS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("went on after") == MOMENTS + 1


def test_a_job_that_comes_only_after_the_interrupt_is_cancelled_too(context):
    ended = threading.Event()

    def late(tags):
        for tag in tags:
            context.addJobTag(tag)
        with pytest.raises(Exception, match="cancelled"):
            context.parallelize([0], 1).foreach(lambda _: __import__("time").sleep(10**6))
        ended.set()

    def interrupted():  # between the call and its job, while Spark lists the files of a source
        tags = context.getJobTags()
        timer = threading.Timer(1, late, [tags])
        timer.start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(interrupted)
    assert ended.wait(200)
