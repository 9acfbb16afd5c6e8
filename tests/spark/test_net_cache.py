"""The nets that Spark's workers keep, and how they are let go."""

from types import SimpleNamespace

from sparknet.clusters.spark.workers import net_cache


def test_letting_nets_go_is_a_job_that_is_watched_as_others_are(monkeypatch):
    jobs, tasks = [], []
    monkeypatch.setattr(net_cache, "run_job", lambda action: jobs.append(action()))
    rdd = SimpleNamespace(foreach=lambda work: tasks.append(work) or "done")
    net_cache.drop_nets(SimpleNamespace(defaultParallelism=2, parallelize=lambda *_: rdd))
    assert (jobs, tasks) == (["done"], [net_cache._drop])
