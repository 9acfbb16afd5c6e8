"""Checkpoints in folders of other file systems, through fsspec: with the bits of a directory, and whole after a kill at any moment."""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
from kept_training import facts, names, start, train
from strategies import share

from sparknet import DataError, FormatError, NDArray, WeightCollection
from sparknet.checkpoint import Checkpoint, Position, remote_place
from sparknet.checkpoint.place import local_path
from sparknet.errors import MissingDependency
from sparknet.nets import MLP

fsspec = importlib.import_module("fsspec") if os.environ.get("CI") else pytest.importorskip("fsspec")
memory_module = importlib.import_module("fsspec.implementations.memory")
local_module = importlib.import_module("fsspec.implementations.local")

URL = "memory://kept/run"


class Disk(local_module.LocalFileSystem):
    """A file system with real files, whose copies a kill cuts; `file://` itself is a directory for sparknet."""

    protocol = "disk"

    @classmethod
    def _strip_protocol(cls, path):  # the oldest fsspec that is taken knows `file://` alone here
        return super()._strip_protocol(str(path).removeprefix("disk://"))


fsspec.register_implementation("disk", Disk, clobber=True)


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.setattr(memory_module.MemoryFileSystem, "store", {})
    monkeypatch.setattr(memory_module.MemoryFileSystem, "pseudo_dirs", [""])
    remote_place._say_unlocked.cache_clear()
    return fsspec.filesystem("memory")


@pytest.fixture(params=["memory", "disk"])
def url(request, tmp_path, memory):
    del memory
    return URL if request.param == "memory" else f"disk://{tmp_path}/run/"


def system_of(url):
    return fsspec.core.url_to_fs(url)


def files_of(url):
    """The files, without the names that folders have of their own: round -> files, and what is no round."""
    system, root = system_of(url)
    found = {}
    for path in system.find(root):
        folder, _, file = path.removeprefix(root).strip("/").rpartition("/")
        found.setdefault(folder.rpartition("-")[0], []).append(file)
    return found


def folders_of(url):
    return [folder.name[: len("round-000000")] for folder in Checkpoint(url, {}).folders()]


def position(number):
    weights = WeightCollection({"ip": [np.full(3, number, np.float32)]})
    return Position(number + 1, weights, [{"iteration": NDArray(np.int64(number))}], [number])


# ---- the bits
@pytest.mark.parametrize("policy", ["average", "local"])
def test_three_rounds_and_three_more_are_six(url, policy):
    there = [train(url, rounds=rounds, solver_state=policy) for rounds in (3, 6)]
    assert facts(there[0]) + facts(there[1]) == facts(train(solver_state=policy))


def test_a_round_is_a_folder_with_the_files_of_a_round_on_a_disk_and_one_that_names_them(url):
    train(url, rounds=4, keep=2)
    files = ["position.sparknet", "state-0.sparknet", "weights.sparknet", "whole.json"]
    assert files_of(url) == {"": ["run.json"], "round-000002": files, "round-000003": files}
    assert folders_of(url) == ["round-000002", "round-000003"]


def test_what_is_run_is_listed(url):
    for rounds in (1, 2):
        train(url, rounds=rounds)
    system, root = system_of(url)
    assert [run["first_round"] for run in json.loads(system.cat_file(f"{root}/run.json"))["runs"]] == [0, 1]


def test_a_copy_of_it_on_a_disk_is_a_checkpoint_too(memory, tmp_path):
    train(URL, rounds=3)
    memory.get("/kept/run/", str(tmp_path / "copy"), recursive=True)
    assert facts(train(tmp_path / "copy")) == facts(train())[3:]


def test_a_finished_training_names_the_place(url, caplog):
    train(url, rounds=2)
    assert train(url, rounds=2) == []
    assert f"the checkpoint in {url} has 2 rounds already" in caplog.text


def test_what_needs_no_more_than_a_directory_is_one(tmp_path):
    for at, place in enumerate((f"file://{tmp_path}/run", f"local://{tmp_path}/run", f"file:{tmp_path}/run")):
        assert facts(train(place, rounds=at + 1)) == facts(train(rounds=at + 1))[at:]
        assert names(tmp_path / "run")[-1] == f"round-{at:06d}"
    first, second = start(f"file://{tmp_path}/run"), start(tmp_path / "run")
    next(first)
    with pytest.raises(DataError, match="writes there"):
        next(second)


# ---- killed
class Killed(BaseException):
    """The process ends here."""


