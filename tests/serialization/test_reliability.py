"""What a file or a view is worth when processes are killed, disks are full, and others read and write meanwhile."""

import errno
import fcntl
import gc
import mmap
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from strategies import share

from sparknet import FormatError, dump, dumps, load, loads, save
from sparknet.files.replacing import replacing
from sparknet.serialization import inspect, verify


def weights(version, size=1000):
    """Arrays that say throughout which version they are."""
    return {"small": np.full(3, version, "int32"), "large": np.full(size, version, "int32")}


def version_of(path):
    """The version in a file that is whole."""
    found = load(path, mmap=False, verify=True)
    values = {int(value) for array in found.values() for value in np.unique(array.to_host())}
    assert len(values) == 1
    return values.pop()


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )


# ---- killed while it saves

KILLED_AT_EVERY_LINE = """
import os, signal, sys
import numpy as np
from sparknet import load, save
from sparknet.files import replacing
from sparknet.serialization.memory import streams
from sparknet.serialization import writing

path = sys.argv[1]
watched = {streams.__file__, replacing.__file__, writing.__file__}
old, new = np.zeros(3), np.ones(300_000)
save(path, old)

def save_and_die(at):
    lines = 0
    def trace(frame, event, argument):
        nonlocal lines
        if frame.f_code.co_filename not in watched:
            return None
        lines += event == "line"
        if lines == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    save(path, new)
    os._exit(0)

at, found = 0, []
while True:
    at += 1
    child = os.fork()
    if not child:
        save_and_die(at)
    status = os.waitpid(child, 0)[1]
    back = load(path, mmap=False, verify=True).to_host()
    assert np.array_equal(back, old) or np.array_equal(back, new), at
    found.append(len(back) == len(new))
    if os.WIFEXITED(status):
        break
    save(path, old)
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)], at
print(at, sum(found))
"""


def test_a_writer_killed_at_any_line_leaves_the_old_file_or_the_new_one_whole(tmp_path):
    done = run(KILLED_AT_EVERY_LINE, tmp_path / "w.msg")
    assert done.returncode == 0, done.stderr
    lines, new = map(int, done.stdout.split())
    assert lines > 30
    assert 2 <= new < lines - 10  # old before it took its name, new after


SAVES_FOR_EVER = """
import itertools, sys
import numpy as np
from sparknet import save
for version in itertools.count(int(sys.argv[2])):
    save(sys.argv[1], {"small": np.full(3, version, "int32"), "large": np.full(2_000_000, version, "int32")})
    print(version, flush=True)
"""


def test_a_writer_killed_at_any_time_leaves_the_old_file_or_the_new_one_whole(tmp_path):
    path, chance = tmp_path / "w.msg", random.Random(3)
    saved = 0
    for _ in range(share(6, 2)):
        with subprocess.Popen(
            [sys.executable, "-c", SAVES_FOR_EVER, path, str(saved + 1)], stdout=subprocess.PIPE, text=True
        ) as writer:
            writer.stdout.readline()
            time.sleep(chance.uniform(0, 0.1))
            writer.send_signal(signal.SIGKILL)
            printed = writer.stdout.read().split()
        last = int(printed[-1]) if printed else saved + 1
        assert version_of(path) in (last, last + 1)
        saved = version_of(path)
    save(path, weights(0))
    assert [each.name for each in tmp_path.iterdir()] == ["w.msg"]


