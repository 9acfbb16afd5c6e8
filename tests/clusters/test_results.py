"""Results that come slice by slice: the position of results that are whole, bit for bit, in the memory of one model."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import ClusterError, FormatError, NDArray, SchemaError, TrainingError, WeightCollection
from sparknet.averaging import BySlices, Mean, Median, Nesterov, WeightedMean
from sparknet.averaging.contract import as_rule
from sparknet.checkpoint import Position
from sparknet.clusters.direct.payload import ResultLayout, Slices, as_lists, asked_of, heard, schema_of, schema_of_state
from sparknet.clusters.direct.results import Results
from sparknet.clusters.direct.worker import result_of
from sparknet.training import Ending
from sparknet.training.divergence import Divergence
from sparknet.transport import Done
from sparknet.worker import Outcome

SIZE = 128  # bytes of a slice


class Last:
    """A plain rule of a user, which needs whole results."""

    def __repr__(self):
        return "Last()"

    def shares(self, examples):
        return [float(n + 1) for n in examples]

    def __call__(self, start, results, _examples):
        return results[-1] + start


class Larger(Mean):
    """A user's change of how a mean combines."""

    def combine(self, arrays, shares):
        return super().combine(arrays, shares) + arrays[0]


RULES = [
    Mean(),
    WeightedMean(),
    Median(),
    Nesterov(0.7, 0.9),
    Nesterov(0.7, 0.9, Median()),
    as_rule(Last()),
    Larger(),
    Nesterov(0.7, 0.9, Larger()),
]
DTYPES = ["float32", "float64", "float16", "int32", "uint8"]


def weights(rng, dtypes):
    shapes = [(5, 3), (), (0,), (40,)]
    return WeightCollection(
        {
            f"layer{i}": [rng.normal(size=shape).astype(dtype) * 9]
            for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
        }
    )


def state(rng, names, step):
    return {
        "iteration": NDArray(np.int64(step)),
        **{name: NDArray(rng.normal(size=(7,)).astype("f")) for name in names},
    }


def outcome(worker, rng, dtypes, names, *, is_bad=False):
    return Outcome(
        worker=worker,
        loss=float(rng.normal()),
        steps=int(rng.integers(1, 9)),
        updates=3,
        examples=int(rng.integers(1, 99)),
        seconds=0.5,
        nonfinite="it is bad" if is_bad else None,
        weights=weights(rng, dtypes),
        state=state(rng, names, worker),
    )


def started(rng, dtypes, policy, workers, rule):
    start = weights(rng, dtypes)
    states = [state(rng, ["history"], 0) for _ in range(workers if policy == "local" else 1)]
    return Position(3, start, states, [5] * workers, rule.init(start))


def ended(rule, policy, position, on_nonfinite="leave_out"):
    new_state = {"iteration": NDArray(np.int64(0)), "history": NDArray(np.zeros(7, "f"))}
    return Ending(rule, Divergence(on_nonfinite, None), policy, new_state, position)


def sent(outcomes, position, names, size=SIZE):
    """Return what the hub gets of these outcomes: what each worker says, and its slices."""
    weights, states = schema_of(position.weights), [schema_of_state(asked_of(each, names)) for each in position.states]
    results = [result_of(o, weights, states[o.worker % len(states)], names, {}, size) for o in outcomes]
    return {
        o.worker: Done(1, o.steps, len(r.slices), r.result, r.notes) for o, r in zip(outcomes, results, strict=True)
    }, results


def pulled(ending, outcomes, position, size=SIZE, change=bytes, others=None):
    """Let the results of outcomes come as the hub brings them, and return the position that they make.

    ``others`` are what other workers have made of the same work. They take over before slice 2.
    """
    names = ending.names_of_state
    done, results = sent(outcomes, position, names, size)
    _, others = (done, results) if others is None else sent(others, position, names, size)
    states = [schema_of_state(asked_of(each, names)) for each in position.states]
    taker = Results(ending, {o.worker: states[o.worker % len(states)] for o in outcomes}, size=size)
    taker.begin(done)
    for number in range(max(len(r.slices) for r in results)):
        slices = [
            memoryview(change(b"".join(bytes(part) for part in r.slices[number])) if number < len(r.slices) else b"")
            for r in (results if number < 2 else others)
        ]
        taker.take(number, tuple(slices))
    taker.end()
    return ending.position()