class Dying:
    """Lets the process die before one of its changes of the file system, or in the midst of it."""

    def __init__(self, monkeypatch, system):
        self.left, self.is_cut, self.originals = -1, False, {}
        for name in ("mkdir", "pipe_file", "put_file", "rm_file", "rmdir"):
            self.originals[name] = getattr(system, name)
            monkeypatch.setattr(system, name, self.watched(name))
        monkeypatch.setattr(system, "rm", self.remove)

    @staticmethod
    def remove(system, path, *, recursive):
        """Remove the files of a folder in an order that no round survives; a store may take any."""
        assert recursive
        for file in system.find(path):
            system.rm_file(file)
        system.rmdir(path)

    def watched(self, name):
        def call(system, path, *args, **options):
            if self.left == 0:
                if self.is_cut and name in {"pipe_file", "put_file"}:
                    target, content = (path, *args) if name == "pipe_file" else (*args, Path(path).read_bytes())
                    self.originals["pipe_file"](system, target, content[: len(content) // 2])
                raise Killed
            self.left -= 1
            return self.originals[name](system, path, *args, **options)

        return call

    def at(self, change, call):
        """Call, and die at a change; return whether it came so far."""
        self.left = change
        try:
            call()
        except Killed:
            return True
        finally:
            self.left = -1
        return False


@pytest.mark.parametrize("is_cut", [False, True], ids=["before a change", "in the midst of one"])
def test_after_a_kill_at_any_change_the_place_is_the_round_before_or_the_new_one_and_the_next_writer_goes_on(
    memory, monkeypatch, is_cut
):
    dying, positions, found = Dying(monkeypatch, memory_module.MemoryFileSystem), [*map(position, range(4))], []
    dying.is_cut, is_killed = is_cut, True
    while is_killed:
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]
        checkpoint = Checkpoint(URL, {}, keep=1)
        checkpoint.write(positions[0])
        dying.at(3, partial(checkpoint.write, positions[1]))  # leaves a part of a round, too
        checkpoint.write(positions[1])
        is_killed = dying.at(len(found), partial(checkpoint.write, positions[2]))
        read = Checkpoint(URL, {}, keep=1).read()
        found.append(read.rounds)
        for folder in checkpoint.folders():  # each one that counts: a person may remove the last
            assert len(memory.ls(f"/kept/run/{folder.name}")) == 4
        assert (read.weights, read.steps) == (positions[read.rounds - 1].weights, positions[read.rounds - 1].steps)
        for each in positions[read.rounds :]:
            Checkpoint(URL, {}, keep=1).write(each)
        assert [*files_of(URL)] == ["round-000003"]
    assert found == sorted(found)  # one of the changes makes the new round the last one
    assert (found[0], found[-1]) == (2, 3)
    assert 3 in found[:-1]  # it was killed while the round before was removed, too
    assert len(found) > 10


TRAINS = """
import sys
import test_checkpoint_elsewhere as here
for r in here.start(sys.argv[1], here.LARGE, rounds=100_000):
    print(r.index, flush=True)
"""
MOMENTS = int(os.environ.get("SPARKNET_MOMENTS", share(3)))
LARGE = MLP.factory((1, 5, 5), 3, (20_000,), learning_rate=0.01)  # most of a round is writing
PATH = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * MOMENTS)
def test_a_training_that_is_killed_at_any_time_and_begun_again_ends_with_the_same_bits(tmp_path):
    chance, printed, url = Random(3), [-1], f"disk://{tmp_path}/run"
    environment = {**PATH, "TMPDIR": str(tmp_path)}  # for the scratch directories that a kill leaves
    for _ in range(MOMENTS):
        with subprocess.Popen(
            [sys.executable, "-c", TRAINS, url], stdout=subprocess.PIPE, text=True, env=environment
        ) as training:
            found = [int(training.stdout.readline())]
            time.sleep(chance.uniform(0, 0.1))
            training.send_signal(signal.SIGKILL)
            found += map(int, training.stdout.read().split())
        # the last one again, if it was not written yet; one that was written and not yielded yet is passed over
        assert found[0] - printed[-1] in {0, 1, 2}
        printed = found
    rest = train(url, LARGE, rounds=printed[-1] + 3)
    assert rest[-1].weights == train(make=LARGE, rounds=printed[-1] + 3)[-1].weights


