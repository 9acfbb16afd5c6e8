"""Rules: each is its formula in float64, rounded once; a rule is pure; and what is no rule is told so."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparknet import DataError, DeviceError, SchemaError, WeightCollection, nd
from sparknet.averaging import Mean, Median, Momentum, Nesterov, WeightedMean
from sparknet.averaging.contract import as_rule, is_stateless, next_start, shares_of
from sparknet.averaging.rules import Elementwise

OUTER = [Momentum, Nesterov]


def weights(rng, dtype):
    return WeightCollection(
        {
            "conv": [rng.normal(size=(3, 1, 2)).astype(dtype), rng.normal(size=()).astype(dtype)],
            "none": [np.zeros(0, dtype)],
        }
    )


def rounds_of(rule, start, workers, count, rng):
    """Yield start, results and the next start for some rounds, each from the one before."""
    state = rule.init(start)
    for _ in range(count):
        results = [start + weights(rng, start["conv"][0].dtype) for _ in range(workers)]
        new, state = rule.update(start, results, [8] * workers, state)
        yield start, results, new, state
        start = new


def host(collection):
    return [np.asarray(a.to_host()) for a in collection.arrays()]


# ---- the formulas
def momentum(w, d, v, lr, mu):
    v = mu * v + d
    return w + lr * v, v


def nesterov(w, d, v, lr, mu):
    v = mu * v - d
    return w - lr * (-d + mu * v), v


@pytest.mark.parametrize("workers", range(1, 8))
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("combine", [Mean(), Median()], ids=["mean", "median"])
@pytest.mark.parametrize(("kind", "formula"), [(Momentum, momentum), (Nesterov, nesterov)])
def test_an_outer_rule_is_its_formula_in_float64_over_several_rounds_bit_for_bit(
    workers, dtype, combine, kind, formula
):
    rng = np.random.default_rng(workers)
    start = weights(rng, dtype)
    velocity = [np.zeros(a.shape) for a in start.arrays()]
    for before, results, after, state in rounds_of(kind(0.7, 0.9, combine), start, workers, 5, rng):
        targets = host(combine(before, results, [1] * workers))
        for i, (w, target, got) in enumerate(zip(host(before), targets, host(after), strict=True)):
            expected, velocity[i] = formula(w.astype("f8"), target.astype("f8") - w.astype("f8"), velocity[i], 0.7, 0.9)
            assert got.dtype == dtype
            assert np.array_equal(got, np.asarray(expected).astype(dtype))
        assert all(map(np.array_equal, host(state["velocity"]), velocity))
        assert {a.dtype for a in state["velocity"].arrays()} == {nd.float64}


@pytest.mark.parametrize("kind", OUTER)
@pytest.mark.parametrize("combine", [Mean(), WeightedMean(), Median()])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_with_lr_1_and_no_momentum_an_outer_rule_is_what_it_combines_by(kind, combine, dtype):
    rng = np.random.default_rng(0)
    results = [(weights(rng, "float64") * 1e3).map(lambda a: nd.astype(a, dtype)) for _ in range(5)]
    start = results[3] * 10**9  # far off: in float64, start + (target - start) is not the target any more
    rule, examples = kind(lr=1, momentum=0, combine=combine), [1, 2, 3, 4, 5]
    assert rule.init(results[0]) == {}
    assert rule.update(start, results, examples, {}) == (combine(start, results, examples), {})
    assert list(shares_of(rule, examples)) == list(combine.shares(examples))


@pytest.mark.parametrize(("kind", "expected"), [(Momentum, 0.0 + 0.5 * 2), (Nesterov, 0.0 + 0.5 * 2)])
def test_without_momentum_a_part_of_the_step_is_taken_and_there_is_no_state(kind, expected):
    w = WeightCollection({"ip": [np.zeros(2, "f")]})
    new, state = kind(lr=0.5, momentum=0).update(w, [w + 1, w + 3], [1, 1], {})
    assert (host(new)[0].tolist(), state) == ([expected] * 2, {})


# Sizes beyond one chunk (2**15 for the median, 2**17 for a step), and memory in Fortran's order.
@pytest.mark.parametrize("rule", [Median(), Momentum(0.5, 0.5), Nesterov(0.5, 0.5)])
def test_arrays_of_many_chunks_and_any_order_give_the_bits_of_their_elements(rule):
    rng = np.random.default_rng(0)
    large = [np.asfortranarray(rng.normal(size=(300, 500)).astype("f")) for _ in range(5)]
    start, *results = (WeightCollection({"x": [a]}) for a in large)
    rows = [WeightCollection({str(i): [a[i].copy()] for i in range(300)}) for a in large]
    state = rule.init(start)
    (whole,) = host(rule.update(start, results, [1] * 4, state)[0])
    parts = host(rule.update(rows[0], rows[1:], [1] * 4, rule.init(rows[0]))[0])
    assert np.array_equal(whole, np.stack(parts))


# ---- the median
@given(st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=7))
@example([[1.0, 2.0, -0.0]] * 9 + [[float(i), -i, float("nan")] for i in range(8)])  # more workers than are exchanged
@example([[float(i % 7), -i, float("inf")] for i in range(20)])
def test_the_median_is_the_middle_or_the_mean_of_the_middle_two(rows):
    arrays = np.array(rows, np.float32)
    (got,) = host(Median()(None, [WeightCollection({"x": [a]}) for a in arrays], [1] * len(arrays)))
    ordered, k = np.sort(arrays.astype("f8"), axis=0), len(arrays)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = (ordered[(k - 1) // 2] + ordered[k // 2]) / 2
        expected[np.isnan(arrays).any(axis=0)] = np.nan
        assert np.array_equal(got, expected.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
@given(st.data())
def test_the_median_of_integers_is_the_middle_one_or_the_lower_of_the_middle_two(dtype, data):
    ends = np.iinfo(dtype)
    numbers = data.draw(st.lists(st.integers(int(ends.min), int(ends.max)), min_size=1, max_size=20))
    parts = [WeightCollection({"n": [np.array([n], dtype)]}) for n in numbers]
    (got,) = host(Median()(None, parts, [1] * len(parts)))
    assert got.tolist() == [sorted(numbers)[(len(numbers) - 1) // 2]]


def test_the_order_of_the_workers_changes_no_bit_of_the_median():
    values = [np.array([0.0, -0.0, 1], "f"), np.array([-0.0, -0.0, 2], "f"), np.array([-0.0, -0.0, 9], "f")]
    for k in (2, 3):
        found = {Median().combine(list(map(nd.asarray, p)), []).to_host().tobytes() for p in permutations(values, k)}
        assert len(found) == (1 if k == 3 else 3)
    assert np.signbit(host(Median()(None, [WeightCollection({"x": [v]}) for v in values], [1] * 3))[0]).tolist() == [
        False,
        True,
        False,
    ]


def test_fewer_than_half_of_the_workers_do_not_move_the_median_beyond_the_others():
    good = [WeightCollection({"x": [np.array([v], "f")]}) for v in (1, 2, 3)]
    bad = [WeightCollection({"x": [np.array([v], "f")]}) for v in (-1e30, np.inf)]
    (got,) = host(Median()(None, good + bad, [1] * 5))
    assert 1 <= got[0] <= 3


# ---- a part at a time
@pytest.mark.parametrize("rule", [Mean(), WeightedMean(), Median()])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_slices_of_all_workers_are_combined_to_the_bits_of_the_whole(rule, dtype):
    rng = np.random.default_rng(1)
    arrays = [nd.asarray((rng.normal(size=(4, 9)) * 100).astype(dtype)) for _ in range(6)]
    examples = [0, 3, 8, 8, 1, 5]
    whole = rule(None, [WeightCollection({"x": [a]}) for a in arrays], examples)["x"][0].to_host()
    slices = [rule.combine((a[:, i : i + 2] for a in arrays), rule.shares(examples)) for i in range(0, 9, 2)]
    assert np.array_equal(np.concatenate([s.to_host() for s in slices], axis=1), whole)


# ---- what holds for all
@pytest.mark.parametrize("kind", OUTER)
def test_a_round_without_examples_changes_nothing_and_the_velocity_waits(kind):
    rule, w = kind(), WeightCollection({"ip": [np.ones(2, "f")]})
    new, state = rule.update(w, [w + 1], [4], rule.init(w))
    assert rule.update(new, [new, new], [0, 0], state) == (new, state)


@pytest.mark.parametrize("rule", [Mean(), Median(), Momentum(), Nesterov(), Nesterov(0.5, 0)])
def test_a_rule_changes_nothing_that_it_was_given_and_gives_the_same_bits_again(rule):
    rng = np.random.default_rng(2)
    start, *results = (weights(rng, "float32") for _ in range(4))
    state = rule.init(start)
    _, state = rule.update(start, results, [1, 2, 3], state)
    given_ = [start.copy(), *(r.copy() for r in results), *(v.copy() for v in state.values())]
    first = rule.update(start, results, [1, 2, 3], state)
    assert [start, *results, *state.values()] == given_
    assert rule.update(start, results, [1, 2, 3], state) == first


@pytest.mark.parametrize("rule", [Mean(), WeightedMean(), Median(), Momentum(0.5, 0.5), Nesterov()])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_on_a_device_a_rule_has_the_bits_of_the_host(device1, rule, dtype):
    rng = np.random.default_rng(3)
    start, *results = ((weights(rng, "float32") * 10).map(lambda a: nd.astype(a, dtype)) for _ in range(5))
    here, there = rule.init(start), rule.init(start.to_device(device1))
    for _ in range(2):
        expected, here = rule.update(start, results, [1, 2, 3, 4], here)
        moved = [r.to_device(device1) for r in results]
        got, there = rule.update(start.to_device(device1), moved, [1, 2, 3, 4], there)
        assert {a.device for a in got.arrays()} == {a.device for v in there.values() for a in v.arrays()} | {device1}
        assert (got, there) == (expected, here)


def integers(values, dtype):
    """Weights of integers beside floating numbers, as a batch norm has them."""
    return WeightCollection({"norm": [np.ones(2, "f"), np.array(values, dtype)]})


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
@given(st.data(), st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_a_mean_takes_the_integers_of_the_first_worker_that_counts(dtype, data, examples):
    ends = np.iinfo(dtype)
    values = data.draw(
        st.lists(
            st.lists(st.integers(int(ends.min), int(ends.max)), min_size=3, max_size=3),
            min_size=len(examples),
            max_size=len(examples),
        )
    )
    results = [integers(each, dtype) for each in values]
    first = next((place for place, count in enumerate(examples) if count), 0)
    for rule, place in ((Mean(), 0), (WeightedMean(), first)):
        new, _ = rule.update(results[-1], results, examples, {})
        assert host(new)[1].tolist() == values[place]
        assert new["norm"][1].dtype == dtype
    assert [host(result)[1].tolist() for result in results] == values


@pytest.mark.parametrize("kind", OUTER)
@pytest.mark.parametrize("combine", [Mean(), WeightedMean(), Median()])
@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_an_outer_rule_takes_no_step_of_integers(kind, combine, dtype):
    rule, start = kind(0.7, 0.9, combine), integers([0, 0, 250], dtype)
    state = rule.init(start)
    for done in (50, 100, 150):  # a counter: in each round all workers take 50 steps
        results = [integers([done, done + k, 250 - k], dtype) for k in range(3)]
        new, state = rule.update(start, results, [8] * 3, state)
        assert host(new)[1].tolist() == host(combine(start, results, [8] * 3))[1].tolist()
        assert host(new)[1][0] == done
        assert not host(state["velocity"])[1].any()
        start = new


def test_integers_that_float64_does_not_hold_pass_through_an_outer_rule():
    large = integers([2**53 + 1, 2**63 - 1, -(2**63)], "int64")
    new, _ = Momentum().update(large, [large], [1], Momentum().init(large))
    assert new == large


# ---- what is refused
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"lr": 0}, r"lr=0; expected a positive number"),
        ({"lr": float("nan")}, r"lr=nan; expected a positive number"),
        ({"lr": float("inf")}, r"lr=inf"),
        ({"lr": "1"}, r"lr='1'"),
        ({"lr": True}, r"lr=True"),
        ({"momentum": 1}, r"momentum=1; expected a number from 0 up to, but not, 1"),
        ({"momentum": -0.1}, r"momentum=-0.1"),
        ({"momentum": None}, r"momentum=None"),
        ({"combine": Mean}, r"combine=<class .*; expected a rule without state, such as Mean\(\)"),
        ({"combine": None}, r"combine=None"),
    ],
)
@pytest.mark.parametrize("kind", OUTER)
def test_settings_out_of_range_are_refused_by_name(kind, options, text):
    with pytest.raises((ValueError, TypeError), match=f"^{kind.__name__}: {text}"):
        kind(**options)


def test_numbers_of_any_kind_are_one_setting():
    assert repr(Momentum(lr=1, momentum=np.float64(0.5))) == "Momentum(lr=1.0, momentum=0.5, combine=Mean())"
    assert repr(Nesterov()) == "Nesterov(lr=0.7, momentum=0.9, combine=Mean())"


def test_a_rule_with_state_within_another_is_refused():
    with pytest.raises(TypeError, match=r"combine=Momentum.* has state; expected a rule without"):
        Momentum(combine=Momentum()).init(WeightCollection({"ip": [[1.0]]}))


def test_a_state_that_does_not_fit_is_told(device1):
    rule, w = Nesterov(), WeightCollection({"ip": [[1.0]]})
    with pytest.raises(DataError, match=r"Nesterov: got a state with nothing, expected 'velocity'.*init\(weights\)"):
        rule.update(w, [w], [1], {})
    other = {"velocity": WeightCollection({"ip": [[1.0, 2.0]]})}
    with pytest.raises(SchemaError, match=r"Nesterov: velocity: layer 'ip' is .*\(2,\).*expected .*\(1,\)"):
        rule.update(w, [w], [1], other)
    away = {"velocity": w.to_device(device1)}
    with pytest.raises(DeviceError, match="velocity"):
        rule.update(w, [w], [1], away)


@pytest.mark.parametrize("largest", [np.inf, 1.7e308])
def test_the_median_of_what_overflows_is_that_of_the_mean_without_a_warning(largest):
    for values in ([largest, -largest], [largest, largest]):
        results = [WeightCollection({"x": [[value]]}) for value in values]
        ((got,), (expected,)) = (host(rule(None, results, [1, 1])) for rule in (Median(), Mean()))
        assert got.tobytes() == expected.tobytes()


def test_an_outer_rule_gives_what_is_not_finite_without_a_warning():
    start, result = (WeightCollection({"x": [[value]]}) for value in (-1.7e308, 1.7e308))
    for rule in Momentum(1.0, 0.5), Nesterov(1.0, 0.5):
        weights, _ = rule.update(start, [result], [1], rule.init(start))
        assert not np.isfinite(weights["x"][0].to_host()).any()


def test_a_weighted_mean_that_is_called_counts_examples_as_its_update_does():
    results = [WeightCollection({"x": [[value]]}) for value in (0.0, 4.0)]
    weights, _ = WeightedMean().update(results[0], results, [1, 3], {})
    assert WeightedMean()(None, results, [1, 3]) == weights == WeightCollection({"x": [[3.0]]})


@pytest.mark.parametrize("rule", [Median(), Mean(), Momentum()])
def test_results_of_another_net_are_refused(rule):
    a, b = WeightCollection({"ip": [[1.0]]}), WeightCollection({"ip": [[1.0, 2.0]]})
    with pytest.raises(SchemaError, match="layer 'ip', array 0 is float64 of shape"):
        rule.update(a, [a, b], [1, 1], rule.init(a))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "NoneType"),
        ("weights", "str"),
        (({}, None), r"\(a mapping of nothing, NoneType\)"),
        ((WeightCollection({}), {"v": 1.0, "t": 1}), r"\(WeightCollection, a mapping of float, int\)"),
    ],
)
def test_a_rule_that_returns_something_else_is_told_what_to_return(returned, said):
    class Wrong:
        def init(self, _):
            return {}

        def update(self, *_):
            return returned

    w = WeightCollection({"ip": [[1.0]]})
    with pytest.raises(TypeError, match=rf"update\(\) returned {said}, expected \(weights, state\)"):
        next_start(Wrong(), w, [w], [1], {})


def test_a_function_with_shares_is_a_rule_without_state():
    class Last:
        def __call__(self, _, results, __):
            return results[-1]

        def shares(self, examples):
            return examples

    w = WeightCollection({"ip": [[1.0]]})
    rule = as_rule(Last())
    assert rule.init(w) == {}
    assert rule.update(w, [w, w + 1], [1, 2], {}) == (w + 1, {})
    assert shares_of(rule, [1, 2]) == [1, 2]
    assert [*map(is_stateless, (rule, Mean(), Median(), Momentum(momentum=0)))] == [True, True, True, False]
    assert isinstance(Median(), Elementwise)
