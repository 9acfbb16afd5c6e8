"""Workers whose steps take as long as a test says: a clock that only their steps move."""

from types import SimpleNamespace

import numpy as np

from sparknet import Field
from sparknet.data import pack
from sparknet.nets import MLP

FIELDS = [Field("data", (6,), "float32"), Field("label", (), "int64")]


def packed(workers, *, batches=24, size=4):
    """Return data whose first column says which worker's shard a row is in."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(batches * size, 6)).astype(np.float32)
    data[:, 0] = np.repeat(np.arange(batches), size) % workers
    return pack({"data": data, "label": rng.integers(0, 3, batches * size)}, FIELDS, size)


class Clock:
    """Moves by ``seconds(worker)`` with each step of a worker's."""

    def __init__(self, seconds):
        self.seconds, self.now = seconds, 0.0

    def install(self, monkeypatch):
        monkeypatch.setattr("sparknet.worker.time", self.time())

    def time(self):
        """Return what stands for the module ``time``."""
        return SimpleNamespace(perf_counter=lambda: self.now)

    def factory(self, *, seed=0):
        clock = self

        class Timed(MLP):
            def step(self, batch):
                clock.now += clock.seconds(int(batch["data"].to_host()[0, 0]))
                return super().step(batch)

        return Timed((6,), 3, (5,), learning_rate=0.1, momentum=0.9, seed=seed)