def test_no_scratch_directory_and_no_trial_is_left(url, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    system, root = system_of(url)
    rounds = start(url, rounds=2)
    system.pipe_file(f"{root}/.sparknet-trial-0", b"of a killed process")
    list(rounds)
    train(url, rounds=3)
    assert names(scratch) == []
    assert {"", "round-000001", "round-000002"} == files_of(url).keys()
    assert files_of(url)[""] == ["run.json"]


# ---- what is no whole round
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"files": 7}', b'{"files": ["../weights.sparknet"]}', b"[" * 99_999],
)
def test_a_folder_whose_list_of_files_is_cut_or_something_else_is_no_round(memory, content):
    train(URL, rounds=2)
    _, last = Checkpoint(URL, {}).folders()
    memory.pipe_file(f"/kept/run/{last.name}/whole.json", content)
    assert folders_of(URL) == ["round-000000"]
    assert facts(train(URL)) == facts(train())[1:]
    assert folders_of(URL) == ["round-000004", "round-000005"]


@pytest.mark.parametrize("name", ["weights", "state-0", "position"])
@pytest.mark.parametrize("is_cut", [False, True])
def test_damage_is_named_with_what_to_remove_and_then_training_goes_on(url, name, is_cut):
    train(url, rounds=3)
    system, root = system_of(url)
    before, last = Checkpoint(url, {}).folders()
    file = f"{root}/{last.name}/{name}.sparknet"
    content = system.cat_file(file)
    system.rm_file(file)
    if is_cut:
        system.pipe_file(file, content[:90])
    with pytest.raises(FormatError) as caught:
        start(url)
    assert str(caught.value).startswith(f"checkpoint: {last} is damaged: ")
    assert str(caught.value).endswith(f"; remove this directory to go on from {before}")
    assert str(last).startswith(url.rstrip("/") + "/round-000002-")
    system.rm(f"{root}/{last.name}", recursive=True)
    assert facts(train(url)) == facts(train())[2:]


def test_settings_of_another_training_are_refused_with_the_url(memory):
    del memory
    train(URL, rounds=1)
    with pytest.raises(DataError, match=f"got seed=8, expected seed=7, with which {URL}/round-000000-[0-9a-f]* was"):
        start(URL, seed=8)
    with pytest.raises(DataError, match=f"resume=False, and a checkpoint in {URL}/round-000000-"):
        start(URL, resume=False)


# ---- two trainings
def test_that_there_are_no_locks_is_said_once(memory, caplog):
    del memory
    train(URL, rounds=1)
    train(URL, rounds=2)
    said = [record.getMessage() for record in caplog.records]
    assert sum(f"{URL} has no locks" in each for each in said) == 1


def test_a_training_that_another_has_overtaken_is_refused_before_it_puts_a_round(memory):
    del memory
    second = start(URL)
    first = train(URL, rounds=2)
    with pytest.raises(DataError, match=r"round-000000-.* is there already, expected round 0 to be the next"):
        next(second)
    assert Checkpoint(URL, {}).read().weights == first[-1].weights


def test_a_training_that_is_overtaken_while_it_puts_a_round_leaves_that_of_the_other(memory, monkeypatch):
    put, own, other = memory_module.MemoryFileSystem.put_file, Checkpoint(URL, {}), Checkpoint(URL, {})
    own.write(position(0))

    def put_after_the_other(system, source, target, **options):
        monkeypatch.setattr(memory_module.MemoryFileSystem, "put_file", put)
        other.write(position(1))
        put(system, source, target, **options)

    monkeypatch.setattr(memory_module.MemoryFileSystem, "put_file", put_after_the_other)
    with pytest.raises(DataError, match=r"round-000001-.* is there already"):
        own.write(position(1))
    assert folders_of(URL) == ["round-000000", "round-000001"]
    assert other.read().weights == position(1).weights
    del memory


def test_the_same_round_of_two_trainings_is_refused(memory):
    Checkpoint(URL, {}).write(position(1))
    (folder,) = Checkpoint(URL, {}).folders()
    memory.copy(f"/kept/run/{folder.name}", f"/kept/run/round-000001-{'0' * 16}", recursive=True)
    for call in (Checkpoint(URL, {}).read, lambda: Checkpoint(URL, {}).write(position(2))):
        with pytest.raises(DataError, match="are the same round, expected one: two trainings have written there"):
            call()


# ---- what cannot be written, and what is missing
def refusing(error):
    def refuse(*_, **__):
        raise error

    return refuse


class ClientError(Exception):
    """Of a driver."""


WHAT = "; a checkpoint needs a folder that can be listed, read, written and removed from"


