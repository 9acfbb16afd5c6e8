"""What a run does is known below it, and nowhere else."""

import json

from kept_training import DATA, start

from sparknet.nets import MLP
from sparknet.training.phase import RunPhase, current

SEEN = []


class Told(MLP):
    """Keeps what the run does in each step and evaluation."""

    def step(self, batch):
        SEEN.append(current())
        return super().step(batch)

    def forward(self, batch, outputs=None):
        SEEN.append(current())
        return super().forward(batch, outputs)


def test_each_step_and_evaluation_is_of_its_run_round_and_part(tmp_path):
    rounds = start(tmp_path, Told.factory((1, 5, 5), 3, (4,)), rounds=3, tau=2, evaluate=(DATA, 2))
    for each in rounds:
        assert current() is None
        index = each.index
        parts = ["train"] * each.steps + ["evaluate"] * len(DATA.batches) * bool(each.metrics)
        assert SEEN[-len(parts) :] == [RunPhase(rounds.run, part, index, 3) for part in parts]
    assert json.loads((tmp_path / "run.json").read_text())["runs"][0]["run"] == rounds.run
    assert start(tmp_path, rounds=3).run != rounds.run
    assert str(RunPhase("3f9a1c2b", "train", 2, 10)) == "sparknet run 3f9a1c2b, round 2 (10 in all): train"
