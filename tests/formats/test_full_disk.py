"""Files of every format on a disk that is full: an OSError that names the file; what was there stays, and nothing else."""

import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from sparknet import NDArray, WeightCollection, save
from sparknet.formats import write

NUMBERS = np.arange(100_000, dtype="f4")
WEIGHTS = WeightCollection({"conv1": [NUMBERS], "ip1": [np.ones(3, "f4")]})
STATE = {"iteration": NDArray(np.int64(3)), "history/0": NDArray(NUMBERS)}
FILES = {
    "w.sparknet": WEIGHTS,
    "w.npy": NUMBERS,
    "w.npz": WEIGHTS,
    "w.safetensors": WEIGHTS,
    "w.caffemodel": WEIGHTS,
    "w.caffemodel.h5": WEIGHTS,
    "w.binaryproto": NUMBERS.reshape(1, 1, -1),
    "w.solverstate": STATE,
    "w.solverstate.h5": STATE,
}
# What may be written: nothing; the beginning of a header; half of it; all but the last bytes.
ROOM = (0, 10, 200_000, -1)

WRITES = """
import errno, os, resource, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import test_full_disk as here
here.check_all_files(sys.argv[2], lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, -1)), errno.EFBIG)
"""
FILLS = """
import errno, os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import test_full_disk as here
from ctypes import CDLL, get_errno
if CDLL(None, use_errno=True).mount(b"tmpfs", os.fsencode(sys.argv[2]), b"tmpfs", 0, b"size=2m"):
    sys.exit(f"mount: {os.strerror(get_errno())}")
here.check_all_files(sys.argv[2], here.Filled(sys.argv[2]), errno.ENOSPC)
"""


class Filled:
    """Leaves so much room on a small disk, to the next page, by a file that takes the rest; -1: as much as there is."""

    def __init__(self, folder):
        self.path = os.path.join(folder, ".filled")  # noqa: PTH118 - as the scripts have it

    def __call__(self, room):
        with open(self.path, "wb", buffering=0) as file:  # noqa: PTH123
            file.truncate(0)
            if room >= 0:
                found = os.fstatvfs(file.fileno())
                os.posix_fallocate(file.fileno(), 0, (found.f_bavail - -(-room // found.f_bsize)) * found.f_bsize)


def check_all_files(folder, leave, number):
    """Write each file with little room; ``leave`` sets the bytes that there are, -1 for all; print what was checked."""
    os.chdir(folder)
    for name, obj in FILES.items():
        put = save if name == "w.sparknet" else write
        leave(-1)
        put(name, obj)
        size = os.stat(name).st_size  # noqa: PTH116
        with open(name, "rb") as file:  # noqa: PTH123
            before = file.read()
        for room in ROOM:
            leave(room if room >= 0 else size - 5000)
            try:
                put(name, obj)
                said = None
            except OSError as error:
                said = error.errno, error.filename, "a file that was there is as it was" in error.strerror
            leave(-1)
            assert said == (number, name, True), (name, room, said)
            with open(name, "rb") as file:  # noqa: PTH123
                assert file.read() == before, (name, room)
            assert set(os.listdir(".")) <= {name, ".filled"}, (name, room)  # noqa: PTH208
        os.remove(name)  # noqa: PTH107
        print(name)


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_file_that_may_not_grow_is_an_error_and_nothing_changes(tmp_path):
    done = run(sys.executable, "-c", WRITES, __file__, tmp_path)
    assert done.stdout.split() == list(FILES), done.stderr
    assert not done.stderr


def test_a_full_disk_is_an_error_and_nothing_changes(tmp_path):
    alone = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else [])]
    if not shutil.which("unshare") or run(*alone, "true").returncode:
        pytest.skip("needs to mount a small disk: root, or namespaces of users")
    done = run(*alone, sys.executable, "-c", FILLS, __file__, tmp_path)
    if done.stderr.startswith(f"mount: {os.strerror(errno.EPERM)}"):
        pytest.skip("needs to mount a small disk, which a container may forbid to root")
    assert done.stdout.split() == list(FILES), done.stderr
    assert not done.stderr
    assert list(tmp_path.iterdir()) == []  # it was a disk of its own
