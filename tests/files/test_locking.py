"""The lock of a directory: one writer at a time, nothing left behind, and gone with its process."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from sparknet import DataError
from sparknet.files.locking import LOCK_FILE, locked

HOLDS = """
import sys, time
from pathlib import Path
from sparknet.files.locking import locked
with locked(Path(sys.argv[1]), "first"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_writer_is_told_who_the_first_is_and_the_directory_is_free_afterwards(tmp_path):
    with locked(tmp_path, "--out here"):
        text = rf"^--out here: process {os.getpid()} on .* writes there; .* name another one, or end that run first"
        with pytest.raises(DataError, match=text), locked(tmp_path, "--out here"):
            pytest.fail("it is held")
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path, "--out here"):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_the_lock_of_a_process_that_is_killed_is_gone_though_its_file_is_there(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataError, match=f"process {holder.pid} on"), locked(tmp_path, "second"):
            pytest.fail("it is held")
        holder.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK_FILE).exists()
    with locked(tmp_path, "second"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_released_for_a_forked_child_that_lives_on(tmp_path):
    begin, end = os.pipe()
    with locked(tmp_path, "first"):
        child = os.fork()
        if not child:
            os.close(end)
            os.read(begin, 1)
            os._exit(0)
    with locked(tmp_path, "second"):
        pass
    os.close(end)
    os.waitpid(child, 0)
    os.close(begin)


def test_a_file_that_its_holder_removes_between_opening_and_locking_locks_nothing(tmp_path, monkeypatch):
    """The second opens the file of the first, which ends; a third makes a new one: the second must not hold the old one."""
    first, third = ExitStack(), ExitStack()
    first.enter_context(locked(tmp_path, "first"))
    flock = fcntl.flock

    def late(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", flock)
        first.close()
        third.enter_context(locked(tmp_path, "third"))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with third, pytest.raises(DataError, match="second: process"), locked(tmp_path, "second"):
        pytest.fail("the third holds it")


def test_a_link_or_fifo_in_the_place_of_the_file_is_refused(tmp_path):
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Is a symbolic link, expected a lock's file"), locked(tmp_path, "out"):
        pytest.fail("a link was followed")
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / LOCK_FILE).unlink()
    os.mkfifo(tmp_path / LOCK_FILE)
    with pytest.raises(OSError, match=r"Is a FIFO \(a pipe\), expected a lock's file"), locked(tmp_path, "out"):
        pytest.fail("a FIFO was taken")


def test_a_file_system_without_locks_is_said_once_and_the_block_runs(tmp_path, monkeypatch, caplog):
    def refusing(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refusing)
    done = []
    for number in range(2):
        with locked(tmp_path, "out"):
            done.append(number)
    assert done == [0, 1]
    (record,) = caplog.records
    assert record.message.endswith(
        "has no locks (No locks available): two runs that write there at once are not kept apart"
    )


def test_any_other_error_is_raised(tmp_path, monkeypatch):
    def failing(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", failing)
    with pytest.raises(OSError, match="Input/output error"), locked(tmp_path, "out"):
        pytest.fail("it is not held")
