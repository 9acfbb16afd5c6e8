"""Rules in a training: their state goes from round to round, through checkpoints, and past rounds that diverge."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from without_steps import rounds_without_steps

from sparknet import (
    DataError,
    Field,
    FormatError,
    LocalCluster,
    NDArray,
    WeightCollection,
    averaged_sgd,
    inspect,
    load,
    save,
)
from sparknet.averaging import Mean, Median, Momentum, Nesterov, WeightedMean, first_nonfinite
from sparknet.checkpoint import Checkpoint, Position
from sparknet.checkpoint.round_files import write_round
from sparknet.data import pack
from sparknet.data.preprocess import Compose, Crop, Mirror
from sparknet.errors import TrainingError
from sparknet.nets import MLP

GOLDEN = Path(__file__).parent / "golden"
RNG = np.random.default_rng(0)
# Data and net are those that the golden checkpoint was trained with.
COLUMNS = {"data": RNG.normal(size=(65, 1, 6, 6)), "label": RNG.integers(0, 3, 65)}
FIELDS = [Field("data", (1, 6, 6)), Field("label", (), "int64")]
DATA = pack(COLUMNS, FIELDS, 5, Compose(Crop("data", 5, 5), Mirror("data")))
FACTORY = MLP.factory((1, 5, 5), 3, (4,), learning_rate=0.1, momentum=0.9, weight_decay=0.01)
RULES = [Momentum(), Nesterov(), Nesterov(0.5, 0.8, Median()), Momentum(combine=WeightedMean()), Median()]


def train(directory=None, data=DATA, **options):
    options = {"cluster": LocalCluster(), "workers": 3, "tau": 3, "rounds": 4, "seed": 7, **options}
    return list(averaged_sgd(FACTORY, data, checkpoint=directory, **options))


def facts(rounds):
    return [(r.index, r.weights, repr(r.loss)) for r in rounds]


class Counting:
    """A rule whose state is an array and weights: the rounds so far, and the last start."""

    def init(self, weights):
        return {"rounds": NDArray(np.int64(0)), "last": weights * 0}

    def update(self, start, results, examples, state):
        del examples
        assert state["last"] == (start * 0 if not int(state["rounds"]) else state["last"])
        mean = WeightCollection.mean(results)
        return mean + state["last"] * 0.01 * int(state["rounds"]), {"rounds": state["rounds"] + 1, "last": start}


# ---- from round to round
@pytest.mark.parametrize("rule", RULES)
def test_a_training_is_the_rule_applied_to_what_its_workers_brought(rule):
    seen = []

    class Watched(type(rule)):
        def update(self, start, results, examples, state):
            seen.append((start, list(results), list(examples), state))
            return super().update(start, results, examples, state)

    rounds = train(rule=Watched(**vars(rule)))
    state = rule.init(FACTORY(seed=7).get_weights())
    for (start, results, examples, given), each in zip(seen, rounds, strict=True):
        assert given == state
        weights, state = rule.update(start, results, examples, state)
        assert each.weights == weights
    assert [s for s, *_ in seen[1:]] == [r.weights for r in rounds[:-1]]


@pytest.mark.parametrize("kind", [Momentum, Nesterov])
@pytest.mark.parametrize("policy", ["average", "local", "reset"])
def test_with_lr_1_and_no_momentum_a_training_has_the_bits_of_the_mean(kind, policy):
    assert facts(train(rule=kind(1, 0), solver_state=policy)) == facts(train(solver_state=policy))


@pytest.mark.parametrize("rule", RULES)
def test_rounds_of_no_steps_change_nothing(rule):
    start = FACTORY(seed=7).get_weights()
    with rounds_without_steps():
        assert all(r.weights == start for r in train(rule=rule, tau=0))


# ---- checkpoints
@pytest.mark.parametrize(
    ("rule", "policy"), [*zip([*RULES, Counting()], ["average", "local", "reset"] * 2, strict=True)]
)
def test_two_rounds_and_two_more_are_four_with_any_rule(tmp_path, rule, policy):
    there = [train(tmp_path, rule=rule, rounds=rounds, solver_state=policy) for rounds in (2, 4)]
    assert facts(there[0]) + facts(there[1]) == facts(train(rule=rule, solver_state=policy))


def test_the_state_of_a_rule_is_in_files_that_anybody_can_read(tmp_path):
    train(tmp_path, rule=Counting(), rounds=2)
    folder = tmp_path / "round-000001"
    assert sorted(path.name for path in folder.glob("rule-*")) == ["rule-0.sparknet", "rule-1.sparknet"]
    assert int(load(folder / "rule-0.sparknet")) == 2
    assert load(folder / "rule-1.sparknet") == load(tmp_path / "round-000000" / "weights.sparknet")
    said = inspect(folder / "position.sparknet").metadata
    assert said["rule_state"] == ["rounds", "last"]
    # to an older sparknet, which would go on without the state, this is another format
    assert said["format"] == "sparknet checkpoint, version 1, with a rule's state"


def test_without_state_the_files_are_those_of_before(tmp_path):
    train(tmp_path, rule=Median(), rounds=1)
    (folder,) = tmp_path.glob("round-*")
    assert sorted(path.name for path in folder.iterdir()) == [
        "position.sparknet",
        "state-0.sparknet",
        "weights.sparknet",
    ]
    assert inspect(folder / "position.sparknet").metadata["format"] == "sparknet checkpoint, version 1"


@pytest.mark.parametrize(
    ("before", "after", "got", "expected"),
    [
        (
            Momentum(),
            Nesterov(),
            r"Nesterov\(lr=0.7, momentum=0.9, combine=Mean\(\)\)",
            r"Momentum\(lr=1.0, momentum=0.9, .*",
        ),
        (
            Momentum(),
            Momentum(momentum=0.5),
            r"Momentum\(lr=1.0, momentum=0.5, .*",
            r"Momentum\(lr=1.0, momentum=0.9, .*",
        ),
        (Momentum(), Momentum(combine=Median()), r".*combine=Median\(\)\)", r".*combine=Mean\(\)\)"),
        (Momentum(), Mean(), "one without state", r"Momentum\(.*"),
        (Momentum(), None, "one without state", r"Momentum\(.*"),
        (Median(), Nesterov(), r"Nesterov\(.*", "one without state"),
        (Counting(), Momentum(), r"Momentum\(.*", r"Counting\(\)"),
    ],
)
def test_a_rule_with_state_is_compared_by_name_and_settings(tmp_path, before, after, got, expected):
    train(tmp_path, rule=before, rounds=1)
    text = (
        f"^checkpoint: got rule={got}, expected rule={expected}, with which .*round-000000 was written; go on with that"
    )
    with pytest.raises(DataError, match=text) as caught:
        train(tmp_path, rule=after)
    assert caught.value.setting == "rule"
    assert len(train(tmp_path, rule=before, rounds=2)) == 1


def test_a_rule_without_state_may_become_another_one(tmp_path):
    train(tmp_path, rule=Median(), rounds=1)
    assert [r.index for r in train(tmp_path, rule=WeightedMean(), rounds=2)] == [1]


def test_a_checkpoint_from_before_there_were_rules_with_state_is_gone_on_from(tmp_path):
    """It was written by the version before: round 1 of two workers. Its round is written anew by this one, and both go on."""
    shutil.copytree(GOLDEN / "checkpoint-1", tmp_path / "old")
    (folder,) = (tmp_path / "old").iterdir()
    said = inspect(folder / "position.sparknet").metadata
    assert "rule" not in said["settings"]
    old = Checkpoint(tmp_path / "old", {}).read()
    assert (old.rounds, old.steps, old.rule_state) == (2, [6, 6], {})
    assert old.weights == load(folder / "weights.sparknet")
    settings = said["settings"] | {"rule": "one without state"}
    Checkpoint(tmp_path / "new", settings, said["notes"]).write(old)
    for rule in (Mean(), Median()):
        pair = []
        for name in ("old", "new"):
            shutil.copytree(tmp_path / name, tmp_path / str(rule) / name)
            pair.append(facts(train(tmp_path / str(rule) / name, workers=2, rule=rule, rounds=4)))
        assert pair[0] == pair[1]
        assert [index for index, *_ in pair[0]] == [2, 3]
    with pytest.raises(DataError, match=r"got rule=Nesterov\(.*expected rule=one without state"):
        train(tmp_path / "old", workers=2, rule=Nesterov())


@pytest.mark.parametrize(
    ("name", "content", "said", "text"),
    [
        ("rule-0", {"velocity": np.zeros(3)}, {}, "holds a dict, expected a WeightCollection or a NDArray"),
        ("position", None, {"rule_state": 7}, "names the rule's state 7, expected a list of different names"),
        ("position", None, {"rule_state": ["a", "a"]}, "names the rule's state"),
        ("position", None, {"rule_state": [1]}, "names the rule's state"),
        ("position", None, {"rule_state": ["velocity", "more"]}, "rule-1.sparknet"),
    ],
)
def test_damage_to_the_state_is_told_with_what_to_remove(tmp_path, name, content, said, text):
    train(tmp_path, rule=Momentum(), rounds=2)
    file = tmp_path / "round-000001" / f"{name}.sparknet"
    save(file, load(file, mmap=False) if content is None else content, metadata=inspect(file).metadata | said)
    with pytest.raises(FormatError, match=rf"round-000001 is damaged: .*{text}.*; remove this directory to go on from"):
        train(tmp_path, rule=Momentum())


def test_a_state_of_another_round_is_refused(tmp_path):
    train(tmp_path, rule=Momentum(), rounds=2)
    shutil.copy(tmp_path / "round-000000" / "rule-0.sparknet", tmp_path / "round-000001")
    with pytest.raises(FormatError, match=r"rule-0.sparknet says that it is rule-0 of round 0.*are mixed"):
        train(tmp_path, rule=Momentum())


def test_a_state_without_its_name_in_the_position_is_refused_by_the_rule(tmp_path):
    position = Position(1, FACTORY(seed=7).get_weights(), [FACTORY(seed=7).get_state()], [3] * 3)
    train(tmp_path, rule=Momentum(), rounds=1)
    settings = inspect(tmp_path / "round-000000" / "position.sparknet").metadata["settings"]
    shutil.rmtree(tmp_path / "round-000000")
    (tmp_path / "round-000000").mkdir()
    write_round(tmp_path / "round-000000", position, settings, {})
    with pytest.raises(DataError, match=r"Momentum: got a state with nothing, expected 'velocity'"):
        train(tmp_path, rule=Momentum())


# ---- what is not finite
def diverging_for(*workers, since=0):
    data = pack({name: column.copy() for name, column in COLUMNS.items()}, FIELDS, 5, DATA.preprocessor)
    for worker in workers:
        shard = data.shard(worker, 3)
        for i in range(since, len(shard)):
            shard[i]["data"][...] = 3e38
    return data


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("policy", ["average", "local", "reset"])
def test_a_worker_that_is_left_out_is_no_part_of_the_state_either(tmp_path, policy):
    rounds = train(tmp_path, diverging_for(1), rule=Nesterov(), on_nonfinite="leave_out", solver_state=policy, rounds=3)
    assert [r.workers for r in rounds] == [(0, 2)] * 3
    assert all(first_nonfinite(r.weights) is None for r in rounds)
    assert first_nonfinite(load(tmp_path / "round-000002" / "rule-0.sparknet")) is None


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_the_state_of_a_diverged_round_is_not_in_the_checkpoint(tmp_path, caplog):
    (finite,) = train(tmp_path, rule=Momentum(), rounds=1)
    kept = Checkpoint(tmp_path, {}).read()
    options = {"rule": Momentum(), "rounds": 3, "resume": "other data"}
    with caplog.at_level(logging.WARNING):
        rounds = train(tmp_path, diverging_for(1), on_nonfinite="warn", **options)
    assert all(first_nonfinite(r.weights) for r in rounds)
    with pytest.raises(TrainingError, match="round 1: worker 1"):
        train(tmp_path, diverging_for(1), **options)
    again = Checkpoint(tmp_path, {}).read()
    assert (again.rounds, again.weights, again.rule_state) == (1, finite.weights, kept.rule_state)


class Overflowing(Counting):
    def update(self, start, results, examples, state):
        mean, _ = Mean().update(start, results, examples, {})
        rounds = state["rounds"] + 1
        bad = start * (float("inf") if int(rounds) == 2 else 0.0)
        return mean, {"rounds": rounds, "last": bad}


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("policy", ["error", "warn"])
def test_a_state_that_is_not_finite_ends_the_training_though_the_weights_are(tmp_path, caplog, policy):
    text = "round 1: .*the rule's 'last', layer 'ip1', array 0 holds (nan|-?inf)"
    if policy == "error":
        with pytest.raises(TrainingError, match=text):
            train(tmp_path, rule=Overflowing(), rounds=2)
    else:
        train(tmp_path, rule=Overflowing(), rounds=2, on_nonfinite="warn")
        assert "not written to the checkpoint" in caplog.text
    assert [path.name for path in tmp_path.glob("round-*")] == ["round-000000"]


def test_a_checkpoint_of_ones_own_refuses_a_state_that_is_not_finite(tmp_path):
    weights = WeightCollection({"ip": [[1.0]]})
    for state, text in (
        ({"v": weights * float("nan")}, "the rule's 'v', layer 'ip', array 0 holds nan"),
        ({"t": NDArray(np.inf)}, "the rule's 't' holds inf"),
    ):
        with pytest.raises(DataError, match=f"after round 0 {text}"):
            Checkpoint(tmp_path, {}).write(Position(1, weights, [{}], [1], state))
    written = Position(1, weights, [{}], [1], {"v": weights * 2, "t": NDArray(np.float32(3))})
    Checkpoint(tmp_path, {}).write(written)
    assert Checkpoint(tmp_path, {}).read().rule_state["v"] == weights * 2
    assert float(Checkpoint(tmp_path, {}).read().rule_state["t"]) == 3