def same(a, b):
    assert (a.rounds, a.steps, a.weights, a.rule_state) == (b.rounds, b.steps, b.weights, b.rule_state)
    assert [list(each) for each in a.states] == [list(each) for each in b.states]
    assert [WeightCollection({k: [v] for k, v in each.items()}) for each in a.states] == [
        WeightCollection({k: [v] for k, v in each.items()}) for each in b.states
    ]


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("policy", ["average", "local", "reset"])
@given(
    st.integers(0, 10**6),
    st.integers(1, 7),
    st.lists(st.sampled_from(DTYPES), min_size=4, max_size=4),
    st.lists(st.sampled_from([(), ("history",), ("history", "more"), ("more", "history")]), min_size=7, max_size=7),
    st.booleans(),
    st.sets(st.integers(0, 6), max_size=2),
    st.sampled_from([64, 128, 4096]),
)
def test_results_by_slices_make_the_position_of_whole_results(
    rule, policy, seed, workers, dtypes, names, are_alike, bad, size
):
    rng = np.random.default_rng(seed)
    position = started(rng, dtypes, policy, workers, rule)
    bad = bad if len({k for k in bad if k < workers}) < workers else ()
    outcomes = [outcome(k, rng, dtypes, names[0] if are_alike else names[k], is_bad=k in bad) for k in range(workers)]
    whole = ended(rule, policy, position)
    whole.outcomes(outcomes)
    same(pulled(ended(rule, policy, position), outcomes, position, size), whole.position())


def test_weights_of_another_schema_are_named_as_they_are_where_results_are_whole():
    rng, dtypes = np.random.default_rng(0), ["float32"] * 4
    position = started(rng, dtypes, "average", 2, Mean())
    outcomes = [outcome(0, rng, dtypes, ()), outcome(1, rng, ["float32", "float32", "float32", "float64"], ())]
    texts = []
    for ends in (lambda e: e.outcomes(outcomes) or e.position(), lambda e: pulled(e, outcomes, position)):
        with pytest.raises(SchemaError, match="layer 'layer3', array 0 is float64") as error:
            ends(ended(Mean(), "average", position))
        texts.append(str(error.value))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("rule", [Mean(), Median()], ids=repr)
def test_weights_of_a_schema_that_all_workers_have_and_the_driver_has_not_are_averaged_as_whole_ones(rule):
    rng = np.random.default_rng(0)
    position = started(rng, ["float32"] * 4, "average", 2, rule)
    outcomes = [outcome(k, rng, ["float32", "float64", "float32", "float64"], ()) for k in range(2)]
    whole = ended(rule, "average", position)
    whole.outcomes(outcomes)
    same(pulled(ended(rule, "average", position), outcomes, position), whole.position())


def test_a_round_that_is_not_finite_raises_its_error_before_a_slice_is_pulled():
    rng, dtypes = np.random.default_rng(0), ["float32"] * 4
    position = started(rng, dtypes, "average", 2, Mean())
    outcomes = [outcome(k, rng, dtypes, (), is_bad=k == 1) for k in range(2)]
    ending = ended(Mean(), "average", position, "error")
    with pytest.raises(TrainingError, match="round 3: worker 1: it is bad"):
        Results(ending, {0: {}, 1: {}}, 64).begin(sent(outcomes, position, ())[0])


@given(st.integers(0, 5), st.integers(0, SIZE + 7), st.integers(0, 7))
def test_a_bit_that_flips_on_the_way_is_an_error(number, byte, bit):
    rng, dtypes = np.random.default_rng(0), ["float32"] * 4
    position = started(rng, dtypes, "average", 2, Mean())
    outcomes = [outcome(k, rng, dtypes, ("history",)) for k in range(2)]
    left = [number]

    def flip(data):
        left[0] -= 1
        if left[0] != -1:
            return data
        data = bytearray(data)
        data[byte % len(data)] ^= 1 << bit
        return bytes(data)

    with pytest.raises(
        FormatError, match=rf"^worker {number % 2}: slice {number // 2} of its result, .* another checksum"
    ):
        pulled(ended(Mean(), "average", position), outcomes, position, change=flip)


