"""Files: saved whole or not at all, opened without reading. Streams: one message after another."""

import errno
import io
import os
import re
import resource
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import messages_of, weight_collections

from sparknet import FormatError, NDArray, WeightCollection, dump, dumps, iter_load, load, save
from sparknet.files import replacing
from sparknet.serialization import inspect

WEIGHTS = WeightCollection(
    {"conv": [np.arange(6, dtype="float32").reshape(2, 3), np.ones(2)], "relu": [], "ip": [np.eye(3)]}
)


@given(messages_of())
def test_a_file_holds_the_message(tmp_path_factory, obj):
    path = tmp_path_factory.mktemp("save") / "x.msg"
    save(path, obj)
    assert path.read_bytes() == dumps(obj)
    assert [p.name for p in path.parent.iterdir()] == ["x.msg"]


@pytest.mark.parametrize("mmap", [True, False])
def test_load_returns_what_was_saved(tmp_path, mmap):
    save(tmp_path / "w.msg", WEIGHTS, metadata={"epoch": 1})
    assert load(str(tmp_path / "w.msg"), mmap=mmap, verify=True) == WEIGHTS
    assert inspect(tmp_path / "w.msg").metadata == {"epoch": 1}


def test_a_mapped_file_is_read_only_and_survives_being_replaced(tmp_path):
    save(tmp_path / "a.msg", np.full(100_000, 1.0))
    mapped = load(tmp_path / "a.msg").to_host()
    save(tmp_path / "a.msg", np.full(100_000, 2.0))
    (tmp_path / "a.msg").unlink()
    assert not mapped.flags.writeable
    assert mapped.sum() == 100_000


def test_an_owned_file_is_writable_and_aligned_within_its_buffer(tmp_path):
    save(tmp_path / "w.msg", WEIGHTS)
    weights = load(tmp_path / "w.msg", mmap=False)
    weights += 1.0
    assert weights == WEIGHTS + 1.0


@pytest.mark.parametrize("mmap", [True, False])
def test_keys_choose_names_in_the_order_of_the_file(tmp_path, mmap):
    save(tmp_path / "w.msg", WEIGHTS)
    chosen = load(tmp_path / "w.msg", keys=["ip", "relu", "conv"][:2], mmap=mmap)
    assert chosen == WeightCollection({"relu": [], "ip": [np.eye(3)]})
    save(tmp_path / "m.msg", {"a": np.zeros(1), "b": np.ones(1)})
    assert list(load(tmp_path / "m.msg", keys={"b"})) == ["b"]
    with pytest.raises(KeyError, match="no 'c' in the message; it holds 2 names: a, b"):
        load(tmp_path / "m.msg", keys=["b", "c"])
    with pytest.raises(TypeError, match=r"write keys=\['b'\]"):
        load(tmp_path / "m.msg", keys="b")
    assert list(load(tmp_path / "m.msg", keys=(name for name in ["b"]), mmap=mmap)) == ["b"]
    assert load(tmp_path / "m.msg", keys=[], mmap=mmap) == {}
    with pytest.raises(KeyError, match="no 'z', 1 in the message"):
        load(tmp_path / "m.msg", keys=[1, "z"])
    save(tmp_path / "a.msg", np.zeros(1))
    with pytest.raises(KeyError, match="one array, which has no name; leave keys out"):
        load(tmp_path / "a.msg", keys=["a"])


def _resident(path):
    """Bytes of a mapped file that this process has touched."""
    inside, total = False, 0
    for line in Path("/proc/self/smaps").read_text(encoding="ascii").splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) << 10
    return total


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_keys_touch_the_pages_of_what_they_choose_alone(tmp_path):
    path, large = tmp_path / "w.msg", np.ones(1 << 22)
    save(path, {"before": large, "wanted": np.arange(1 << 17, dtype="f4"), "after": large})
    chosen = load(path, keys=["wanted"], verify=True)
    assert float(chosen["wanted"][-1]) == (1 << 17) - 1
    assert (1 << 19) <= _resident(path) < 2 << 20  # half a MiB wanted; the kernel maps neighbours that it has at hand
    whole = load(path, verify=True)
    assert _resident(path) > 64 << 20
    del chosen, whole


def test_keys_check_nothing_else(tmp_path):
    save(tmp_path / "m.msg", {"a": np.zeros(1), "b": np.ones(1)})
    content = bytearray((tmp_path / "m.msg").read_bytes())
    offset = inspect(content).tensors[0].offset
    content[offset] ^= 1
    (tmp_path / "m.msg").write_bytes(content)
    assert load(tmp_path / "m.msg", keys=["b"], verify=True)["b"].to_host() == 1
    with pytest.raises(FormatError, match="'a'"):
        load(tmp_path / "m.msg", verify=True)


