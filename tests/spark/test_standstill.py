"""What is said of a job that stands still, and when: never of one whose tasks end."""

import pytest

from sparknet.clusters.spark.jobs import standstill
from sparknet.clusters.spark.jobs.standstill import RunningTask, Stage, Standstill

SLOW, STILL, TIMES = standstill._SLOW, standstill._STILL, standstill._TIMES


def task(partition=3, seconds=0.0, attempt=0):
    return RunningTask(partition, attempt, "host7", "2", seconds)


def stage(done=7, tasks=8, running=1, failed=0, key=(5, 0)):
    return Stage(key, tasks, done, failed, running)


def never(_stage):
    raise AssertionError("Spark is asked for tasks though nothing can be said")


def test_nothing_is_asked_and_said_while_tasks_end():
    job, said = Standstill("pack()", 0.0), []
    for step in range(100):
        said += job.words(step * STILL / 2, [stage(done=0 if step == 0 else 8, key=(step, 0), running=0)], never)
    assert said == []


def test_a_task_much_slower_than_those_that_are_done_is_named_once():
    job, said = Standstill("pack()", 0.0), {}
    for now in range(0, 60, 5):
        said[now] = job.words(float(now), [stage()], lambda _, now=now: ([task(seconds=now + 2.0)], 1.25))
    told = {now: lines for now, lines in said.items() if lines}
    assert list(told) == [30]
    (line,) = told[30]
    assert line.startswith(
        "pack(): still computes partition 3 (for 32 s, on host7, executor 2); "
        "7 of 8 partitions are done, and took 1.2 s at most. If that is too long: "
    )
    assert "Ctrl-C ends the job" in line


def test_a_task_tried_again_is_another_one():
    job = Standstill("pack()", 0.0)
    job.words(0.0, [stage()], never)
    assert job.words(SLOW, [stage()], lambda _: ([task(seconds=SLOW + 1)], 1.0))
    (line,) = job.words(2 * SLOW, [stage(failed=1)], lambda _: ([task(seconds=SLOW + 1, attempt=1)], 1.0))
    assert "executor 2, attempt 2)" in line
    assert "py-spy" not in line  # what can be done was said


def test_slow_is_measured_by_the_tasks_that_are_done():
    job = Standstill("pack()", 0.0)
    job.words(0.0, [stage()], never)
    took = 2 * SLOW
    assert job.words(TIMES * took - 1, [stage(done=6)], lambda _: ([task(seconds=TIMES * took - 1)], took)) == []
    (line,) = job.words(TIMES * took + 1, [stage(done=6)], lambda _: ([task(seconds=TIMES * took + 1)], took))
    assert "still computes" in line


def test_that_no_task_ends_is_said_at_times_that_double():
    def closer(_stage):
        return [task(0, 5.0), task(1, 4.0)], 0.0

    job = Standstill("evaluate()", 0.0)
    told = [now for now in range(0, 1000, 5) if job.words(float(now), [stage(done=0, running=2)], closer)]
    assert told == [60, 120, 240, 480, 960]


def test_the_first_tasks_are_named_and_the_others_counted():
    job = Standstill("evaluate()", 0.0)
    running = [task(k, 61.0 - k) for k in range(20)]
    (line,) = job.words(STILL, [stage(done=0, tasks=50, running=32)], lambda _: (running, 0.0))
    assert line.startswith(
        "evaluate(): no task has ended for 60 s; 0 of 50 partitions are done; it computes partition 0 ("
    )
    assert line.count("host7") == standstill._NAMED
    assert " and 28 more. If" in line


def test_tasks_without_a_core_are_told_from_those_that_stand_still():
    job = Standstill("pack()", 0.0)
    (line,) = job.words(STILL, [stage(done=0, running=0)], never)
    assert "none is computed: Spark has no free core" in line


@pytest.mark.parametrize("change", [{"done": 6}, {"failed": 1}, {"key": (5, 1)}])
def test_the_time_begins_anew_with_each_task_that_ends(change):
    def none_slow(_stage):
        return [task(seconds=STILL)], STILL

    job, changed = Standstill("pack()", 0.0), stage(**{"done": 0, **change})
    assert job.words(0.0, [stage(done=0)], never) == []
    assert job.words(STILL - 1, [changed], none_slow) == []
    assert job.words(2 * STILL - 2, [changed], none_slow) == []
    assert job.words(2 * STILL, [changed], none_slow)


def test_a_round_as_long_as_the_one_before_is_not_told():
    first = Standstill("averaged_sgd()", 0.0)
    first.words(100.0, [stage(done=0)], lambda _: ([], 0.0))
    second = Standstill("averaged_sgd()", 0.0, before=first.longest(300.0))
    assert second.words(599.0, [stage(done=0)], never) == []
    assert second.words(601.0, [stage(done=0)], lambda _: ([], 0.0))


def test_what_stood_still_and_went_on_is_no_measure_for_the_next_job():
    job = Standstill("averaged_sgd()", 0.0)
    job.words(0.0, [stage()], never)
    assert job.words(SLOW, [stage()], lambda _: ([task(seconds=SLOW + 1)], 0.1))
    assert job.longest(3600.0) == 0
