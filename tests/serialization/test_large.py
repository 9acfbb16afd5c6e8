"""A tensor over 4 GiB, for real. Everything else about split tensors is in test_frame.py, with a smaller limit."""

import os
import resource

import numpy as np
import pytest

from sparknet.serialization import dump, inspect, load_into
from sparknet.serialization.message import layout

SIZE = layout.MAX_BIN + (200 << 20)
MARKS = [0, 1 << 31, layout.MAX_BIN - 1, layout.MAX_BIN, SIZE - 1]  # both sides of where it is split among them


class Sparse:
    """A file in which zeros take no place."""

    def __init__(self, file):
        self.file = file

    def write(self, data):
        for start in range(0, len(data), 1 << 20):
            block = data[start : start + (1 << 20)]
            if np.frombuffer(block, np.uint8).any():
                self.file.write(block)
            else:
                self.file.seek(len(block), os.SEEK_CUR)


@pytest.mark.slow
def test_a_tensor_of_more_than_4_gib_comes_back(tmp_path):
    # most of its pages are never written, and take no memory; the array it comes back to takes 4.2 GiB
    tensor = np.zeros(SIZE, np.uint8)
    tensor[MARKS] = np.arange(1, len(MARKS) + 1)
    path = tmp_path / "large.msg"
    with path.open("wb") as file:
        size = dump({"before": np.arange(3), "large": tensor, "after": np.arange(4)}, Sparse(file))
    assert inspect(path).nbytes == path.stat().st_size == size > SIZE
    live = {"before": np.zeros(3, int), "large": np.zeros(SIZE, np.uint8), "after": np.zeros(4, int)}
    with path.open("rb") as file:
        load_into(live, file)
    assert live["large"][MARKS].tolist() == list(range(1, len(MARKS) + 1))
    assert np.count_nonzero(live["large"]) == len(MARKS)
    assert live["before"].tolist() + live["after"].tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 6 << 20  # KiB
