"""A worker's part of a round as a pure function."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import Field, nd
from sparknet.data import pack
from sparknet.data.preprocess import Mirror, Scale
from sparknet.errors import DataError, FormatError, NetError
from sparknet.nets import MLP
from sparknet.worker import Task, evaluate_shard, train_round

RNG = np.random.default_rng(1)
COLUMNS = {"data": RNG.normal(size=(35, 1, 2, 2)), "label": RNG.integers(0, 3, 35)}
DATA = pack(COLUMNS, [Field("data", (1, 2, 2)), Field("label", (), "int64")], 4)
FACTORY = MLP.factory((1, 2, 2), 3, (4,), learning_rate=0.1)


def task(**changes):
    return Task(**{"worker": 0, "num_batches": DATA.num_batches, "first_step": 0, "tau": 5, "seed": 7, **changes})


def run(net=None, preprocessor=None, lend=False, **changes):
    net = net or FACTORY(seed=0)
    start = FACTORY(seed=0)
    given = start.get_weights(), start.get_state(), preprocessor
    return train_round(net, DATA.batches, task(**changes), *given, lend=lend)


@given(seed=st.integers(0, 2**40), worker=st.integers(0, 9), first_step=st.integers(0, 2**40))
def test_a_round_of_zero_steps_changes_nothing(seed, worker, first_step):
    start = FACTORY(seed=0)
    outcome = run(tau=0, seed=seed, worker=worker, first_step=first_step)
    assert outcome.weights == start.get_weights()
    assert {k: v.to_host().tobytes() for k, v in outcome.state.items()} == {
        k: v.to_host().tobytes() for k, v in start.get_state().items()
    }
    assert (outcome.steps, outcome.updates, outcome.examples) == (0, 0, 0)
    assert np.isnan(outcome.loss)


def test_a_round_is_the_plain_loop_over_the_same_minibatches():
    net = FACTORY(seed=0)
    losses = [net.step(DATA.batches[i]) for i in task(tau=12).indices()]
    outcome = run(tau=12)
    assert outcome.weights == net.get_weights()
    assert outcome.loss == np.mean(losses)
    assert outcome.steps == 12
    assert int(outcome.state["iteration"]) == 12


def shares(outcome, net):
    """Say of each array of weights and state whether it is in the net's own memory."""
    own = [*net._weights.arrays(), *net._history.arrays()]
    sent = [*outcome.weights.arrays(), *(a for name, a in outcome.state.items() if name != "iteration")]
    return {np.shares_memory(a.to_host(), b.to_host()) for a, b in zip(own, sent, strict=True)}


def test_a_net_lends_its_own_memory_where_it_is_asked_to():
    net = FACTORY(seed=0)
    lent = run(net, lend=True)
    assert shares(lent, net) == {True}
    assert lent.weights == run().weights
    assert shares(run(net), net) == {False}


class Doubled(MLP):
    def get_weights(self):
        return super().get_weights() * 2


def test_a_net_lends_nothing_where_its_copies_are_something_else():
    net = Doubled((1, 2, 2), 3, (4,), learning_rate=0.1, seed=0)
    assert run(net, lend=True).weights == run(net).weights != net._weights
    net = FACTORY(seed=0)
    net.get_weights = lambda: MLP.get_weights(net) * 2
    assert run(net, lend=True).weights == run(net).weights != net._weights


def test_what_is_left_in_a_net_does_not_matter():
    dirty = FACTORY(seed=5)
    for _ in range(3):
        dirty.step(DATA.batches[0])
    assert run(dirty).weights == run().weights


def test_two_short_rounds_are_one_long_one():
    first = run(tau=4)
    net = FACTORY(seed=0)
    second = train_round(net, DATA.batches, task(first_step=4, tau=8), first.weights, first.state)
    assert second.weights == run(tau=12).weights


def test_random_preprocessing_depends_on_seed_worker_and_step_alone():
    assert run(preprocessor=Mirror("data")).weights == run(preprocessor=Mirror("data")).weights
    assert run(preprocessor=Mirror("data")).weights != run(preprocessor=Mirror("data"), seed=8).weights


def test_a_round_longer_than_the_shard_wraps_around_into_the_next_epoch():
    outcome = run(tau=2 * DATA.num_batches)
    assert outcome.examples == 2 * DATA.count()


def test_a_time_limit_ends_the_round_after_the_step_that_passes_it(monkeypatch):
    clock = iter(np.arange(0, 100, 0.5))
    monkeypatch.setattr("sparknet.worker.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    outcome = run(tau=50, max_seconds=2)
    assert outcome.steps == 3  # the clock is read at 0, then 0.5, 1, 1.5 and 2
    assert int(outcome.state["iteration"]) == 3


def test_a_round_takes_a_step_however_short_its_time(monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("sparknet.worker.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert run(max_seconds=1e-9).weights == run(tau=1).weights


def test_a_clock_that_is_set_back_gives_no_negative_time(monkeypatch):
    clock = iter(range(1000, 0, -1))
    monkeypatch.setattr("sparknet.worker.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    outcome = run(tau=5, max_seconds=2.0)
    assert (outcome.seconds, outcome.steps) == (0.0, 5)


def test_work_that_nobody_wants_any_more_ends_before_its_next_step():
    start, asked = FACTORY(seed=0), []

    def is_wanted():
        asked.append(None)
        return len(asked) <= 3

    outcome = train_round(
        FACTORY(seed=0), DATA.batches, task(tau=50), start.get_weights(), start.get_state(), is_wanted=is_wanted
    )
    assert outcome.steps == 3


class Dropping(Scale):
    """Drops the rows whose first pixel is ``factor``, as Decode does those of bad images."""

    def __call__(self, batch, rng, *, train):
        del rng, train
        good = batch["data"].to_host()[:, 0, 0, 0] != self.factor
        return {name: nd.asarray(column.to_host()[good]) for name, column in batch.items()}


@given(st.sets(st.integers(0, 8)), st.integers(0, 20))
def test_a_minibatch_without_rows_is_passed_over_and_its_step_counted(bad, tau):
    class Preparing(MLP):
        def prepare(self, batch, _rng, *, train):
            assert train
            assert len(batch["data"])
            return batch

    batches = [dict(batch) for batch in DATA.batches]
    for index in bad:
        batches[index]["data"] = nd.full(batches[index]["data"].shape, 9.0, dtype=nd.float32)
    nets = [Preparing((1, 2, 2), 3, (4,), learning_rate=0.1) for _ in range(2)]
    whole = [batches[i] for i in task(tau=tau).indices() if i not in bad]
    losses = [nets[0].step(batch) for batch in whole]
    start = FACTORY(seed=0)
    outcome = train_round(
        nets[1], batches, task(tau=tau), start.get_weights(), start.get_state(), Dropping("data", 9.0)
    )
    assert outcome.weights == nets[0].get_weights()
    assert (outcome.steps, outcome.examples) == (tau, sum(len(batch["data"]) for batch in whole))
    assert outcome.updates == int(outcome.state["iteration"]) == len(whole)
    assert outcome.loss == np.mean(losses) if losses else np.isnan(outcome.loss)
    found = evaluate_shard(nets[1], batches, start.get_weights(), Dropping("data", 9.0))
    assert found == evaluate_shard(nets[1], [b for i, b in enumerate(batches) if i not in bad], start.get_weights())


class Recording(MLP):
    """Keeps the images that it is given."""

    def step(self, batch):
        self.__dict__.setdefault("seen", []).append(batch["data"].to_host().copy())
        return super().step(batch)

    def forward(self, batch, outputs=None):
        self.__dict__.setdefault("seen", []).append(batch["data"].to_host().copy())
        return super().forward(batch, outputs)


def test_random_preprocessing_differs_from_step_to_step_and_from_worker_to_worker():
    one = pack({"data": np.arange(4.0).reshape(1, 1, 2, 2).repeat(64, 0), "label": np.zeros(64)}, DATA.fields, 64)
    seen = []
    for worker in (0, 1):
        net = Recording((1, 2, 2), 3, (4,))
        start = FACTORY(seed=0)
        train_round(
            net, one.batches, task(worker=worker, num_batches=1), start.get_weights(), start.get_state(), Mirror("data")
        )
        seen += net.seen
    assert len({images.tobytes() for images in seen}) == 10


def test_evaluation_uses_the_test_behaviour_of_preprocessing():
    net = Recording((1, 2, 2), 3, (4,))
    evaluate_shard(net, DATA.batches[:1], FACTORY(seed=0).get_weights(), Mirror("data"))
    assert np.array_equal(net.seen[0], DATA.batches[0]["data"].to_host())


def test_only_scalar_outputs_are_metrics():
    class Column(MLP):
        def forward(self, batch, outputs=None):
            return {**super().forward(batch, outputs), "pred": nd.ones((len(batch["data"]), 1))}

    parts = evaluate_shard(Column((1, 2, 2), 3, (4,)), DATA.batches, FACTORY(seed=0).get_weights())
    assert {name for part in parts for name in part} == {"loss", "accuracy"}


def test_evaluation_adds_up_over_minibatches():
    net = FACTORY(seed=0)
    whole = net.forward({"data": nd.asarray(COLUMNS["data"] * 0.5), "label": nd.asarray(COLUMNS["label"])})
    parts = evaluate_shard(FACTORY(seed=3), DATA.batches, net.get_weights(), Scale("data", 0.5))
    for name in ("loss", "accuracy"):
        sums, rows = zip(*(part[name] for part in parts), strict=True)
        assert sum(rows) == 35
        assert sum(sums) / 35 == pytest.approx(float(whole[name]), rel=1e-5)


def test_the_generator_of_a_framework_is_seeded_for_the_round():
    seen = []

    class Reseeded(MLP):
        def reseed(self, seed):
            seen.append(seed)

    for key in ((0, 0), (0, 0), (1, 0), (0, 5)):
        run(Reseeded((1, 2, 2), 3, (4,)), tau=0, worker=key[0], first_step=key[1])
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3


# ---- the minibatches ahead
class Watched(Scale):
    """A preprocessor that says how often it was called, and in which threads."""

    def __call__(self, batch, rng, *, train):
        self.__dict__.setdefault("calls", []).append(threading.current_thread().name)
        self.__dict__.setdefault("second", threading.Event())
        if len(self.calls) == 2:
            self.second.set()
        return super().__call__(batch, rng, train=train)


def test_the_next_minibatch_is_made_while_the_net_steps():
    steps = Watched("data", 1.0)

    class Waiting(MLP):
        def step(self, batch):
            assert steps.second.wait(60), "the second minibatch was not made during the first step"
            return super().step(batch)

    assert run(Waiting((1, 2, 2), 3, (4,), learning_rate=0.1), steps).weights == run().weights
    assert threading.main_thread().name not in steps.calls


def test_a_round_of_one_step_takes_no_thread_for_its_only_minibatch():
    steps = Watched("data", 1.0)
    assert run(preprocessor=steps, tau=1).weights == run(tau=1).weights
    assert steps.calls == [threading.current_thread().name]


def test_no_more_than_two_minibatches_are_ahead_of_the_net():
    steps, ahead = Watched("data", 1.0), []

    class Counting(MLP):
        def step(self, batch):
            ahead.append(len(steps.calls) - len(ahead) - 1)
            return super().step(batch)

    run(Counting((1, 2, 2), 3, (4,)), steps, tau=20)
    assert len(ahead) == 20
    assert max(ahead) <= 2


def test_a_net_that_prepares_its_minibatches_does_so_ahead_and_steps_on_what_it_made():
    threads = set()

    class Preparing(MLP):
        def prepare(self, batch, rng, *, train):
            assert train
            threads.add(threading.current_thread().name)
            return Scale("data", 0.5)(batch, rng, train=train)

    net = Preparing((1, 2, 2), 3, (4,), learning_rate=0.1)
    assert run(net).weights == run(preprocessor=Scale("data", 0.5)).weights
    assert threads
    assert threading.main_thread().name not in threads


class Refusing(Scale):
    """A preprocessor that cannot take images whose first pixel has one value."""

    def __call__(self, batch, rng, *, train):
        del rng, train
        if (batch["data"].to_host()[:, 0, 0, 0] == self.factor).any():
            raise KeyError("the pixel is not in the table")
        return dict(batch)


@pytest.fixture
def no_thread_is_left():
    before = threading.enumerate()
    yield
    assert threading.enumerate() == before


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize("example", [0, 13, 34])
def test_a_row_that_the_preprocessor_refuses_is_named_by_shard_minibatch_and_row(example):
    refusing = Refusing("data", DATA.batches[example // 4]["data"].to_host()[example % 4, 0, 0, 0])
    place = f"^shard 0: minibatch {example // 4}: row {example % 4}: KeyError: 'the pixel is not in the table'$"
    with pytest.raises(DataError, match=place) as caught:
        run(preprocessor=refusing, tau=DATA.num_batches)
    assert (caught.value.batch, caught.value.row) == (example // 4, example % 4)
    with pytest.raises(DataError, match=place.replace("shard 0", "evaluation")):
        evaluate_shard(FACTORY(seed=0), DATA.batches, FACTORY(seed=0).get_weights(), refusing)


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_label_outside_of_the_classes_is_named_by_its_minibatch():
    batches = [dict(batch) for batch in DATA.batches]
    batches[5]["label"] = nd.asarray([0, 1, 3, 0])
    start = FACTORY(seed=0)
    with pytest.raises(NetError, match=r"^shard 2: minibatch 5: input 'label', example 2: .* in \[0, 3\); got 3"):
        train_round(start, batches, task(worker=2, tau=DATA.num_batches), start.get_weights(), start.get_state())


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize("kind", [ZeroDivisionError, NetError])
def test_an_error_of_a_net_names_shard_step_and_minibatch(kind):
    start, steps = FACTORY(seed=0), []
    weights, state = start.get_weights(), start.get_state()

    def refuses(_batch):
        steps.append(1)
        if len(steps) == 4:
            raise kind("no")
        return 0.0

    start.step = refuses
    work = task(worker=2, tau=DATA.num_batches)
    index = [*work.indices()][3]
    with pytest.raises(kind) as caught:
        train_round(start, DATA.batches, work, weights, state)
    if kind is NetError:
        assert str(caught.value) == f"shard 2: minibatch {index}: no (at step 4 of its round)"
        assert caught.value.step == 4
    else:
        assert str(caught.value) == "no"
        assert caught.value.__notes__ == [f"[shard 2, step 4 of its round, minibatch {index}]"]


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_damaged_minibatch_is_named_and_stays_a_format_error():
    class Damaged:
        def __getitem__(self, index):
            if index == 3:
                raise FormatError("checksum of 'data' differs", tensor="data")
            return DATA.batches[index]

    start = FACTORY(seed=0)
    with pytest.raises(FormatError, match=r"^shard 0: minibatch 3: checksum of 'data' differs$") as caught:
        train_round(start, Damaged(), task(tau=DATA.num_batches), start.get_weights(), start.get_state())
    assert caught.value.tensor == "data"


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_fault_of_the_net_ends_the_round_as_itself():
    class Broken(MLP):
        def step(self, _batch):
            raise ZeroDivisionError("a fault in the net")

    with pytest.raises(ZeroDivisionError, match="a fault in the net"):
        run(Broken((1, 2, 2), 3, (4,)))
