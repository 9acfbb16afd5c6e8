"""The bench of trainings that go on with other numbers of workers: what it compares, and what it says."""

import sys
from pathlib import Path

import pytest
from kept_training import DATA, FACTORY, train

sys.path.append(str(Path(__file__).parents[2] / "bench"))
import bench_resume as bench


def test_all_curves_begin_with_the_same_rounds_and_two_workers_are_the_training_without_a_change():
    found = bench.curves(FACTORY, DATA, DATA, tau=3, rounds=3, seed=7)
    assert [*found] == [1, 2, 3, 4]
    assert {tuple(curve[:3]) for curve in found.values()} == {tuple(found[2][:3])}
    assert found[2] == [each.metrics["loss"] for each in train(evaluate=(DATA, 1))]
    assert all(len(curve) == 6 for curve in found.values())
    assert len({curve[3] for curve in found.values()}) == 4


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([3, 2, 1.9, 1.8], (True, True)),
        ([3, 2, 2.1, 1.8], (True, True)),
        ([3, 2, 2.3, 1.8], (False, True)),
        ([3, 2, 2.0, 2.0], (True, False)),
    ],
)
def test_a_jump_and_a_loss_that_does_not_fall_are_told(curve, expected):
    assert bench.verdict(curve, 2) == expected


def test_the_text_has_a_line_for_each_round_and_the_workers_at_their_losses():
    lines = [*bench.drawn({1: [2.0, 1.0], 3: [2.0, 0.0]}, 1)]
    assert lines[1] == f"    0   |{' ' * 60}*"
    assert lines[3] == f"    1   |3{' ' * 29}1"
    assert "from here on with 1, 3 workers" in lines[2]