class Failing:
    """The pieces of a message, with an error after the first."""

    def __init__(self, error):
        self.error = error

    def __call__(self, _message):
        yield 0, b"\x94half"
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    from sparknet.serialization import writing

    path = tmp_path / "w.msg"
    save(path, WEIGHTS)
    monkeypatch.setattr(writing, "pieces", Failing(error))
    with pytest.raises(type(error)):
        save(path, np.zeros(10))
    monkeypatch.undo()
    assert load(path) == WEIGHTS
    assert [p.name for p in tmp_path.iterdir()] == ["w.msg"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_of_the_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "w.msg"
    save(path, WEIGHTS)

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(replacing.os, step, fail)
    if step == "replace":
        monkeypatch.setattr(replacing.Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        save(path, np.zeros(10))
    monkeypatch.undo()
    assert load(path) == WEIGHTS
    assert [p.name for p in tmp_path.iterdir()] == ["w.msg"]


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, replacing.Path.replace
    monkeypatch.setattr(replacing.os, "fsync", lambda fd: calls.append(stat.S_IFMT(os.fstat(fd).st_mode)) or fsync(fd))
    monkeypatch.setattr(replacing.Path, "replace", lambda a, b: calls.append("replace") or replace(a, b))
    save(tmp_path / "w.msg", WEIGHTS)
    assert calls == [stat.S_IFREG, "replace", stat.S_IFDIR]


def test_where_the_directory_cannot_be_synced_the_new_file_stands(tmp_path, monkeypatch):
    path = tmp_path / "w.msg"
    save(path, np.zeros(10))
    fsync = os.fsync

    def fail(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(replacing.os, "fsync", fail)
    with pytest.raises(OSError, match="Invalid argument"):
        save(path, WEIGHTS)
    monkeypatch.undo()
    assert load(path) == WEIGHTS
    assert [p.name for p in tmp_path.iterdir()] == ["w.msg"]


def test_a_missing_directory_is_an_error_that_names_the_path_and_the_fix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "No such file or directory; its directory has to be there, and to be readable and writable: 'no/w.msg'"
    with pytest.raises(FileNotFoundError, match=text) as caught:
        save("no/w.msg", WEIGHTS)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "no/w.msg")


# ---- what is there already


def test_permissions_of_a_file_that_is_replaced_are_kept_from_the_first_byte_on(tmp_path, monkeypatch):
    from sparknet.serialization import writing

    path, seen = tmp_path / "w.msg", []

    def watched(message):
        (temporary,) = tmp_path.glob(".sparknet-*")
        seen.append(stat.S_IMODE(temporary.stat().st_mode))
        return pieces(message)

    pieces = writing.pieces
    monkeypatch.setattr(writing, "pieces", watched)
    for mode in 0o600, 0o664, 0o440:
        path.touch()
        path.chmod(mode)
        save(path, WEIGHTS)
        assert (seen.pop(), stat.S_IMODE(path.stat().st_mode)) == (mode, mode)


def test_a_link_stays_one_and_the_file_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "w.msg", tmp_path / "there" / "target.msg"
    link.symlink_to("there/target.msg")
    for obj in WEIGHTS, WEIGHTS + 1.0:  # the first makes the target, the second replaces it
        save(link, obj)
        assert link.is_symlink()
        assert load(target) == obj
    assert [p.name for p in target.parent.iterdir()] == ["target.msg"]


def test_links_that_lead_round_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        save(tmp_path / "a", WEIGHTS)


def test_what_is_no_regular_file_is_refused_and_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("link").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")

    def found():
        return {path.name: (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in [tmp_path, *tmp_path.iterdir()]}

    before = found()
    for path in "fifo", "link", "socket":
        with pytest.raises(OSError, match=rf"Not a regular file.* dump\(obj, open\(path, 'wb'\)\): '{path}'"):
            save(path, WEIGHTS)
    with pytest.raises(IsADirectoryError, match="Is a directory; name a file in it"):
        save(tmp_path, WEIGHTS)
    assert found() == before


def test_saving_takes_no_memory_of_the_size_of_the_message(tmp_path):
    script = """
import resource, sys, numpy as np, sparknet
array = np.zeros((4096, 4096), ">f4", order="F")  # 64 MiB, to be converted
array[:] = 1
sparknet.save(sys.argv[1], {"warm": array[:2]})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sparknet.save(sys.argv[1], {"a": array})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.msg"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 16 * 1024  # KiB
    assert resource.RUSAGE_SELF == 0


@given(st.lists(messages_of(), max_size=4))
def test_a_stream_gives_the_objects_back_one_after_another(objects):
    stream = io.BytesIO()
    sizes = [dump(obj, stream) for obj in objects]
    assert stream.getvalue() == b"".join(map(dumps, objects))
    assert sum(sizes) == len(stream.getvalue())
    stream.seek(0)
    assert [dumps(back) for back in iter_load(stream)] == [dumps(obj) for obj in objects]


def test_nothing_is_read_behind_a_message():
    stream = io.BytesIO(dumps(WEIGHTS) + b"the caller's own")
    assert next(iter_load(stream)) == WEIGHTS
    assert stream.read() == b"the caller's own"


@given(weight_collections(), st.data())
def test_a_stream_that_ends_within_a_message_is_truncated(weights, data):
    message = dumps(weights)
    stream = io.BytesIO(message + message[: data.draw(st.integers(1, len(message) - 1))])
    found = iter_load(stream)
    next(found)
    with pytest.raises(FormatError, match="truncated message"):
        next(found)


def test_arrays_of_a_stream_are_writable_and_verified():
    message = dumps(NDArray(np.zeros(4)))
    array = next(iter_load(io.BytesIO(message)))
    array += 1.0
    damaged = bytearray(message)
    damaged[-1] ^= 1
    with pytest.raises(FormatError, match="checksum"):
        next(iter_load(io.BytesIO(damaged)))
    next(iter_load(io.BytesIO(damaged), verify=False))


class Trickle(io.RawIOBase):
    """A raw stream that takes and gives a few bytes at a time, as a socket may."""

    def __init__(self):
        self.data = bytearray()

    def readable(self):
        return True

    def writable(self):
        return True

    def write(self, data):
        self.data += data[:7]
        return min(7, len(data))

    def readinto(self, target):
        count = min(5, len(target), len(self.data))
        target[:count] = self.data[:count]
        del self.data[:count]
        return count


def test_a_stream_may_take_and_give_less_than_asked():
    stream = Trickle()
    dump(WEIGHTS, stream)
    assert next(iter_load(stream)) == WEIGHTS


class ReadOnlyRead:
    """A file-like object with ``read`` alone."""

    def __init__(self, data):
        self.read = io.BytesIO(data).read


def test_a_stream_needs_read_alone():
    assert list(iter_load(ReadOnlyRead(dumps(WEIGHTS) * 2))) == [WEIGHTS, WEIGHTS]


LARGE = {"x": np.random.default_rng(0).standard_normal(700_000), "y": np.arange(5)}


def sent_and_received(sending, receiving, hang_up):
    """What comes out of one end when two messages are written to the other."""

    def send():
        for obj in WEIGHTS, LARGE:
            dump(obj, sending)
        hang_up()

    sender = threading.Thread(target=send)
    sender.start()
    received = list(iter_load(receiving))
    sender.join()
    return [dumps(obj) for obj in received]


@pytest.mark.parametrize("timeout", [None, 30.0])
@pytest.mark.parametrize("made", ["socket", "buffered file", "raw file"])
def test_messages_travel_over_a_socket(made, timeout):
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(timeout)
        there.settimeout(timeout)
        sending, receiving = {
            "socket": lambda: (here, there),
            "buffered file": lambda: (here.makefile("wb"), there.makefile("rb")),
            "raw file": lambda: (here.makefile("wb", buffering=0), there.makefile("rb", buffering=0)),
        }[made]()

        def hang_up():
            if made != "socket":
                sending.close()
            here.shutdown(socket.SHUT_WR)

        assert sent_and_received(sending, receiving, hang_up) == [dumps(WEIGHTS), dumps(LARGE)]


@pytest.mark.parametrize("buffering", [0, -1])
def test_messages_travel_through_a_pipe(buffering):
    source, sink = os.pipe()
    with os.fdopen(source, "rb", buffering) as receiving, os.fdopen(sink, "wb", buffering) as sending:
        assert sent_and_received(sending, receiving, sending.close) == [dumps(WEIGHTS), dumps(LARGE)]


def test_messages_travel_between_processes():
    script = (
        "import sys, sparknet; [sparknet.dump(obj, sys.stdout.buffer) for obj in sparknet.iter_load(sys.stdin.buffer)]"
    )
    stream = dumps(WEIGHTS) + dumps(LARGE)
    assert (
        subprocess.run([sys.executable, "-c", script], input=stream, capture_output=True, check=True).stdout == stream
    )


def test_a_stream_that_does_not_block_is_refused():
    here, there = socket.socketpair()
    with here, there, here.makefile("wb", buffering=0) as sending, there.makefile("rb", buffering=0) as receiving:
        here.setblocking(False)
        there.setblocking(False)
        with pytest.raises(BlockingIOError):
            next(iter_load(there))
        with pytest.raises(BlockingIOError, match=r"reading needs one that blocks"):
            next(iter_load(receiving))
        with pytest.raises(BlockingIOError, match=r"dump\(\) needs one that blocks"):
            dump(LARGE, sending)


def test_a_stream_that_takes_nothing_is_an_error():
    class Full(io.RawIOBase):
        def write(self, _):
            return 0

    with pytest.raises(OSError, match=r"Full\.write\(\) took 0 of \d+ bytes; dump\(\) needs one that takes some"):
        dump(WEIGHTS, Full())


def test_what_is_no_stream_is_refused():
    for call in lambda: dump(WEIGHTS, 7), lambda: next(iter_load(7)):
        with pytest.raises(TypeError, match="got int, expected a socket or a file object"):
            call()
