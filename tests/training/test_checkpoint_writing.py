"""Checkpoints are written in a thread while the next round trains: with the bits of their round, and with every error told."""

import logging
import shutil
import threading

import pytest
from kept_training import facts, start, train

from sparknet import DataError, LocalCluster, load
from sparknet.averaging import Nesterov
from sparknet.checkpoint import Checkpoint, directory, writer
from sparknet.clusters.direct import results
from sparknet.nets import MLP

WAITS = 60  # seconds until a test that waits for another thread fails
WRITE = directory.write_round
TAU, WORKERS = 3, 2  # of start


class Stepping(MLP):
    """Counts the steps of all nets in this process."""

    steps, changed = 0, threading.Condition()

    def step(self, batch):
        loss = super().step(batch)
        with self.changed:
            Stepping.steps += 1
            self.changed.notify_all()
        return loss


@pytest.fixture
def make():
    Stepping.steps = 0
    return Stepping.factory((1, 5, 5), 3, (4,), learning_rate=0.1, momentum=0.9, weight_decay=0.01)


def replaced(monkeypatch, write):
    monkeypatch.setattr(directory, "write_round", write)


@pytest.mark.parametrize("options", [{"solver_state": "local"}, {"rule": Nesterov()}, {"solver_state": "reset"}])
def test_a_round_is_written_while_all_steps_of_the_next_one_are_taken_and_has_its_own_bits(
    tmp_path, monkeypatch, make, options
):
    def write_late(folder, position, *more):
        until = min(position.rounds + 1, 6) * TAU * WORKERS
        with Stepping.changed:
            assert Stepping.changed.wait_for(lambda: Stepping.steps >= until, WAITS)
        WRITE(folder, position, *more)

    with monkeypatch.context() as patch:
        replaced(patch, write_late)
        whole = train(tmp_path / "all", make, keep=6, **options)
    for stop in range(1, 6):
        for folder in Checkpoint(tmp_path / "all", {}).folders()[:stop]:
            shutil.copytree(folder, tmp_path / str(stop) / folder.name)
        assert facts(train(tmp_path / str(stop), make, **options)) == facts(whole)[stop:]


def test_one_round_is_written_at_a_time_and_in_order(tmp_path, monkeypatch):
    open_, most, order = 0, 0, []

    def write(folder, position, *more):
        nonlocal open_, most
        open_ += 1
        most = max(most, open_)
        WRITE(folder, position, *more)
        order.append(position.rounds - 1)
        open_ -= 1

    replaced(monkeypatch, write)
    train(tmp_path, rounds=6)
    assert (most, order) == (1, [0, 1, 2, 3, 4, 5])


def test_when_a_round_is_yielded_the_one_before_is_on_the_disk(tmp_path):
    for each in start(tmp_path):
        assert not each.index or (tmp_path / f"round-{each.index - 1:06d}").is_dir()


@pytest.mark.parametrize("end", ["exhausted", "closed", "left", "forgotten"])
def test_at_its_end_a_training_has_waited_for_the_writer(tmp_path, monkeypatch, end):
    begun = threading.Event()

    def write(folder, position, *more):
        begun.set()
        threading.Event().wait(0.2)  # longer than what is left to do, most of the time
        WRITE(folder, position, *more)

    replaced(monkeypatch, write)
    if end == "exhausted":
        train(tmp_path, rounds=1)
    elif end == "left":
        for _ in start(tmp_path):
            break
    else:
        rounds = start(tmp_path)
        next(rounds)
        if end == "closed":
            rounds.close()
        del rounds
    assert begun.is_set()
    assert (tmp_path / "round-000000").is_dir()
    assert not [each for each in threading.enumerate() if each.name == "writes a checkpoint"]


def failing(at):
    def write(folder, position, *more):
        if position.rounds - 1 == at:
            raise OSError(28, "No space left on device")
        WRITE(folder, position, *more)

    return write


REFUSED = r"No space left on device; this round cannot be kept, those before are whole: '.*round-000002'"


def test_an_error_of_writing_is_raised_at_the_next_round_with_the_number_of_its_own(tmp_path, monkeypatch):
    replaced(monkeypatch, failing(2))
    found = []
    with pytest.raises(OSError, match=REFUSED):
        found.extend(each.index for each in start(tmp_path))
    assert found == [0, 1, 2]
    assert [path.name for path in Checkpoint(tmp_path, {}).folders()] == ["round-000000", "round-000001"]
    monkeypatch.undo()
    assert facts(train(tmp_path)) == facts(train())[2:]


@pytest.mark.parametrize("end", ["exhausted", "closed"])
def test_an_error_of_writing_the_last_round_is_raised_at_the_end(tmp_path, monkeypatch, end):
    replaced(monkeypatch, failing(2))
    rounds = start(tmp_path, rounds=3)
    for _ in range(3):
        next(rounds)
    with pytest.raises(OSError, match=REFUSED):
        rounds.close() if end == "closed" else next(rounds)
    rounds.close()  # it is told once


def test_an_error_of_writing_is_in_the_log_where_the_training_ends_with_another(tmp_path, monkeypatch, caplog):
    failed = threading.Event()

    def write(*args):
        try:
            failing(0)(*args)
        finally:
            failed.set()

    class Refuses(MLP):
        def step(self, batch):
            if self.iteration >= TAU:
                failed.wait(WAITS)
                raise DataError("of the net")
            return super().step(batch)

    replaced(monkeypatch, write)
    # the round must have begun before the writing fails, or that would be raised first
    monkeypatch.setattr(
        writer.Writer, "check", lambda self, check=writer.Writer.check: self._thread is None and check(self)
    )
    make = Refuses.factory((1, 5, 5), 3, (4,))
    with pytest.raises(DataError, match="of the net"):
        train(tmp_path, make)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "round-000000" in said
    assert "No space left on device" in said


def test_a_round_that_waits_long_for_the_one_before_says_so_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(writer, "_LONG", -1.0)
    with caplog.at_level(logging.WARNING):
        rounds = train(tmp_path, rounds=4)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "until the checkpoint of round" in said
    assert "writing takes longer than a round" in said
    assert all(each.seconds.checkpoint >= 0 for each in rounds)


@pytest.mark.parametrize("policy", ["average", "local"])
def test_what_is_written_late_has_the_bits_of_its_round_where_memory_of_results_is_used_again(
    tmp_path, monkeypatch, policy
):
    """The results of the next round have all come, into memory of the session, before a round is written."""
    ended, changed = 0, threading.Condition()
    end = results.Results.end

    def end_and_say(self):
        nonlocal ended
        found = end(self)
        with changed:
            ended += 1
            changed.notify_all()
        return found

    def write_late(folder, position, *more):
        with changed:
            assert changed.wait_for(lambda: ended >= min(position.rounds + 1, 6), WAITS)
        WRITE(folder, position, *more)

    options = {"cluster": LocalCluster(processes=2), "solver_state": policy}
    with monkeypatch.context() as patch:
        replaced(patch, write_late)
        patch.setattr(results.Results, "end", end_and_say)
        whole = train(tmp_path, keep=6, **options)
    for each in whole:
        assert load(tmp_path / f"round-{each.index:06d}" / "weights.sparknet", mmap=False) == each.weights
    assert facts(whole) == facts(train(solver_state=policy))
