"""A round whose results are not finite: said at once, left out or warned of, and never kept in place of a finite one."""

import logging
import math
import pickle

import numpy as np
import pytest
from without_steps import rounds_without_steps

from sparknet import DataError, Field, LocalCluster, WeightCollection, averaged_sgd, load
from sparknet.averaging import first_nonfinite
from sparknet.checkpoint import Checkpoint, Position
from sparknet.data import pack
from sparknet.errors import TrainingError
from sparknet.nets import MLP
from sparknet.training.divergence import Divergence

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # numpy sees it too

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 240)
COLUMNS = {"data": (RNG.normal(size=(240, 6)) + LABELS[:, None]).astype(np.float32), "label": LABELS}
FIELDS = [Field("data", (6,), "float32"), Field("label", (), "int64")]
WORKERS = 3


def diverging_for(*workers):
    """Minibatches of 8; all but the first of these workers' shards hold values that a float32 cannot hold the square of."""
    data = pack({name: column.copy() for name, column in COLUMNS.items()}, FIELDS, 8)
    for worker in workers:
        shard = data.shard(worker, WORKERS)
        for i in range(1, len(shard)):
            shard[i]["data"][0, :] = 3e38
    return data


def train(data, **options):
    options = {"cluster": LocalCluster(), "workers": WORKERS, "tau": 10, "rounds": 3, "seed": 7, **options}
    make = MLP.factory((6,), 3, (5,), learning_rate=0.1, momentum=0.9)
    return averaged_sgd(make, data, **options)


def too_fast(**options):
    """Finite data, and a learning rate at which the weights overflow in the first round or the second."""
    data = pack(COLUMNS, FIELDS, 8)
    make = MLP.factory((6,), 3, (5,), learning_rate=1e20, momentum=0.9)
    return averaged_sgd(make, data, **{"cluster": LocalCluster(), "workers": 2, "tau": 4, "rounds": 3, **options})


# ---- error, the default
def test_the_error_names_round_worker_and_first_layer_at_once():
    with pytest.raises(TrainingError) as raised:
        list(train(diverging_for(1)))
    text = str(raised.value)
    assert text.startswith("round 0: worker 1: the loss of its update ")
    assert "layer 'ip1', array 0 holds nan" in text
    assert "learning rate" in text
    assert "on_nonfinite='leave_out'" in text
    assert (raised.value.round, raised.value.worker) == (0, 1)
    assert str(pickle.loads(pickle.dumps(raised.value))) == text


def test_weights_that_overflow_are_found_without_any_nan_in_the_data():
    with pytest.raises(
        TrainingError,
        match=r"^round 0: worker 0: .*layer 'ip1', array 0 holds (nan|-?inf), and so are results of 1.*It is the first round\. ",
    ):
        list(too_fast())


def test_the_rounds_before_are_named_where_they_are(tmp_path):
    data = diverging_for()
    rounds = train(data, rounds=5, checkpoint=tmp_path)
    kept = [next(rounds), next(rounds)][-1].weights
    for batch in data.batches:
        batch["data"][...] = 3e38
    with pytest.raises(
        TrainingError, match=r"^round 2: worker 0: .* from round 1; the checkpoint in .* has the last finite"
    ):
        next(rounds)
    assert load(max(tmp_path.glob("round-*")) / "weights.sparknet", mmap=False) == kept


def test_a_start_that_is_not_finite_is_refused_before_any_work():
    weights = MLP.factory((6,), 3, (5,))(seed=0).get_weights()
    weights["ip2"][1][0] = np.inf
    with pytest.raises(DataError, match=r"before the first step layer 'ip2', array 1 holds inf, expected finite"):
        train(diverging_for(), weights=weights)


def test_a_round_without_updates_has_no_loss_and_is_no_divergence():
    with rounds_without_steps():
        (only,) = train(diverging_for(), tau=0, rounds=1)
    assert math.isnan(only.loss)
    assert only.workers == (0, 1, 2)


# ---- leave_out
@pytest.mark.parametrize(("policy", "counts"), [("error", True), ("leave_out", False), ("warn", True)])
def test_a_result_counts_for_the_quorum_unless_it_will_be_left_out(policy, counts):
    divergence = Divergence(policy, None)
    assert (divergence.counts("the loss is nan"), divergence.counts(None)) == (counts, True)