KILLED_BY = """
import os, signal, sys
import numpy as np
from sparknet.files.replacing import replacing
from pathlib import Path
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    if int(sys.argv[2]) != signal.SIGKILL:
        signal.signal(int(sys.argv[2]), signal.SIG_DFL)  # whoever started the tests may have had it ignored, as nohup does
    os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path, number):
    assert run(KILLED_BY, tmp_path / "w.msg", int(number)).returncode == -number
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(f".sparknet-{os.uname().nodename}-")
    save(tmp_path / "other.msg", weights(1))
    assert [each.name for each in tmp_path.iterdir()] == ["other.msg"]


def test_what_is_written_meanwhile_and_what_is_not_ours_stays(tmp_path):
    with replacing(tmp_path / "w.msg") as file:
        own = pathlib.Path(file.name).name
        others = {own.replace(os.uname().nodename, "elsewhere"), own.replace(".tmp", "0.tmp"), f"{own[:-5]}.temp"}
        for name in others:
            (tmp_path / name).touch()
        (tmp_path / f"{own[:-6]}00.tmp").mkdir()
        (tmp_path / f"{own[:-6]}11.tmp").symlink_to(tmp_path / "w.msg")
        os.mkfifo(tmp_path / f"{own[:-6]}22.tmp")
        before = {each.name for each in tmp_path.iterdir()}
        save(tmp_path / "other.msg", weights(1))
        assert {each.name for each in tmp_path.iterdir()} == before | {"other.msg"}
        file.write(dumps(weights(2)))
    assert version_of(tmp_path / "w.msg") == 2


def test_a_file_that_is_taken_for_a_left_one_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, names = fcntl.flock, []

    def late(file, operation):
        if not names:
            names.extend(each.name for each in tmp_path.iterdir())
            (tmp_path / names[0]).unlink()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    save(tmp_path / "w.msg", weights(1))
    assert len(names) == 1
    assert version_of(tmp_path / "w.msg") == 1


def test_where_the_file_system_has_no_locks_nothing_is_removed(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    run(KILLED_BY, tmp_path / "w.msg", int(signal.SIGKILL))
    monkeypatch.setattr(fcntl, "flock", refused)
    save(tmp_path / "w.msg", weights(1))
    assert len(list(tmp_path.iterdir())) == 2
    assert version_of(tmp_path / "w.msg") == 1


# ---- disks and directories that refuse

FULL = """
import os, resource, sys
import numpy as np
from sparknet import save
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save(sys.argv[1], np.ones(100_000))
except OSError as error:
    print(error.errno)
"""


def test_a_full_disk_is_an_error_and_leaves_the_old_file_alone(tmp_path):
    save(tmp_path / "w.msg", weights(1))
    done = run(FULL, tmp_path / "w.msg")
    assert int(done.stdout) == errno.EFBIG, done.stderr
    assert version_of(tmp_path / "w.msg") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["w.msg"]


def test_a_device_without_space_is_an_error_of_a_stream():
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space left") as caught:  # noqa: PTH123
        dump(weights(1), full)
    assert caught.value.errno == errno.ENOSPC


READ_ONLY = """
import os, sys
import numpy as np
from sparknet import save
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.seteuid(65534)  # permissions are nothing to root
try:
    save("w.msg", np.ones(3))
except PermissionError as error:
    print("refused", error.filename)
"""


@pytest.mark.parametrize("mode", [0o555, 0o333])
def test_a_directory_that_cannot_be_read_and_written_is_an_error_and_leaves_the_old_file_alone(tmp_path, mode):
    save(tmp_path / "w.msg", weights(1))
    tmp_path.chmod(mode)
    try:
        done = run(READ_ONLY, tmp_path)
    finally:
        tmp_path.chmod(0o755)
    assert done.stdout.startswith("refused w.msg"), done.stderr
    assert version_of(tmp_path / "w.msg") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["w.msg"]


CLOSED_ABOVE = """
import os, sys
import numpy as np
from sparknet import save
os.chdir(sys.argv[1])
os.chmod("..", 0)
if os.geteuid() == 0:
    os.seteuid(65534)
save("w.msg", np.ones(3))
"""


def test_a_relative_path_needs_nothing_of_the_directories_above(tmp_path):
    here = tmp_path / "closed" / "here"
    here.mkdir(parents=True)
    here.chmod(0o777)
    try:
        done = run(CLOSED_ABOVE, here)
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert load(here / "w.msg").shape == (3,)


# ---- readers and writers at once


def test_readers_see_the_old_file_or_the_new_one_while_it_is_replaced(tmp_path):
    path, ended = tmp_path / "w.msg", threading.Event()
    save(path, weights(0, 300_000))

    def read(_):
        seen = []
        while not ended.is_set():
            mapped = load(path, verify=True)
            seen.append(int(mapped["small"][0]))
            assert {int(mapped["large"].to_host().min()), int(mapped["large"].to_host().max())} == {seen[-1]}
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, i) for i in range(3)]
        try:
            for version in range(1, 25):
                save(path, weights(version, 300_000))
        finally:
            ended.set()
        for reader in readers:
            seen = reader.result()
            assert seen == sorted(seen)
            assert seen


def test_many_threads_read_one_mapped_message(tmp_path):
    save(tmp_path / "w.msg", weights(7, 500_000))
    mapped = load(tmp_path / "w.msg")
    with ThreadPoolExecutor(4) as pool:
        sums = pool.map(lambda _: int(mapped["large"].to_host().sum()), range(20))
    assert set(sums) == {3_500_000}


def test_many_threads_write_and_read_at_once():
    def roundtrip(version):
        obj = weights(version, 400_000)
        back = loads(dumps(obj), copy=True)
        return all(np.array_equal(back[name].to_host(), array) for name, array in obj.items())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(roundtrip, range(24)))


FORKS = """
import os, sys
import numpy as np
from sparknet import dumps, loads
large = np.arange(6_000_000.0)  # copied by several threads
message = dumps(large)
child = os.fork()
same = np.array_equal(loads(message, copy=True).to_host(), large) and dumps(large) == message
if not child:
    os._exit(0 if same else 1)
