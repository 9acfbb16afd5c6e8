"""Going on with another number of workers: the order of the data is given up; schedule, solver state and rule state go on."""

import numpy as np
import pytest
from kept_training import COLUMNS, FIELDS, facts, start, train

from sparknet.averaging import Nesterov
from sparknet.checkpoint import Checkpoint
from sparknet.data import pack
from sparknet.nets import MLP


class Told(MLP):
    """Keeps the solver state that each step began with, and the minibatch."""

    began, seen = [], []

    def step(self, batch):
        self.began.append({name: array.to_host().copy() for name, array in self.get_state().items()})
        self.seen.append(batch["data"].to_host().copy())
        return super().step(batch)


@pytest.fixture
def make():
    Told.began, Told.seen = [], []
    return Told.factory((1, 5, 5), 3, (4,), learning_rate=0.1, momentum=0.9, weight_decay=0.01)


def position(directory):
    return Checkpoint(directory, {}).read()


@pytest.mark.parametrize("workers", [1, 3, 4])
@pytest.mark.parametrize("policy", ["average", "local", "reset"])
@pytest.mark.parametrize("rule", [None, Nesterov()])
def test_schedule_solver_state_and_rule_state_go_on(tmp_path, make, workers, policy, rule):
    options = {"solver_state": policy, "rule": rule}
    train(tmp_path, make, rounds=3, **options)
    kept = position(tmp_path)
    Told.began.clear()
    rounds = start(tmp_path, make, rounds=4, workers=workers, **options)
    assert (rounds.finished, rounds.weights == kept.weights) == (3, True)
    (after,) = rounds
    assert (after.index, after.steps) == (3, 3 * workers)
    state = Told.began[0]
    assert state["iteration"] == 9
    for name in set(state) - {"iteration"}:  # the momentum of each layer
        found = [each[name].to_host() for each in kept.states]
        assert np.array_equal(
            state[name], np.mean(np.float64(found), axis=0, dtype=np.float64).astype(state[name].dtype)
        )
    now = position(tmp_path)
    assert now.steps == [2 * 9 // workers + 3] * workers
    assert len(now.states) == (workers if policy == "local" else 1)
    assert list(now.rule_state) == list(kept.rule_state)


def test_each_worker_begins_its_new_shard_as_far_on_as_all_were_in_the_data(tmp_path, make):
    data = pack({name: column[:60] for name, column in COLUMNS.items()}, FIELDS, 5)  # 12 minibatches
    plain = MLP.factory((1, 6, 6), 3, (4,))
    del make
    told = Told.factory((1, 6, 6), 3, (4,))
    train(tmp_path, plain, data, rounds=2)  # of 2 workers, 3 steps each: the first epoch is done
    train(tmp_path, told, data, rounds=3, workers=3, tau=4)
    # the second epoch: each minibatch once
    begun = {batch.tobytes() for batch in Told.seen}
    assert begun == {batch["data"].to_host().tobytes() for batch in data.batches}
    assert len(Told.seen) == 12


def test_there_and_back_again_is_told_each_time_and_trains_on(tmp_path, caplog):
    losses = []
    for rounds, workers in ((4, 2), (8, 1), (12, 3), (16, 4), (20, 2)):
        found = train(tmp_path, rounds=rounds, workers=workers)
        losses += [each.loss for each in found]
    assert len(losses) == 20
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    said = [record.getMessage() for record in caplog.records if "goes on with" in record.getMessage()]
    assert ["is of 2 workers, and this training goes on with 1" in said[0], "is of 1 workers" in said[1]] == [
        True,
        True,
    ]
    assert len(said) == 4


def test_the_same_change_has_the_same_bits_each_time(tmp_path):
    found = []
    for name in "ab":
        train(tmp_path / name, rounds=2)
        found.append(facts(train(tmp_path / name, rounds=4, workers=3)))
    assert found[0] == found[1]


def test_more_workers_than_minibatches_are_refused_as_ever(tmp_path):
    train(tmp_path, rounds=1)
    with pytest.raises(Exception, match="14 workers"):
        start(tmp_path, workers=14)


def test_rounds_by_the_clock_go_on_too_and_measure_the_new_workers(tmp_path):
    train(tmp_path, rounds=2, max_seconds="auto")
    found = train(tmp_path, rounds=4, workers=3, max_seconds="auto")
    assert [each.index for each in found] == [2, 3]
    assert len(position(tmp_path).steps) == 3
