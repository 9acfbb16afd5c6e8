"""A tensor over 4 GiB, for real. Everything else about split tensors is in test_frame.py, with a smaller limit."""

import os
import resource

import numpy as np

from sparknet.serialization import dump, inspect, load_into
from sparknet.serialization.message import layout

SIZE = layout.MAX_BIN + (200 << 20)
MARKS = [0, 1 << 31, layout.MAX_BIN - 1, layout.MAX_BIN, SIZE - 1]  # both sides of where it is split among them


class Sparse:
    """A file in which zeros take no place. What it is read into must be zeros, because it leaves them as they are."""

    def __init__(self, file):
        self.file = file

    def write(self, data):
        for start in range(0, len(data), 1 << 20):
            block = data[start : start + (1 << 20)]
            if np.frombuffer(block, np.uint8).any():
                self.file.write(block)
            else:
                self.file.seek(len(block), os.SEEK_CUR)

    def readinto(self, target):
        begin = self.file.tell()
        data = os.lseek(self.file.fileno(), begin, os.SEEK_DATA)
        if data < begin + len(target):
            self.file.seek(begin)
            return self.file.readinto(target)
        self.file.seek(begin + len(target))
        return len(target)


def test_a_tensor_of_more_than_4_gib_comes_back(tmp_path):
    # most pages of both arrays are never written, and take no memory: that of a virtual machine costs 15 seconds when it is new
    tensor = np.zeros(SIZE, np.uint8)
    tensor[MARKS] = np.arange(1, len(MARKS) + 1)
    path = tmp_path / "large.msg"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with path.open("wb", buffering=0) as file:
        size = dump({"before": np.arange(3), "large": tensor, "after": np.arange(4)}, Sparse(file))
    assert inspect(path).nbytes == path.stat().st_size == size > SIZE
    live = {"before": np.zeros(3, int), "large": np.zeros(SIZE, np.uint8), "after": np.zeros(4, int)}
    with path.open("rb", buffering=0) as file:
        load_into(live, Sparse(file))
    assert live["large"][MARKS].tolist() == list(range(1, len(MARKS) + 1))
    assert np.count_nonzero(live["large"]) == len(MARKS)
    assert live["before"].tolist() + live["after"].tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB
