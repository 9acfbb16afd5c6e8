"""What a worker that stays holds in a round: its net, and the message that begins the round only until the net has copied it."""

import json

import numpy as np
from written import written

from sparknet import Field, LocalCluster, averaged_sgd
from sparknet.data import pack
from sparknet.nets import MLP

DATA = pack(
    {"data": np.ones((8, 512), "f"), "label": np.zeros(8, int)}, [Field("data", (512,), "f"), Field("label", ())], 4
)


class Watched(MLP):
    """A net that tells how much memory is let go between the time at which it has a round's start and the round's first step."""

    def __init__(self, told, seed):
        super().__init__((512,), 8, (8000,), seed=seed)  # 16 MB
        self.told, self.held = told, 0

    def set_state(self, state):
        super().set_state(state)
        self.held = written()

    def step(self, batch):
        if self.held:
            with self.told.open("a") as lines:
                lines.write(json.dumps([self.iteration, self.held - written()]) + "\n")
            self.held = 0
        return super().step(batch)


def let_go(tmp_path, **options):
    """Return the bytes that the worker of a training lets go before the first step of each round, of four."""
    told = tmp_path / "told"
    options = {"workers": 1, "tau": 2, "rounds": 4, "cluster": LocalCluster(processes=1), **options}
    list(averaged_sgd(lambda *, seed: Watched(told, seed), DATA, **options))
    rounds = [json.loads(line) for line in told.read_text().splitlines()]
    assert [first for first, _ in rounds] == [0, 2, 4, 6]
    return [freed for _, freed in rounds]


SIZE = 4 * (512 * 8000 + 8000 + 8000 * 8 + 8)


def test_a_worker_holds_nothing_of_the_message_while_it_takes_steps(tmp_path):
    # Weights and momentum, of which zeros do not travel in the first round. A tenth is for what the thread that prepares minibatches writes.
    assert all(freed > 0.9 * 2 * SIZE for freed in let_go(tmp_path)[1:])


def test_nor_of_weights_alone_or_of_a_state_of_its_own(tmp_path):
    assert all(freed > 0.9 * SIZE for freed in let_go(tmp_path, solver_state="local")[1:])
