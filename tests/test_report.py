"""What a person sees of a run: a line a round, and what the library notes."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from sparknet import Field, LocalCluster, averaged_sgd
from sparknet.data import pack
from sparknet.main_job import master
from sparknet.nets import MLP
from sparknet.report import collected_log, printed_warnings, round_line
from sparknet.training import EventLog


@pytest.fixture(scope="module")
def finished():
    data = pack(
        {"data": np.eye(4, dtype=np.float32), "label": np.arange(4) % 2}, [Field("data", (4,)), Field("label")], 2
    )
    return next(iter(averaged_sgd(MLP.factory((4,), 2), data, cluster=LocalCluster(), workers=1, tau=1, rounds=1)))


def test_the_accuracies_of_many_classes_are_one_part_of_the_line(finished):
    metrics = {"accuracy": 0.5, "each/0": 0.25, "each/1": float("nan"), "each/2": 0.75, "top/5": 0.875, "conv/a": 1.0}
    line = round_line(replace(finished, metrics=metrics), 1)
    assert "test accuracy 50.00%  test each 0.2500..0.7500 (3 classes)  test top/5 0.8750  test conv/a 1.0000  " in line
    none = round_line(replace(finished, metrics={"each/0": float("nan"), "each/1": float("nan")}), 1)
    assert "test each nan (2 classes)" in none


def test_workers_that_came_late_are_named_in_the_line(finished):
    late = replace(finished, decided=replace(finished.decided, worker_steps=(None, 3, None)))
    assert round_line(late, 1).endswith(" s  without worker 0, 2: late")
    assert "late" not in round_line(finished, 1)


def test_the_event_of_a_round_counts_strangers_and_messages_that_changed_nothing(finished, tmp_path):
    with EventLog(tmp_path / "events.jsonl") as log:
        log.round(replace(finished, strangers=3, ignored=2))
    event = json.loads((tmp_path / "events.jsonl").read_text())
    assert (event["event"], event["strangers"], event["ignored"]) == ("round", 3, 2)


def test_what_the_library_notes_is_collected_and_logged_nowhere_else(caplog):
    logger = logging.getLogger("sparknet.nets.caffe")
    before = logger.level, logger.propagate, list(logger.handlers)
    with collected_log("sparknet.nets.caffe") as said:
        logging.getLogger("sparknet.nets.caffe.below").info("one")
        logger.warning("two %d", 2)
        logger.debug("three")
    assert said == ["one", "two 2"]
    assert not caplog.records
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_what_was_noted_before_an_error_is_printed(capsys):
    def failing():
        with collected_log("sparknet.nets.caffe"):
            logging.getLogger("sparknet.nets.caffe").warning("noted")
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert capsys.readouterr().out == "noted\n"


def test_what_is_shown_is_printed_at_once_to_standard_error(capsys):
    logger = logging.getLogger("sparknet.clusters.spark.jobs.watching")
    with printed_warnings("sparknet.clusters.spark"):
        logger.warning("pack(): one %d", 1)
        assert capsys.readouterr().err == "pack(): one 1\n"
    logger.warning("and now nothing")
    assert capsys.readouterr().err == ""


def test_warnings_of_every_library_are_shown_in_a_line_with_the_traceback_that_they_have(capsys):
    with printed_warnings():
        logging.getLogger("another.library").warning("a\n%s", "b")
        logging.getLogger().info("not this")
        logging.getLogger().error("failed", exc_info=KeyError("x"))
    assert capsys.readouterr().err.splitlines() == [r"a\nb", "failed", "KeyError: 'x'"]


def test_nothing_of_py4j_is_logged_once_a_job_runs_on_spark(caplog, monkeypatch):
    root, own = logging.getLogger(), logging.getLogger("py4j.java_gateway")
    monkeypatch.setattr(root, "filters", [*root.filters])
    before = logging.getLogger("py4j").level
    try:
        master._silence_py4j()
        master._silence_py4j()
        own.error("of its own")
        for path in (
            "/lib/py4j/java_gateway.py",
            "/spark/py4j-0.10.9.9-src.zip/py4j/clientserver.py",
            "/my/program.py",
        ):
            root.handle(logging.LogRecord("root", logging.ERROR, path, 1, "of %s", (path,), None))
        assert [record.getMessage() for record in caplog.records] == ["of /my/program.py"]
    finally:
        logging.getLogger("py4j").setLevel(before)