@pytest.mark.parametrize("operation", ["ls", "pipe_file", "cat_file", "rm_file"])
@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (PermissionError("Forbidden"), PermissionError, "Forbidden"),
        (PermissionError(13, "Access Denied"), PermissionError, "Access Denied"),
        (ClientError("no such bucket"), OSError, "ClientError: no such bucket"),
        (NotImplementedError(), OSError, "NotImplementedError:"),
        (OSError("no libjvm\nlooked for in /usr/lib"), OSError, "no libjvm"),
    ],
)
def test_a_place_that_refuses_is_told_at_the_call(memory, monkeypatch, operation, error, kind, text):
    del memory
    monkeypatch.setattr(memory_module.MemoryFileSystem, operation, refusing(error))
    with pytest.raises(kind) as caught:
        start(URL)
    assert caught.value.strerror == text + WHAT
    assert caught.value.filename == URL


def test_a_store_that_lets_nobody_make_folders_needs_none(memory, monkeypatch):
    del memory
    monkeypatch.setattr(memory_module.MemoryFileSystem, "mkdir", refusing(PermissionError("Forbidden")))
    monkeypatch.setattr(memory_module.MemoryFileSystem, "mkdirs", lambda *_, **__: None)  # that of each copy
    assert facts(train(URL, rounds=2)) == facts(train(rounds=2))
    assert folders_of(URL) == ["round-000000", "round-000001"]


def test_a_folder_in_a_folder_that_is_not_there_is_told_at_the_call(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such file or directory; a checkpoint needs a folder that can be"):
        start(f"disk://{tmp_path}/new/deep")


def test_a_place_that_does_not_keep_what_is_written_is_told_at_the_call(memory, monkeypatch):
    del memory
    monkeypatch.setattr(memory_module.MemoryFileSystem, "cat_file", lambda *_: b"something else")
    with pytest.raises(OSError, match="What was written there is not there, or is something else; a checkpoint needs"):
        start(URL)


def test_a_round_that_cannot_be_put_ends_the_training_and_those_before_stay(memory, monkeypatch):
    rounds = start(URL)
    next(rounds)
    next(rounds)
    with monkeypatch.context() as patch:
        patch.setattr(memory_module.MemoryFileSystem, "put_file", refusing(ClientError("quota")))
        with pytest.raises(
            OSError, match=r"ClientError: quota; this round cannot be kept, those before are whole .*/round-00000"
        ):
            list(rounds)
    found = len(Checkpoint(URL, {}).folders())
    assert found
    (last,) = {int(each[-6:]) for each in folders_of(URL)[-1:]}
    assert facts(train(URL)) == facts(train())[last + 1 :]
    del memory


def test_a_folder_that_holds_something_else_is_left_alone(memory):
    memory.pipe_file("/kept/run/thesis.tex", b"x")
    with pytest.raises(DataError, match=f"{URL} holds 'thesis.tex'; expected a folder for this alone, new or empty"):
        start(URL)
    assert memory.find("/") == ["/kept/run/thesis.tex"]


def test_without_fsspec_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(
        MissingDependency, match=r"s3://bucket/run: s3:// is reached through .*: pip install 'sparknet\[fsspec\]'"
    ):
        start("s3://bucket/run")


def test_a_driver_that_is_missing_is_named(monkeypatch):
    fsspec.register_implementation("undriven", "no_such_package.System", errtxt="Install no_such_package", clobber=True)
    with pytest.raises(
        MissingDependency, match="undriven://x: fsspec cannot import its driver: Install no_such_package"
    ):
        start("undriven://x")
    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)  # that of HDFS is imported when it connects
    with pytest.raises(MissingDependency, match=r"hdfs://host/run: fsspec cannot import its driver: .*pyarrow"):
        Checkpoint("hdfs://host/run", {})


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            "nonesuch://x",
            "nonesuch://x: fsspec has no file system nonesuch://; expected the path of a directory, or a scheme",
        ),
        ("file://run", "expected file:///run for an absolute path, or a path without file://"),
        ("hdfs:/run", r"expected hdfs://run as text: .*A directory of this name is ./hdfs:/run"),
        (Path("s3://bucket/run"), "expected s3://bucket/run as text: a Path takes a slash from it"),
        ("simplecache::s3://bucket/run", "expected one scheme"),
    ],
)
def test_what_is_no_url_is_told_with_the_fix(wrong, text):
    with pytest.raises(DataError, match=text):
        start(wrong)


@pytest.mark.parametrize("path", ["run", "./hdfs:/run", "a:/b", "/x/memory://y", "C:/x", "", "a:b"])
def test_what_only_looks_like_a_url_is_a_path(path):
    assert local_path(path) == Path(path)
