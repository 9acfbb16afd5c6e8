"""Other users of a machine can neither join a cluster that start_spark() starts, nor find its secret where they may look."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparknet.clusters.spark.jobs.startup import _settings

pytestmark = pytest.mark.spark

PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); import test_neighbours; test_neighbours.tell(sys.argv[2])"
EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"


# ---- in a process of its own, because there is one cluster in a process
def tell(master):
    """Start a session on ``master``, let strangers try to join it, and print what came of it."""
    from sparknet.spark import start_spark

    spark = start_spark(master)
    context = spark.sparkContext
    secret = context._conf.get("spark.authenticate.secret")
    same = context.parallelize([0], 1).map(lambda _: os.environ.get("_SPARK_AUTH_SECRET") == secret).collect()
    lines = [path.read_bytes().decode() for path in _of_all_processes("cmdline")]
    told = {
        "secret": secret,
        "tasks have it": same,
        "jvms": sorted({kind for kind in ("SparkSubmit", EXECUTOR) for line in lines if kind in line}),
        "on a command line": any(secret in line for line in lines),
        "without": _stranger(context, "false", ""),
        "wrong": _stranger(context, "true", "0" * len(secret)),
    }
    if master.startswith("local-cluster"):
        told["right"] = _stranger(context, "true", secret)
    spark.stop()
    print(json.dumps(told))


def _of_all_processes(name):
    """Yield a file of each process that is still there."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            (folder / name).read_bytes()
        except OSError:
            continue
        yield folder / name


def _stranger(context, authenticate, secret):
    """Start an executor that nobody asked for; return whether it has joined, and what it said."""
    import pyspark

    state = context._jsc.sc()
    before = state.getExecutorMemoryStatus().size()
    options = {
        "--driver-url": f"spark://CoarseGrainedScheduler@127.0.0.1:{state.conf().get('spark.driver.port')}",
        "--bind-address": "127.0.0.1",
        "--hostname": "127.0.0.1",
        "--executor-id": "99",
        "--cores": "1",
        "--app-id": context.applicationId,
        "--resourceProfileId": "0",
    }
    program = str(Path(pyspark.__file__).parent / "bin" / "spark-class")
    environment = os.environ | {"SPARK_EXECUTOR_OPTS": f"-Dspark.authenticate={authenticate}"}
    environment |= {"_SPARK_AUTH_SECRET": secret} if secret else {}
    command = [program, EXECUTOR, *(word for option in options.items() for word in option)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as executor:
        while executor.poll() is None and state.getExecutorMemoryStatus().size() == before:
            time.sleep(0.1)
        joined = state.getExecutorMemoryStatus().size() > before
        executor.kill()
        return joined, executor.stdout.read()


# ---- the tests
@pytest.mark.slow
@pytest.mark.parametrize("master", [pytest.param("local[2]", marks=pytest.mark.further), "local-cluster[1,1,1024]"])
def test_an_executor_without_the_secret_cannot_join(master):
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), master]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["without"][0] is told["wrong"][0] is False
    assert "Expected SaslMessage" in told["without"][1]
    assert "Mismatched response" in told["wrong"][1]
    assert (told["on a command line"], told["secret"] in done.stderr) == (False, False)
    assert "SparkSubmit" in told["jvms"]
    if "cluster" in master:  # what was refused is refused for its secret alone
        assert told["right"][0] is True
        assert told["tasks have it"] == [True]
        assert EXECUTOR in told["jvms"]


def test_each_cluster_of_our_own_has_another_secret_and_of_others_their_settings_decide():
    own = [
        _settings(master)["spark_authenticate_secret"] for master in ("local[2]", "local-cluster[2,1,1024]", "local[2]")
    ]
    assert len(set(own)) == 3
    assert all(len(secret) == 64 for secret in own)
    for master in ("spark://host:7077", "yarn", "k8s://https://host"):
        assert not [name for name in _settings(master) if "authenticate" in name]
