"""averaged_sgd: the laws that hold exactly, and what is refused before any work is done."""

import functools
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from without_steps import rounds_without_steps

from sparknet import DataError, Field, LocalCluster, NDArray, NetError, SchemaError, WeightCollection, averaged_sgd
from sparknet.averaging import Mean, WeightedMean
from sparknet.data import EpochSampler, pack
from sparknet.data.preprocess import Scale
from sparknet.formats import Contents
from sparknet.nets import MLP

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(3, 6)) * 2
LABELS = RNG.integers(0, 3, 240)
COLUMNS = {"data": CENTRES[LABELS] + RNG.normal(size=(240, 6)), "label": LABELS}
FIELDS = [Field("data", (6,), "float32"), Field("label", (), "int64")]
DATA = pack(COLUMNS, FIELDS, 8)


def step_schedule(iteration):
    return 0.1 * 0.5 ** (iteration // 40)


def factory(**options):
    return MLP.factory((6,), 3, (5,), **{"learning_rate": 0.1, "momentum": 0.9, **options})


def train(make=None, data=DATA, **options):
    options = {"cluster": LocalCluster(), "tau": 5, "rounds": 3, "seed": 7, **options}
    return list(averaged_sgd(make or factory(), data, **options))


def test_one_worker_is_the_plain_solver_bit_for_bit():
    make = factory(learning_rate=step_schedule)
    rounds = train(make, workers=1, tau=20, rounds=5)
    net = make(seed=7)
    for i in EpochSampler(DATA.num_batches, 7, 0).indices(0, 100):
        net.step(DATA.batches[i])
    assert rounds[-1].weights == net.get_weights()


# With tau = 1 the average of K updates v_k = m*v + rate*(g_k + d*w) is m*mean(v) + rate*(mean(g_k) + d*w):
# one worker's update on the K minibatches together. What is left is float32 rounding, about 2**-24 relative
# in each of some 10 operations a step, carried through 20 steps: 1e-5 leaves a factor of ten.
@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("policy", ["average", "local"])
def test_tau_one_is_one_worker_at_the_big_batch(workers, policy):
    steps = 20
    make = factory(weight_decay=0.01)
    rounds = train(make, workers=workers, tau=1, rounds=steps, solver_state=policy)
    orders = [EpochSampler(len(DATA.shard(k, workers)), 7, k).indices(0, steps) for k in range(workers)]
    net = make(seed=7)
    for step in range(steps):
        parts = [DATA.shard(k, workers)[orders[k][step]] for k in range(workers)]
        net.step({f.name: NDArray(np.concatenate([p[f.name].to_host() for p in parts])) for f in FIELDS})
    assert rounds[-1].weights.allclose(net.get_weights(), rtol=1e-5, atol=1e-5)


def test_the_learning_rate_schedule_continues_across_rounds_under_every_policy():
    seen = []

    def schedule(iteration):
        seen.append(iteration)
        return 0.1

    for policy in ("average", "local", "reset"):
        seen.clear()
        train(factory(learning_rate=schedule), workers=2, tau=3, rounds=2, solver_state=policy)
        assert seen == [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]


def test_the_policies_for_momentum_are_what_they_say():
    results = {p: train(workers=2, tau=3, rounds=3, solver_state=p)[-1].weights for p in ("average", "local", "reset")}
    assert results["average"] != results["local"]
    assert results["average"] != results["reset"]
    plain = {
        p: train(factory(momentum=0.0), workers=2, tau=3, rounds=3, solver_state=p)[-1].weights
        for p in ("average", "local", "reset")
    }
    assert plain["average"] == plain["local"] == plain["reset"]


def test_same_seed_same_bits_and_another_seed_others():
    first, again, other = (train(workers=3, seed=s)[-1].weights for s in (7, 7, 8))
    assert first == again
    assert first != other


def test_zero_steps_change_nothing():
    with rounds_without_steps():
        (only,) = train(tau=0, rounds=1, workers=2)
    assert only.weights == factory()(seed=7).get_weights()
    assert only.steps == only.examples == 0


@given(st.permutations(range(4)))
def test_the_order_in_which_workers_finish_changes_nothing(order):
    """Workers are played in another order; what they bring back is averaged in the order of the workers."""

    class Shuffled(LocalCluster):
        def session(self, *args):
            context = super().session(*args)

            class Context:
                def __enter__(self):
                    inner = context.__enter__()
                    run = type(inner).train

                    class Proxy:
                        evaluate = inner.evaluate

                        def train(self, tasks, weights, states):
                            parts = {k: run(inner, [tasks[k]], weights, states) for k in order}
                            outcomes = [parts[k].outcomes[0] for k in range(len(tasks))]
                            return type(parts[0])(outcomes, 0.0, 0.0, 0, 0)

                    return Proxy()

                def __exit__(self, *error):
                    return context.__exit__(*error)

            return Context()

    assert train(workers=4, rounds=2, tau=2, cluster=Shuffled())[-1].weights == _in_their_order()


@functools.cache
def _in_their_order():
    return train(workers=4, rounds=2, tau=2)[-1].weights


def test_it_learns_and_reports_what_it_did():
    rounds = train(workers=2, tau=30, rounds=6, evaluate=(DATA, 3))
    last = rounds[-1]
    assert [r.index for r in rounds] == list(range(6))
    assert [bool(r.metrics) for r in rounds] == [False, False, True, False, False, True]
    assert last.metrics["accuracy"] > 0.9
    assert last.loss < rounds[0].loss
    assert (last.steps, last.examples) == (60, 480)
    assert len(last.seconds.train) == 2
    assert last.seconds["average"] == last.seconds.average >= 0


def test_the_last_round_is_always_evaluated():
    assert train(rounds=4, evaluate=(DATA, 3))[-1].metrics


def test_training_starts_from_given_weights():
    start = factory()(seed=99).get_weights()
    with rounds_without_steps():
        (only,) = train(tau=0, rounds=1, weights=start)
        (same,) = train(tau=0, rounds=1, weights=Contents(start, {}))
        (again,) = train(tau=0, rounds=1, weights=same)
    assert only.weights == same.weights == again.weights == start


def test_a_path_in_the_place_of_weights_is_told_how_to_read_it():
    with pytest.raises(
        SchemaError, match=r"averaged_sgd\(\): weights: got the path 'w\.npz', .*take_layers\(net\.get_weights"
    ):
        train(rounds=1, weights="w.npz")


def test_breaking_off_closes_the_session():
    closed = []

    class Watched(LocalCluster):
        def session(self, *args):
            context = super().session(*args)

            class Context:
                def __enter__(self):
                    return context.__enter__()

                def __exit__(self, *error):
                    closed.append(True)
                    return context.__exit__(*error)

            return Context()

    rounds = averaged_sgd(factory(), DATA, cluster=Watched(), rounds=100)
    for _ in itertools.islice(rounds, 2):
        pass
    rounds.close()
    assert closed == [True]


# ---- rules
def test_the_weighted_mean_weighs_by_examples():
    a, b = (WeightCollection({"x": [np.array([v], "float32")]}) for v in (0, 3))
    assert float(WeightedMean()(a, [a, b], [2, 1])["x"][0][0]) == 1.0
    assert WeightedMean()(b, [b, b], [0, 0]) == b
    assert float(Mean()(a, [a, b], [2, 1])["x"][0][0]) == 1.5


# ---- refused before any work
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tau": -1}, "tau=-1; expected a whole number of at least 0"),
        ({"tau": 1.5}, "tau=1.5"),
        ({"rounds": True}, "rounds=True"),
        ({"workers": 0}, "workers=0; expected a whole number of at least 1"),
        ({"workers": 31}, "31 workers for 30 minibatches of 8 examples"),
        ({"max_seconds": 0}, "max_seconds=0; expected a positive number"),
        ({"evaluate": (DATA, 0)}, "every >= 1"),
        ({"solver_state": "keep"}, "expected 'average', 'local' or 'reset'"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call_and_not_at_the_first_round(options, text):
    with pytest.raises(ValueError, match=text):
        averaged_sgd(factory(), DATA, **{"cluster": LocalCluster(), **options})


def test_data_that_does_not_fit_the_net_is_refused_at_the_call():
    renamed = pack({"x": COLUMNS["data"], "label": LABELS}, [Field("x", (6,)), FIELDS[1]], 8)
    with pytest.raises(NetError, match=r"needs the inputs \['data', 'label'\], the batch has x \(8, 6\), label"):
        averaged_sgd(factory(), renamed, cluster=LocalCluster())
    scaled = pack(COLUMNS, FIELDS, 8, Scale("data", 2.0))
    assert next(averaged_sgd(factory(), scaled, cluster=LocalCluster(), rounds=1)).steps == 50
    with pytest.raises(DataError, match=r"expected what sparknet\.data\.pack"):
        next(averaged_sgd(factory(), FakePacked(), cluster=LocalCluster(), workers=1))


class FakePacked:
    """Has what the driver asks of packed data (training.PackedData), but is none that LocalCluster knows."""

    num_batches, batch_size, preprocessor = DATA.num_batches, DATA.batch_size, None

    def first_batch(self):
        return DATA.first_batch()


class HalfWay:
    """A rule that goes half the way, and remembers what it was given."""

    def __init__(self):
        self.examples = []

    def __call__(self, start, results, examples):
        self.examples.append(list(examples))
        return start + (WeightCollection.mean(results) - start) * 0.5

    def shares(self, examples):
        return examples


def test_the_rule_makes_the_next_start_and_is_told_the_examples():
    rule = HalfWay()
    (half,) = train(workers=2, tau=4, rounds=1, rule=rule)
    (full,) = train(workers=2, tau=4, rounds=1)
    start = factory()(seed=7).get_weights()
    assert half.weights == start + (full.weights - start) * 0.5
    assert rule.examples == [[32, 32]]


def test_a_weighted_rule_weighs_weights_loss_and_momentum_by_the_work_done(monkeypatch):
    """Worker 0 is stopped after one step by its time limit, worker 1 takes all five."""
    ticks = iter([0, 0, 9, 9, *[0] * 100])  # start, check, check: over; end. Then no time passes
    monkeypatch.setattr("sparknet.worker.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    (result,) = train(workers=2, tau=5, rounds=1, max_seconds=5, rule=WeightedMean())
    monkeypatch.undo()
    parts = [train(workers=2, tau=t, rounds=1, solver_state="local", rule=Only(k))[0] for k, t in ((0, 1), (1, 5))]
    assert result.steps == 6
    assert result.weights == WeightCollection.mean([p.weights for p in parts], weights=[8, 40])


class Only:
    """A rule that takes what one worker brought."""

    def __init__(self, worker):
        self.worker = worker

    def __call__(self, start, results, examples):
        del start, examples
        return results[self.worker]

    def shares(self, examples):
        return examples


def test_a_time_limit_ends_a_round_and_the_next_one_goes_on_from_there():
    seen = []

    class Watched(MLP):
        def step(self, batch):
            seen.append(batch["label"].to_host().tobytes())
            return super().step(batch)

    def make(*, seed=0):
        return Watched((6,), 3, (5,), seed=seed)

    first = next(train_lazily(make, tau=3_000_000, max_seconds=0.05))
    assert 0 < first.steps < 3_000_000
    seen.clear()
    rounds = train_lazily(make, tau=7, rounds=3)
    assert sum(r.steps for r in rounds) == 21
    order = EpochSampler(DATA.num_batches, 7, 0).indices(0, 21)
    assert seen == [DATA.batches[i]["label"].to_host().tobytes() for i in order]


def train_lazily(make, **options):
    return averaged_sgd(make, DATA, **{"cluster": LocalCluster(), "workers": 1, "seed": 7, **options})


class Dropping(Scale):
    """Drops the rows with the label 2, as Decode does those of bad images."""

    def __call__(self, batch, rng, *, train):
        del rng, train
        good = batch["label"].to_host() != 2
        return {name: NDArray(column.to_host()[good]) for name, column in batch.items()}


def test_workers_whose_minibatches_have_no_rows_change_nothing_and_go_on():
    labels = np.where(np.arange(240) // 8 % 2, LABELS % 2, 2)  # every second minibatch has none: all of worker 0
    data = pack({**COLUMNS, "label": labels}, FIELDS, 8, preprocessor=Dropping("data", 1.0))
    apart = train(data=data, workers=2, tau=1, rounds=6, rule=WeightedMean(), evaluate=(data, 1))
    assert [r.examples for r in apart] == [8] * 6
    assert np.isfinite([r.loss for r in apart]).all()
    assert np.isfinite([r.metrics["loss"] for r in apart]).all()
    one, other = (train(data=data, workers=1, tau=tau, rounds=60 // tau)[-1] for tau in (1, 60))
    assert one.weights == other.weights  # the position in the data goes on past what has no rows


def test_the_loss_is_the_mean_over_all_steps():
    (both,) = train(workers=2, tau=4, rounds=1)
    alone = [train(workers=2, tau=4, rounds=1, rule=Only(k))[0] for k in (0, 1)]
    assert both.loss == alone[0].loss  # the rule does not enter into the loss of its own round
    assert both.loss == alone[1].loss


def test_the_loss_of_a_worker_weighs_by_the_minibatches_that_had_rows():
    labels = np.where(np.arange(240) // 8 % 4 == 2, 2, LABELS % 2)  # half of those of worker 0 have none
    data = pack({**COLUMNS, "label": labels}, FIELDS, 8, preprocessor=Dropping("data", 1.0))
    losses = []

    class Watched(MLP):
        def step(self, batch):
            losses.append(super().step(batch))
            return losses[-1]

    (only,) = train(lambda *, seed=0: Watched((6,), 3, (5,), seed=seed), data, workers=2, tau=15, rounds=1)
    assert (only.steps, len(losses)) == (30, 23)
    assert only.loss == pytest.approx(np.mean(losses), rel=1e-14)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cluster": "local[2]"}, r"cluster=str; expected LocalCluster\(\) or SparkCluster"),
        ({"rule": Mean}, r"expected a rule such as Mean\(\)"),
        ({"rule": lambda *_: None}, r"which has __call__ and shares\(\)"),
        ({"evaluate": DATA}, r"evaluate=Dataset; expected a pair \(test_data, every\)"),
        ({"evaluate": ([1], 1)}, "got data of type list; expected what sparknet.data.pack"),
        ({"seed": None}, "seed=None; expected a whole number of at least 0"),
    ],
)
def test_things_of_the_wrong_kind_are_named(options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        averaged_sgd(factory(), DATA, **{"cluster": LocalCluster(), **options})


def test_test_data_that_does_not_fit_is_refused_at_the_call():
    other = pack({"data": np.zeros((4, 5)), "label": LABELS[:4]}, [Field("data", (5,)), FIELDS[1]], 2)
    with pytest.raises(NetError, match="examples of shape"):
        averaged_sgd(factory(), DATA, cluster=LocalCluster(), evaluate=(other, 1))


def test_numpy_integers_are_whole_numbers():
    assert len(train(tau=np.int64(1), rounds=np.int64(2), workers=np.int32(2))) == 2


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            MLP.factory((6,), 3)(seed=0),
            r"got the net MLP for factory, expected MLP\.factory\(\.\.\.\): each worker makes",
        ),
        (MLP, r"got the class MLP for factory, expected MLP\.factory\(\.\.\.\)"),
        ("solver.prototxt", r"got type str for factory, expected a function\(seed=\.\.\.\)"),
    ],
    ids=["net", "class", "path"],
)
def test_a_net_in_the_place_of_its_factory_is_told_what_a_factory_is(wrong, text):
    with pytest.raises(TypeError, match=text):
        train(wrong)


def test_the_net_is_tried_in_the_phase_that_the_data_is_for():
    seen = []

    def noting(name):
        class Noting:
            def fields(self, fields):
                return fields

            def __call__(self, batch, rng, *, train):
                del rng
                seen.append((name, train))
                return batch

        return pack(COLUMNS, FIELDS, 8, preprocessor=Noting())

    averaged_sgd(factory(), noting("data"), cluster=LocalCluster(), tau=5, rounds=1, evaluate=(noting("test"), 1))
    assert set(seen) == {("data", True), ("test", False)}