print(same, os.waitpid(child, 0)[1])
"""


def test_a_process_may_be_forked_between_large_messages():
    done = run(FORKS)
    assert done.stdout.split() == ["True", "0"], done.stderr


AT_EXIT = """
import atexit, sys
import numpy as np
from sparknet import save
atexit.register(save, sys.argv[1], np.ones(6_000_000))
"""


def test_a_program_may_save_as_it_ends(tmp_path):
    done = run(AT_EXIT, tmp_path / "w.msg")
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "w.msg", verify=True).shape == (6_000_000,)


# ---- views and what they look at


def test_arrays_outlive_a_file_that_is_replaced_and_deleted(tmp_path):
    path = tmp_path / "w.msg"
    save(path, weights(1, 300_000))
    mapped = load(path)
    save(path, weights(2, 300_000))
    path.unlink()
    gc.collect()
    assert int(mapped["large"].to_host().sum()) == 300_000


def buffers(message):
    """The same message in every kind of buffer."""
    mapped = mmap.mmap(-1, len(message))
    mapped[:] = message
    yield from (bytearray(message), mapped, np.frombuffer(message, np.uint8).copy(), memoryview(bytearray(message)))


def test_views_keep_their_buffer_alive_and_in_place():
    message = dumps(weights(5, 100_000))
    for buffer in buffers(message):
        large = loads(buffer)["large"]
        if isinstance(buffer, bytearray):
            with pytest.raises(BufferError):
                buffer.clear()
        if isinstance(buffer, mmap.mmap):
            with pytest.raises(BufferError):
                buffer.close()
        del buffer
        gc.collect()
        rubbish = [bytearray(len(message)) for _ in range(4)]
        assert int(large.to_host().sum()) == 500_000
        del rubbish


def test_one_view_keeps_the_message_and_no_view_lets_it_go():
    class Watched(bytearray):
        """A buffer that tells when it is gone."""

        def __del__(self):
            gone.append(True)

    gone = []
    found = loads(Watched(dumps(weights(1))))
    small = found["small"]
    del found
    gc.collect()
    assert not gone
    assert int(small[0]) == 1
    del small
    gc.collect()
    assert gone == [True]


# ---- damage


def test_every_change_of_one_byte_of_a_message_of_a_block_is_detected():
    # from a size on (4,096 bytes) blocks are summed before the CRC
    message = bytearray(dumps({"a": np.arange(1100, dtype="uint32"), "b": np.arange(3)}))
    for position in range(len(message)):
        message[position] ^= 0x55
        with pytest.raises(FormatError):
            loads(message)
        message[position] ^= 0x55


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_a_changed_byte_anywhere_in_a_large_file_is_detected(tmp_path, change):
    rng = np.random.default_rng(change)
    save(tmp_path / "w.msg", {"a": rng.standard_normal(1_500_000, dtype="float32"), "b": rng.standard_normal(50)})
    size = inspect(tmp_path / "w.msg").nbytes
    with (tmp_path / "w.msg").open("r+b") as file:
        for position in [0, 12, size - 1, *map(int, rng.integers(0, size, 30))]:
            file.seek(position)
            before = file.read(1)[0]
            for byte in before ^ change, before:
                file.seek(position)
                file.write(bytes([byte]))
                file.flush()
                if byte == before:
                    continue
                for read in (
                    verify,
                    lambda path: load(path, mmap=False),
                    lambda path: load(path, verify=True),
                    lambda path: loads(path.read_bytes(), copy=True),
                ):
                    with pytest.raises(FormatError):
                        read(tmp_path / "w.msg")
    verify(tmp_path / "w.msg")


def test_a_file_that_gets_shorter_while_it_is_read_is_truncated(tmp_path, monkeypatch):
    save(tmp_path / "w.msg", weights(1))
    read = os.preadv

    def shorter(descriptor, targets, offset):
        os.truncate(tmp_path / "w.msg", 500)
        return read(descriptor, targets, offset)

    monkeypatch.setattr(os, "preadv", shorter)
    with pytest.raises(FormatError, match="truncated message: it ends at byte 500"):
        load(tmp_path / "w.msg", mmap=False)
