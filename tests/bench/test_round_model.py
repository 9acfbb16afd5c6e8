"""bench/round_model.py and bench/round_costs.py: the model of rounds agrees with what can be computed by hand, and with its page."""

import doctest
import importlib.util
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"
PAGE = ROOT / "docs" / "explanation" / "how_long_a_round_takes.md"


def loaded(name):
    """A module of bench/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


costs, model = loaded("round_costs"), loaded("round_model")

FREE = costs.Costs(
    bandwidth=1e9, fixed=0.0, message=0.0, sent=0.0, loaded=0.0, ready=0.0, sliced=0.0, combined=0.0, stored=0.0,
    of_two=0.0, looked=0.0, job=0.0, task=0.0, pipe=0.0,
)  # fmt: skip
WAYS = [costs.star, costs.sliced, costs.job_per_round]


@given(st.integers(1, 40), st.floats(1e3, 1e10), st.integers(0, 9))
def test_a_star_whose_code_costs_nothing_takes_its_steps_and_two_models_for_each_worker(workers, nbytes, tau):
    found = model.simulate(costs.star, FREE, model.Work(nbytes, tau), workers, rounds=1)
    seconds = 0.1 * tau + 2 * workers * nbytes / 1e9
    assert math.isclose(found.seconds, seconds, rel_tol=1e-6)
    assert math.isclose(found.goodput, 0.1 * tau / seconds, rel_tol=1e-6, abs_tol=1e-9)


@given(st.integers(1, 64), st.floats(1e6, 1e10))
def test_parts_that_workers_combine_take_less_than_four_models_however_many_workers_there_are(workers, nbytes):
    found = model.simulate(costs.sliced, FREE, model.Work(nbytes), workers, rounds=1)
    models = (
        2 + 2 * (workers - 1) / workers
    )  # out and in over the driver's link, and the others' parts of start and results
    assert math.isclose(found.seconds, 0.1 + models * nbytes / 1e9, rel_tol=1e-6)


@given(st.integers(1, 64))
def test_phases_that_carry_nothing_cost_their_messages(workers):
    of_messages = replace(FREE, fixed=2.0, message=2.0)
    # four times half a second of the threads that wait and the driver's messages; in two phases also those of all others
    messages = 4 * workers + 2 * (workers - 1)
    found = model.simulate(costs.sliced, of_messages, model.Work(1e-9, tau=0), workers, rounds=1)
    assert math.isclose(found.seconds, 4 * 1.0 + messages * 1.0, rel_tol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_the_parts_of_the_time_make_one_and_a_seed_decides_all(way):
    work = model.Work(1e8, 10, spread=0.3, slow=0.1, slower=3.0, between_failures=200.0, restart=5.0)
    found, again, other = (model.simulate(way, costs.Costs(), work, 20, seed=seed) for seed in (0, 0, 1))
    assert found == again != other
    parts = (found.goodput, found.waiting, found.lost, found.exchange)
    assert math.isclose(sum(parts), 1.0)
    assert min(parts) > 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "worse",
    [
        {"nbytes": 2e8}, {"slow_ones": (3,), "slower": 3.0}, {"slow": 0.5, "slower": 3.0},
        {"between_failures": 100.0, "restart": 10.0}, {"tau": 20},
    ],
)  # fmt: skip
def test_what_makes_a_round_longer_does_so(way, worse):
    work = model.Work(1e8, 10)
    assert (
        model.simulate(way, costs.Costs(), replace(work, **worse), 8).seconds
        > model.simulate(way, costs.Costs(), work, 8).seconds
    )


def test_one_slow_worker_makes_the_others_wait_and_a_time_limit_ends_that():
    work = model.Work(1.0, 10, slow_ones=(0,), slower=3.0)
    found = model.simulate(costs.star, FREE, work, 4, rounds=1)
    assert math.isclose(found.seconds, 3.0, rel_tol=1e-6)
    assert math.isclose(found.waiting, 3 * 2.0 / (4 * 3.0), rel_tol=1e-6)
    limited = model.simulate(costs.star, FREE, replace(work, max_seconds=1.0), 4, rounds=1)
    assert math.isclose(limited.seconds, 1.2, rel_tol=1e-6)  # four steps of 0.3 s: a step that was begun is finished


class LostOnce(model.Random):
    """Draws the time of the first loss only."""

    def __init__(self, seconds):
        super().__init__(0)
        self.times = [seconds]

    def expovariate(self, rate):
        del rate
        return self.times.pop() if self.times else math.inf


def test_a_lost_worker_costs_the_restart_and_its_steps_again():
    work = model.Work(1.0, 10, between_failures=1.0, restart=7.0)
    seconds, useful, waiting, lost = model._Round(costs.star(FREE, 1, 1.0), work, 1, LostOnce(0.5)).run()
    assert math.isclose(seconds, 0.5 + 7.0 + 1.0, rel_tol=1e-6)
    assert (math.isclose(useful, 1.0), math.isclose(lost, 0.5, rel_tol=1e-6), waiting) == (True, True, 0.0)


# Four workers, 4 GB at 1 GB a second. A star: 16 s out, 1 s of steps, 16 s back. Parts: 4 s out, 3 s from the others, 1 s of steps, 3 s and 4 s.
FOUR = model.Work(4e9, 10, between_failures=1.0, restart=7.0)


@pytest.mark.parametrize(
    ("way", "lost", "again", "left"),
    [(costs.star, 19.0, 7.0 + 4.0 + 1.0, 14.0), (costs.sliced, 10.0, 7.0 + 1.0 + 3.0 + 1.0, 3.0 + 4.0)],
)
def test_a_star_goes_on_pulling_where_a_lost_worker_was_and_workers_combine_anew(way, lost, again, left):
    """Lost two seconds after the last step; ``again`` is the restart, the start and the steps."""
    seconds = model._Round(way(FREE, 4, 4e9), FOUR, 4, LostOnce(lost)).run()[0]
    assert math.isclose(seconds, lost + again + left, rel_tol=1e-6)


@pytest.mark.parametrize("lost", [2.0, 6.0])
def test_workers_wait_for_the_part_of_the_start_that_is_lost(lost):
    """It is there after the restart and a second; who takes over then has three more to get, unless the others have got nothing yet."""
    seconds, useful, waiting, _ = model._Round(costs.sliced(FREE, 4, 4e9), FOUR, 4, LostOnce(lost)).run()
    assert math.isclose(seconds, lost + 7.0 + 1.0 + 3.0 + 1.0 + 7.0, rel_tol=1e-6)
    assert math.isclose(useful, 4.0, rel_tol=1e-6)
    assert math.isclose(waiting, 0.0 if lost < 4 else 3 * 3.0, rel_tol=1e-6, abs_tol=1e-6)


def test_a_worker_that_is_lost_in_its_steps_keeps_nobody_from_beginning():
    seconds, _, waiting, lost = model._Round(costs.sliced(FREE, 4, 4e9), FOUR, 4, LostOnce(7.5)).run()
    assert math.isclose(seconds, 7.5 + 7.0 + 1.0 + 3.0 + 1.0 + 7.0, rel_tol=1e-6)
    assert math.isclose(lost, 0.5, rel_tol=1e-6)
    assert math.isclose(waiting, 3 * (19.5 - 8.0), rel_tol=1e-6)


def test_up_to_how_many_workers_a_way_is_enough():
    work = model.Work(1e8, 10)  # a second of steps; 0.2 s of the link for each worker
    assert model.enough(costs.star, FREE, work) == 5
    assert model.enough(costs.star, FREE, replace(work, tau=0)) == 0
    assert model.enough(costs.sliced, FREE, work) > 10_000


def test_the_example_of_the_model_has_its_figures():
    assert doctest.testmod(model) == (0, 3)


def test_the_page_has_the_figures_of_the_model():
    command = [sys.executable, str(BENCH / "bench_round_table.py"), "--page", str(PAGE), "--check", "--workers", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_round_that_never_ends_is_given_up():
    churn = model.Work(1e9, 10, between_failures=1.0, restart=5.0)
    assert model.simulate(costs.star, FREE, churn, 8, latest=1000.0).seconds == math.inf
    assert model.simulate(costs.star, FREE, model.Work(1e9, 10), 8, latest=10.0).seconds == math.inf
    assert model.simulate(costs.star, FREE, model.Work(1e9, 10), 8, latest=17.1).seconds < 17.1
