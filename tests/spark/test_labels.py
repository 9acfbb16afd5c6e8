"""What Spark's own pages say of the jobs of a run."""

import numpy as np
import pytest

from sparknet import ClusterError, Field, SparkCluster, averaged_sgd
from sparknet.clusters.spark.jobs.labels import DESCRIPTION
from sparknet.nets import MLP
from sparknet.spark import pack

pytestmark = pytest.mark.spark

RNG = np.random.default_rng(0)
ROWS = [(RNG.normal(size=6), int(label)) for label in RNG.integers(0, 3, 80)]
FIELDS = [Field("data", (6,)), Field("label", (), "int64")]
FACTORY = MLP.factory((6,), 3, (4,))
LISTENER_BUS = 20_000  # milliseconds in which Spark has heard of its own jobs


@pytest.fixture(scope="module")
def packed(spark):
    data = pack(spark.sparkContext.parallelize(ROWS, 2), FIELDS, 10, shuffle=5)
    yield data
    data.unpersist()


@pytest.fixture
def labels(context):
    """The caller's own description and tag."""
    context.setJobDescription("mine")
    context.addJobTag("my-tag")
    yield
    context.setLocalProperty(DESCRIPTION, None)
    context.removeJobTag("my-tag")


def jobs(context):
    """Return job -> its description and tags, of all jobs that Spark knows."""
    context._jsc.sc().listenerBus().waitUntilEmpty(LISTENER_BUS)
    found = context._jsc.sc().statusStore().jobsList(None)
    listed = [found.apply(i) for i in range(found.size())]
    return {
        job.jobId(): (
            job.description().get() if job.description().isDefined() else None,
            set(job.jobTags().mkString(",").split(",")),
        )
        for job in listed
    }


def start(packed, spark, transport, factory=FACTORY, **options):
    options = {"workers": 2, "tau": 2, "rounds": 2, "seed": 3, **options}
    return averaged_sgd(factory, packed, cluster=SparkCluster(spark, transport=transport), **options)


def test_each_job_of_a_round_says_run_round_and_part_and_the_caller_s_own_words_are_put_back(
    spark, context, packed, labels
):
    del labels
    rounds = start(packed, spark, "spark", evaluate=(packed, 1))
    before = jobs(context)
    for _ in rounds:
        assert context.getLocalProperty(DESCRIPTION) == "mine"
        assert set(context.getJobTags()) == {"my-tag"}
    of_run = dict(said for job, said in jobs(context).items() if job not in before)
    expected = {}
    for index in range(2):
        for part in "train", "evaluate":
            tags = {"my-tag", f"sparknet-run-{rounds.run}", f"sparknet-round-{index}", f"sparknet-{part}"}
            expected[f"sparknet run {rounds.run}, round {index} (2 in all): {part}"] = tags
    assert expected.keys() <= of_run.keys()
    for description, tags in expected.items():
        assert tags < of_run[description]  # one more is for Ctrl-C
    assert all(description.startswith(f"sparknet run {rounds.run}, ") for description in of_run)


class Broken(MLP):
    def step(self, _batch):
        raise ZeroDivisionError("a fault in the net")


def test_they_are_put_back_after_a_round_that_failed(spark, context, packed, labels):
    del labels
    with pytest.raises(ClusterError, match="a fault in the net"):
        list(start(packed, spark, "spark", Broken.factory((6,), 3)))
    assert context.getLocalProperty(DESCRIPTION) == "mine"
    assert set(context.getJobTags()) == {"my-tag"}


def test_the_job_of_workers_that_stay_says_which_run_it_is(spark, context, packed):
    before = jobs(context)
    rounds = start(packed, spark, "direct", evaluate=(packed, 1))
    list(rounds)
    found = [said for job, said in jobs(context).items() if job not in before]
    (tags,) = [tags for words, tags in found if words == f"sparknet run {rounds.run}: 2 workers, for all rounds"]
    assert tags > {f"sparknet-run-{rounds.run}", "sparknet-workers"}
    assert context.getLocalProperty(DESCRIPTION) is None
    assert set(context.getJobTags()) == set()
