"""The time that a Spark session is given to start, without Spark."""

import threading
from types import SimpleNamespace

from sparknet.clusters.spark.jobs.startup import _deadline


def gateway(killed):
    return SimpleNamespace(proc=SimpleNamespace(kill=killed.set))


def test_a_jvm_that_is_known_only_after_the_time_is_up_is_ended_too():
    context, killed = SimpleNamespace(_gateway=None), threading.Event()
    with _deadline(0.01, context) as expired:
        assert expired.wait(60)
        assert not killed.is_set()
        context._gateway = gateway(killed)
        assert killed.wait(60)
    assert context._gateway is None  # so that another session can be started


def test_a_jvm_that_starts_in_time_is_left_alone():
    killed = threading.Event()
    context = SimpleNamespace(_gateway=gateway(killed))
    with _deadline(3600, context) as expired:
        pass
    assert not expired.is_set()
    assert not killed.is_set()
    assert context._gateway is not None


def test_a_time_that_is_longer_than_threads_can_wait_is_no_end():
    context = SimpleNamespace(_gateway=None)
    with _deadline(1e30, context) as expired:
        assert not expired.wait(0.05)
