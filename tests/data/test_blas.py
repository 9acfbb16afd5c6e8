"""One BLAS thread, whatever libraries are loaded and whenever."""

import subprocess
import sys

import pytest
import threadpoolctl

from sparknet.data import blas
from sparknet.data.blas import single_threaded_blas


def threads():
    return {
        pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"
    }


@pytest.fixture
def two_threads():
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        yield


@pytest.mark.usefixtures("two_threads")
def test_there_is_one_thread_in_the_block_and_as_many_as_before_after_it():
    before = threads()
    assert set(before.values()) == {2}
    for _ in range(2):
        with single_threaded_blas():
            assert set(threads().values()) == {1}
        assert threads() == before


@pytest.mark.parametrize("told", [True, False])
def test_libraries_are_looked_for_again_only_where_there_may_be_more(monkeypatch, told):
    looked = []
    controller = threadpoolctl.ThreadpoolController
    monkeypatch.setattr(threadpoolctl, "ThreadpoolController", lambda: looked.append(1) or controller())
    if not told:  # as on a system that does not count them
        monkeypatch.setattr(blas, "_walk", lambda: None)
    blas._libraries.cache_clear()
    for _ in range(3):
        with single_threaded_blas():
            pass
    assert len(looked) == (1 if told else 3)


LATER = """
import ctypes, shutil, sys
import numpy, threadpoolctl
from sparknet.data.blas import single_threaded_blas
first, = [pool["filepath"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
with single_threaded_blas():
    pass
shutil.copy(first, sys.argv[1])
ctypes.CDLL(sys.argv[1])  # no import tells of it
with threadpoolctl.threadpool_limits(limits=2, user_api="blas"), single_threaded_blas():
    print([pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"])
"""


def test_a_library_that_is_loaded_later_has_one_thread_too(tmp_path):
    command = [sys.executable, "-c", LATER, str(tmp_path / "libopenblas_copy.so")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout == "[1, 1]\n", done.stderr