def test_a_worker_goes_on_where_another_one_was_lost_with_the_result_of_that_one():
    dtypes = ["float32"] * 4

    def made(seed):
        rng = np.random.default_rng(seed)
        return outcome(0, rng, dtypes, ("history",))

    position = started(np.random.default_rng(0), dtypes, "average", 1, Mean())
    undisturbed = pulled(ended(Mean(), "average", position), [made(1)], position)
    same(pulled(ended(Mean(), "average", position), [made(1)], position, others=[made(1)]), undisturbed)
    with pytest.raises(ClusterError, match=r"^worker 0: .* gave another result before slice 2; .* seed what is random"):
        pulled(ended(Mean(), "average", position), [made(1)], position, others=[made(2)])


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (
            BySlices(lambda arrays: NDArray(arrays[0], dtype="float64")),
            r"by_slices\(\): combine returned float64 of shape .*, expected float32",
        ),
        (BySlices(lambda arrays: arrays[0].to_host()), r"by_slices\(\): combine returned ndarray, expected an NDArray"),
        (Mean().combine, r"rule Last\(\): by_slices\(\) returned method, expected a BySlices, or None"),
    ],
)
def test_a_rule_whose_way_by_slices_is_of_another_form_is_told_so(way, expected):
    class Own(Last):
        def by_slices(self, *_):
            return way

        def init(self, _weights):
            return {}

        def update(self, _start, results, _examples, state):
            return results[0], state

    rng, dtypes = np.random.default_rng(0), ["float32"] * 4
    position = started(rng, dtypes, "average", 1, Own())
    with pytest.raises((SchemaError, TypeError), match=expected):
        pulled(ended(Own(), "average", position), [outcome(0, rng, dtypes, ())], position)


def test_a_schema_comes_back_as_it_was_told():
    schema = schema_of(weights(np.random.default_rng(0), DTYPES[:4]))
    assert list(heard(json.loads(json.dumps(as_lists(schema)))).items()) == list(schema.items())


@given(st.lists(st.integers(0, 300), max_size=5), st.sampled_from([64, 128, 1024]))
def test_slices_joined_are_the_arrays_at_their_places(sizes, size):
    arrays = [NDArray((np.arange(n) % 251 + 1).astype("uint8")) for n in sizes]
    layout = ResultLayout(schema_of({"x": arrays}))
    slices = Slices([layout], arrays, size)
    joined = b"".join(bytes(data) for data, _ in slices)
    assert [len(data) for data, _ in slices][:-1] == [size] * (len(slices) - 1)
    assert len(joined) == layout.end
    assert [a.to_host().tolist() for a in layout.named(np.frombuffer(joined, np.uint8))["x"]] == [
        a.to_host().tolist() for a in arrays
    ]
    assert joined.count(0) == layout.end - sum(sizes)


def test_a_large_array_is_sent_from_its_own_memory():
    array = NDArray(np.arange(1000, dtype="f"))
    layout = ResultLayout(schema_of({"x": [array]}))
    assert [np.shares_memory(data, array.unwrap()) for data, _ in Slices([layout], [array], 1024)] == [True] * 3 + [
        False
    ]


@pytest.mark.parametrize(
    ("rule", "models"), [(Mean(), 1), (Median(), 1), (as_rule(Last()), None)], ids=["mean", "median", "plain"]
)
def test_the_memory_for_results_does_not_grow_with_the_workers(rule, models):
    rng, count = np.random.default_rng(0), 1 << 21  # 8 MiB of float32
    start = WeightCollection({"x": [np.zeros(count, "f")]})
    facts = {"loss": 0.0, "steps": 1, "updates": 1, "examples": 1, "seconds": 0.0}
    peaks = {}
    for workers in (1, 6):
        position = Position(0, start, [{}], [0] * workers, {})
        shared = WeightCollection({"x": [rng.random(count, "f")]})
        outcomes = [Outcome(worker=k, weights=shared, state={}, **facts) for k in range(workers)]
        tracemalloc.start()
        pulled(ended(rule, "average", position), outcomes, position, 1 << 16)
        peaks[workers] = tracemalloc.get_traced_memory()[1] / start.nbytes
        tracemalloc.stop()
    if models is None:
        assert peaks[6] > 6  # what needs whole results has them: this is what the others are spared
    else:
        assert max(peaks.values()) < models + 0.25
