"""bench/round_model.py: the model of rounds agrees with what can be computed by hand, and with its page."""

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
SPEC = importlib.util.spec_from_file_location("round_model", BENCH / "round_model.py")
model = sys.modules["round_model"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(model)

FREE = model.Costs(
    bandwidth=1e9, fixed=0.0, message=0.0, sent=0.0, loaded=0.0, ready=0.0, sliced=0.0, combined=0.0, stored=0.0,
    of_two=0.0, looked=0.0, job=0.0, task=0.0, pipe=0.0,
)  # fmt: skip
WAYS = [model.star, model.sliced, model.job_per_round]


@given(st.integers(1, 40), st.floats(1e3, 1e10), st.integers(0, 9))
def test_a_star_whose_code_costs_nothing_takes_its_steps_and_two_models_for_each_worker(workers, nbytes, tau):
    found = model.simulate(model.star, FREE, model.Work(nbytes, tau), workers, rounds=1)
    seconds = 0.1 * tau + 2 * workers * nbytes / 1e9
    assert math.isclose(found.seconds, seconds, rel_tol=1e-6)
    assert math.isclose(found.goodput, 0.1 * tau / seconds, rel_tol=1e-6, abs_tol=1e-9)


@given(st.integers(1, 64), st.floats(1e6, 1e10))
def test_slices_that_every_worker_combines_take_two_models_however_many_workers_there_are(workers, nbytes):
    way = model.sliced(FREE, workers, nbytes, parts=workers)
    work = model.Work(nbytes)
    rounds = [model._Round(way, work, workers, model.Random(0)).run() for _ in range(1)]
    assert math.isclose(rounds[0][0], 0.1 + 2 * nbytes / 1e9, rel_tol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_the_parts_of_the_time_make_one_and_a_seed_decides_all(way):
    work = model.Work(1e8, 10, spread=0.3, slow=0.1, slower=3.0, between_failures=200.0, restart=5.0)
    found, again, other = (model.simulate(way, model.Costs(), work, 20, seed=seed) for seed in (0, 0, 1))
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
        model.simulate(way, model.Costs(), replace(work, **worse), 8).seconds
        > model.simulate(way, model.Costs(), work, 8).seconds
    )


def test_one_slow_worker_makes_the_others_wait_and_a_time_limit_ends_that():
    work = model.Work(1.0, 10, slow_ones=(0,), slower=3.0)
    found = model.simulate(model.star, FREE, work, 4, rounds=1)
    assert math.isclose(found.seconds, 3.0, rel_tol=1e-6)
    assert math.isclose(found.waiting, 3 * 2.0 / (4 * 3.0), rel_tol=1e-6)
    limited = model.simulate(model.star, FREE, replace(work, max_seconds=1.0), 4, rounds=1)
    assert math.isclose(limited.seconds, 1.2, rel_tol=1e-6)  # four steps of 0.3 s: a step that was begun is finished


def test_a_lost_worker_costs_the_restart_and_its_steps_again():
    class Once(model.Random):
        """Draws the time of the first loss only."""

        def __init__(self):
            super().__init__(0)
            self.times = [0.5]

        def expovariate(self, rate):
            del rate
            return self.times.pop() if self.times else math.inf

    work = model.Work(1.0, 10, between_failures=1.0, restart=7.0)
    seconds, useful, waiting, lost = model._Round(model.star(FREE, 1, 1.0), work, 1, Once()).run()
    assert math.isclose(seconds, 0.5 + 7.0 + 1.0, rel_tol=1e-6)
    assert (math.isclose(useful, 1.0), math.isclose(lost, 0.5, rel_tol=1e-6), waiting) == (True, True, 0.0)


def test_up_to_how_many_workers_a_way_is_enough():
    work = model.Work(1e8, 10)  # a second of steps; 0.2 s of the link for each worker
    assert model.enough(model.star, FREE, work) == 5
    assert model.enough(model.star, FREE, replace(work, tau=0)) == 0
    assert model.enough(model.sliced, FREE, work) > 10_000


def test_the_page_has_the_figures_of_the_model():
    command = [sys.executable, str(BENCH / "bench_round_table.py"), "--page", str(PAGE), "--check", "--workers", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_round_that_never_ends_is_given_up():
    churn = model.Work(1e9, 10, between_failures=1.0, restart=5.0)
    assert model.simulate(model.star, FREE, churn, 8, latest=1000.0).seconds == math.inf
    assert model.simulate(model.star, FREE, model.Work(1e9, 10), 8, latest=10.0).seconds == math.inf
    assert model.simulate(model.star, FREE, model.Work(1e9, 10), 8, latest=17.1).seconds < 17.1