@pytest.mark.parametrize("policy", ["average", "local", "reset"])
def test_left_out_workers_take_no_part_and_the_rest_is_their_mean(caplog, policy):
    data = diverging_for(1)
    with caplog.at_level(logging.WARNING):
        rounds = list(train(data, on_nonfinite="leave_out", solver_state=policy))
    assert [r.workers for r in rounds] == [(0, 2)] * 3
    assert all(math.isfinite(r.loss) and first_nonfinite(r.weights) is None for r in rounds)
    said = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert [text.partition(":")[0] for text in said] == ["round 0", "round 1", "round 2"]
    assert all("worker 1: the loss" in text and "left out of the average: worker 1, of 3" in text for text in said)
    clean = next(train(diverging_for(), tau=10, rounds=1, solver_state=policy))
    assert rounds[0].weights != clean.weights


def test_the_first_round_is_the_mean_of_the_others_bit_for_bit():
    (left,) = train(diverging_for(1), rounds=1, on_nonfinite="leave_out")
    outcomes = []

    class Spied(LocalCluster):
        def session(self, *args):
            context = super().session(*args)

            class Context:
                def __enter__(self):
                    inner = context.__enter__()
                    train_inner = inner.train

                    class Session:
                        evaluate = inner.evaluate

                        def train(self, *args):
                            collected = train_inner(*args)
                            outcomes.extend(collected.outcomes)
                            return collected

                    return Session()

                def __exit__(self, *args):
                    return context.__exit__(*args)

            return Context()

    next(train(diverging_for(), rounds=1, cluster=Spied()))
    assert left.weights == WeightCollection.mean([outcomes[0].weights, outcomes[2].weights])


def test_a_left_out_worker_keeps_its_own_state_and_its_place_in_the_schedule(tmp_path):
    list(train(diverging_for(1), on_nonfinite="leave_out", solver_state="local", checkpoint=tmp_path, rounds=2))
    folder = max(tmp_path.glob("round-*"))
    states = [load(folder / f"state-{k}.sparknet") for k in range(WORKERS)]
    assert [int(state["iteration"]) for state in states] == [20, 20, 20]
    assert all(float(abs(array).unwrap().max()) == 0 for name, array in states[1].items() if name != "iteration")
    assert load(folder / "position.sparknet")["steps"].tolist() == [20, 20, 20]


def test_no_worker_left_is_an_error():
    with pytest.raises(
        TrainingError, match=r"^round 0: worker 0: .*and so are results of 2 .*: no worker is left to average"
    ):
        list(train(diverging_for(0, 1, 2), on_nonfinite="leave_out"))


# ---- warn
def test_a_warning_goes_on_and_keeps_the_last_finite_checkpoint(caplog, tmp_path):
    finite = next(train(diverging_for(), rounds=1, checkpoint=tmp_path))
    with caplog.at_level(logging.WARNING):
        rounds = list(train(diverging_for(1), rounds=3, checkpoint=tmp_path, on_nonfinite="warn", resume="other data"))
    assert [r.index for r in rounds] == [1, 2]
    assert all(math.isnan(r.loss) and first_nonfinite(r.weights) for r in rounds)
    assert [path.name for path in tmp_path.glob("round-*")] == ["round-000000"]
    assert load(tmp_path / "round-000000" / "weights.sparknet", mmap=False) == finite.weights
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "round 1: worker 1: the loss of its update" in said
    assert "round 1: layer 'ip1', array 0 holds nan; not written to the checkpoint" in said
    assert "round 2: worker 0: " in said  # by then all of them


@pytest.mark.parametrize("wrong", ["ignore", None, True])
def test_another_policy_is_refused(wrong):
    with pytest.raises(ValueError, match=r"on_nonfinite=.*; expected 'error', 'leave_out' or 'warn'"):
        train(diverging_for(), on_nonfinite=wrong)


# ---- a checkpoint of one's own
def test_a_checkpoint_refuses_what_is_not_finite_unless_asked(tmp_path):
    checkpoint = Checkpoint(tmp_path, {})
    bad = WeightCollection({"ip": [[1.0, np.nan]]})
    checkpoint.write(Position(1, WeightCollection({"ip": [[1.0, 2.0]]}), [{}], [1]))
    with pytest.raises(
        DataError, match=r"after round 1 layer 'ip', array 0 holds nan; .* write\(position, nonfinite=True\)"
    ):
        checkpoint.write(Position(2, bad, [{}], [2]))
    assert checkpoint.read().rounds == 1
    checkpoint.write(Position(2, bad, [{}], [2]), nonfinite=True)
    assert checkpoint.read().weights == bad
