"""Rules by slices: the bits of ``update``, however the results are cut; and what needs whole results is not cut."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparknet import NDArray, SchemaError, WeightCollection
from sparknet.averaging import BySlices, Mean, Median, Momentum, Nesterov, WeightedMean
from sparknet.averaging.contract import as_rule, next_start
from sparknet.averaging.slices import by_slices

PLAIN = [Mean(), WeightedMean(), Median()]
RULES = [
    *PLAIN,
    *[kind(0.7, 0.9, combine) for kind in (Momentum, Nesterov) for combine in PLAIN],
    *[Momentum(1, 0), Nesterov(0.5, 0, Median())],
]
SHAPES = {"conv": [(3, 1, 2), ()], "none": [(0, 4)], "ip": [(7,)]}
DTYPES = ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "uint64"]


def weights(rng, dtype):
    ends = {"i": (-100, 100), "u": (0, 200), "f": (-1, 1)}[np.dtype(dtype).kind]
    return WeightCollection(
        {name: [rng.uniform(*ends, shape).astype(dtype) for shape in shapes] for name, shapes in SHAPES.items()}
    )


def cut(arrays, size):
    """Yield the parts of arrays of one shape: each so many elements, the last one fewer."""
    flat = [array.to_host().reshape(-1) for array in arrays]
    for at in range(0, flat[0].size, size):
        yield [NDArray(each[at : at + size]) for each in flat]


def sliced(rule, start, results, examples, state, size):
    """Return what the driver makes of results that come in slices of so many elements."""
    way = by_slices(rule, start, examples, state)
    arrays = zip(*(each.arrays() for each in results), strict=True)
    found = iter(
        [
            np.concatenate([way.combine(parts).to_host() for parts in cut(each, size)] or [each[0].to_host().reshape(-1)])
            .reshape(each[0].shape)
            for each in map(list, arrays)
        ]
    )  # fmt: skip
    return way.finish(start.map(lambda _: next(found)))


@pytest.mark.parametrize("rule", RULES, ids=repr)
@given(st.sampled_from(DTYPES), st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 9))
def test_by_slices_of_any_size_a_rule_has_the_bits_of_update(rule, dtype, seed, workers, size):
    rng = np.random.default_rng(seed)
    start, state, same = weights(rng, dtype), rule.init(weights(rng, dtype)), rule.init(weights(rng, dtype))
    for _ in range(2):  # the second round has a velocity
        results = [weights(rng, dtype) for _ in range(workers)]
        examples = rng.integers(0, 3, workers).tolist()
        before = start.copy()
        new, state = rule.update(start, results, examples, state)
        other, same = sliced(rule, start, results, examples, same, size)
        assert (new, state) == (other, same)
        assert start == before
        start = new


def with_one_nan(found):
    """The same with each NaN alike: which of two NaN a sum has is the processor's choice, and depends on the length of the arrays."""
    weights, state = found
    return tuple(
        each.map(lambda array: np.where(np.isnan(array.to_host()), np.nan, array.to_host()))
        for each in (weights, *state.values())
    )


@example([[0.0, 0.0, float("nan")], [0.0, 0.0, -float("nan")]])
@example([[float("nan"), -0.0, 1.0], [float("inf"), -0.0, 3.0]])
@example([[float("inf"), 0.0, 1.0], [float("-inf"), -0.0, 3.0], [1.0, 2.0, 3e38]])
@given(st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=7))
def test_by_slices_nan_infinities_and_signs_of_zero_are_those_of_update(rows):
    results = [WeightCollection({"x": [np.array(row, "f")]}) for row in rows]
    for rule in RULES:
        state, start, examples = rule.init(results[0]), WeightCollection({"x": [np.ones(3, "f")]}), [1] * len(rows)
        found = sliced(rule, start, results, examples, state, 1), rule.update(start, results, examples, state)
        assert with_one_nan(found[0]) == with_one_nan(found[1])


@pytest.mark.parametrize("dtype", ["bfloat16", "bool", "complex64"])
@pytest.mark.parametrize("rule", RULES[:5], ids=repr)
def test_what_cannot_be_averaged_is_not_cut_and_raises_the_error_of_update(rule, dtype):
    made = WeightCollection(
        {"x": [np.ones(2, pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype)]}
    )
    assert by_slices(rule, made, [1], {}) is None
    with pytest.raises(SchemaError, match=f"is of dtype {dtype}, expected real numbers"):
        rule.update(made, [made], [1], {"velocity": made})


W = WeightCollection({"ip": [np.ones(2, "f")]})


class Halved(Mean):
    def __call__(self, start, results, examples):
        return super().__call__(start, results, examples) / 2


class Restarted(Momentum):
    def update(self, start, results, examples, _state):
        return super().update(start, results, examples, self.init(start))


class Last:
    def shares(self, examples):
        return [1.0] * len(examples)

    def __call__(self, _start, results, _examples):
        return results[-1]


@pytest.mark.parametrize(
    "rule", [Halved(), Restarted(), Momentum(0.5, 0.5, Halved()), as_rule(Last()), Nesterov(0.5, 0.5, Last())]
)
def test_a_rule_whose_update_is_its_own_needs_whole_results(rule):
    assert by_slices(rule, W, [1], rule.init(W)) is None


class Negative(Last):
    """A rule of a user, with a way by slices of its own."""

    def init(self, _weights):
        return {"rounds": NDArray(0)}

    def update(self, start, results, examples, state):
        return self.by_slices(start, examples, state).finish(results[-1].map(lambda a: -a))

    def by_slices(self, _start, _examples, state):
        return BySlices(lambda arrays: -arrays[-1], lambda combined: (combined, {"rounds": state["rounds"] + 1}))


def test_a_rule_of_ones_own_may_come_by_slices():
    rule, results = Negative(), [W, W * 3]
    new, state = sliced(rule, W, results, [1, 1], rule.init(W), 1)
    assert (new, int(state["rounds"])) == (W * -3, 1)


def test_what_a_rule_returns_by_slices_is_checked_as_what_update_returns():
    class Wrong(Negative):
        def update(self, *_):
            return W

        def by_slices(self, *_):
            return BySlices(lambda arrays: arrays[0], lambda combined: combined)

    rule, texts = Wrong(), []
    for ends in (lambda: next_start(rule, W, [W], [1], {}), lambda: by_slices(rule, W, [1], {}).finish(W)):
        with pytest.raises(
            TypeError, match=r"update\(\) returned WeightCollection, expected \(weights, state\)"
        ) as error:
            ends()
        texts.append(str(error.value))
    assert texts[0] == texts[1]


def test_only_the_memory_of_the_combined_weights_is_written_to():
    rule = Momentum(0.5, 0.5)
    state, start = rule.init(W), W.copy()
    combined = W * 3
    new, later = by_slices(rule, start, [1], state).finish(combined)
    assert new["ip"][0].unwrap() is combined["ip"][0].unwrap()
    assert (start, state) == (W, rule.init(W))
    assert later != state
