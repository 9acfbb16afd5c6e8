"""The Python stack of a minibatch that takes much longer than those before: once, and only then."""

import io
import os
import re
import threading

import pytest

from sparknet.clusters.spark.jobs import stacks
from sparknet.clusters.spark.jobs.stacks import observed


class Told(io.StringIO):
    """A stderr that tells when something was written."""

    def __init__(self):
        super().__init__()
        self.event = threading.Event()

    def flush(self):
        self.event.set()


@pytest.fixture
def replaced(monkeypatch):
    def replace():  # in the test itself: pytest puts its own there before it
        told = Told()
        monkeypatch.setattr("sys.stderr", told)
        return told

    return replace


def stands_still(event):
    assert event.wait(200)  # until it is told where


def test_the_line_of_a_minibatch_that_takes_much_longer_is_written_once(monkeypatch, replaced):
    stderr = replaced()
    monkeypatch.setattr(stacks, "_SLOW", 1.0)
    for minibatch in observed(range(5), "predict()", 3):
        if minibatch == 2:
            stands_still(stderr.event)
    written = stderr.getvalue()
    said = r"predict\(\): partition 3: a minibatch has taken \d+ s \(the 2 before took \d\.\d s at most\); "
    assert re.match(said, written)
    assert f"process {os.getpid()} is here:\n" in written
    assert "stands_still(stderr.event)" in written
    assert written.count("is here") == 1


def test_so_is_that_of_the_first_one_and_of_what_makes_them(monkeypatch, replaced):
    stderr = replaced()

    def made():
        stands_still(stderr.event)
        yield 0

    monkeypatch.setattr(stacks, "_FIRST", 0.2)
    assert list(observed(made(), "pack()", 0)) == [0]
    assert "(it is the first one)" in stderr.getvalue()
    assert "in made" in stderr.getvalue()


def test_a_task_that_ends_leaves_no_thread_and_no_word(replaced):
    stderr = replaced()
    assert list(observed(range(3), "pack()", 0)) == [0, 1, 2]
    unfinished = observed(range(3), "pack()", 0)
    next(unfinished)
    unfinished.close()
    for thread in threading.enumerate():
        if thread.name == "watch partition 0":
            thread.join(200)
            assert not thread.is_alive()
    assert stderr.getvalue() == ""
