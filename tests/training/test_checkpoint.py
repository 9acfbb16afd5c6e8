"""Checkpoints: a training that goes on has the bits of one that was never broken off, whatever happened to it."""

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_training import COLUMNS, DATA, FACTORY, FIELDS, facts, names, start, train
from strategies import mappings, max_examples, share, weight_collections
from without_steps import rounds_without_steps

from sparknet import (
    DataError,
    FormatError,
    NDArray,
    SchemaError,
    dumps,
    inspect,
    load,
    save,
)
from sparknet.averaging import WeightedMean
from sparknet.checkpoint import Checkpoint, Position
from sparknet.data import pack
from sparknet.data.preprocess import Compose, Mirror, Scale, SubtractMean
from sparknet.nets import MLP


# ---- the bits
class Timed(MLP):
    """Moves a clock of its own on, by a time that depends on the minibatch."""

    clock = SimpleNamespace(now=0)

    def step(self, batch):
        self.clock.now += int(batch["label"].to_host().sum())
        return super().step(batch)


@pytest.mark.parametrize("policy", ["average", "local", "reset"])
@pytest.mark.parametrize("sampling", ["epoch", "window"])
@pytest.mark.parametrize("limit", [None, 13])
def test_three_rounds_and_three_more_are_six(tmp_path, monkeypatch, policy, sampling, limit):
    monkeypatch.setattr("sparknet.worker.time", SimpleNamespace(perf_counter=lambda: Timed.clock.now))
    options = {"solver_state": policy, "sampling": sampling, "max_seconds": limit, "tau": 5, "workers": 3}
    make = Timed.factory((1, 5, 5), 3, (4,), learning_rate=0.1)
    there = [train(tmp_path, make, rounds=rounds, **options) for rounds in (3, 6)]
    here = train(make=make, **options)
    assert facts(there[0]) + facts(there[1]) == facts(here)
    steps = Checkpoint(tmp_path, {}).read().steps
    assert sum(steps) == sum(r.steps for r in here)
    assert (len(set(steps)) > 1) == (limit is not None)


@max_examples(20)
@given(
    stops=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=3),
    options=st.fixed_dictionaries(
        {
            "workers": st.integers(1, 3),
            "tau": st.integers(0, 9),
            "seed": st.sampled_from([0, 7, 2**127]),
            "solver_state": st.sampled_from(["average", "local", "reset"]),
            "sampling": st.sampled_from(["epoch", "window"]),
        }
    ),
)
def test_wherever_a_training_is_broken_off_the_bits_are_the_same(stops, options):
    """After so many rounds: it was asked for no more, or its caller left the loop."""
    with tempfile.TemporaryDirectory() as directory, rounds_without_steps():
        found = []
        for stop, leaves in sorted(stops):
            rounds = start(directory, rounds=4 if leaves else stop, **options)
            found += itertools.islice(rounds, max(0, stop - len(found)))
            rounds.close()
        found += train(directory, rounds=4, **options)
        assert facts(found) == facts(train(rounds=4, **options))


def test_what_decides_no_place_in_the_data_may_change(tmp_path):
    train(tmp_path, rounds=2)
    changed = {"tau": 4, "rule": WeightedMean(), "max_seconds": 1e9, "evaluate": (DATA, 1)}
    (third,) = train(tmp_path, rounds=3, **changed)
    assert (third.index, third.steps) == (2, 8)
    assert third.metrics


def test_a_finished_training_yields_nothing_more_and_says_so_once(tmp_path, caplog):
    train(tmp_path, rounds=2)
    assert train(tmp_path, rounds=2) == train(tmp_path, rounds=1) == []
    said = f"the checkpoint in {tmp_path} has 2 rounds already, rounds=%d: nothing is left"
    assert _said(caplog) == [said % 2, said % 1]


def test_the_weights_of_a_checkpoint_win_over_given_ones(tmp_path):
    other = FACTORY(seed=99).get_weights()
    train(tmp_path, rounds=3, weights=other)
    assert facts(train(tmp_path, weights=FACTORY(seed=1).get_weights())) == facts(train(weights=other))[3:]


# ---- the files
@max_examples(30)
@given(weight_collections(), st.lists(mappings(), min_size=1, max_size=3), st.lists(st.integers(0, 2**62), max_size=3))
def test_what_is_read_is_what_was_written(weights, states, steps):
    with tempfile.TemporaryDirectory() as directory:
        Checkpoint(directory, {"seed": 2**200}).write(Position(1_234_568, weights, states, steps), nonfinite=True)
        found = Checkpoint(directory, {"seed": 2**200}).read()
    assert (found.rounds, found.steps, dumps(found.weights)) == (1_234_568, steps, dumps(weights))
    assert [*map(dumps, found.states)] == [*map(dumps, states)]


@pytest.mark.parametrize(("policy", "states"), [("average", 1), ("local", 2), ("reset", 1)])
def test_the_last_two_rounds_are_kept_in_files_that_anybody_can_read(tmp_path, policy, states):
    directory = tmp_path / "new" / "deep"
    last = train(directory, rounds=4, solver_state=policy)[-1]
    assert names(directory) == ["round-000002", "round-000003"]
    folder = directory / "round-000003"
    assert names(folder) == ["position.sparknet", *(f"state-{i}.sparknet" for i in range(states)), "weights.sparknet"]
    assert load(folder / "weights.sparknet") == last.weights
    assert int(load(folder / "state-0.sparknet")["iteration"]) == 12
    assert load(folder / "position.sparknet")["steps"].to_host().tolist() == [12, 12]
    assert inspect(folder / "position.sparknet").metadata["settings"]["seed"] == "7"


@pytest.mark.parametrize(("keep", "kept"), [(1, [5]), (3, [3, 4, 5]), (9, [0, 1, 2, 3, 4, 5])])
def test_so_many_of_the_last_rounds_are_kept(tmp_path, keep, kept):
    train(tmp_path, keep=keep)
    assert names(tmp_path) == [f"round-{index:06d}" for index in kept]
    train(tmp_path, rounds=7, keep=1)
    assert names(tmp_path) == ["round-000006"]


@pytest.mark.parametrize("keep", [0, -1, 2.0, None, True])
def test_at_least_one_round_is_kept(tmp_path, keep):
    with pytest.raises(ValueError, match=r"averaged_sgd\(\): keep=.*; expected a whole number of rounds of at least 1"):
        start(tmp_path / "new", keep=keep)
    with pytest.raises(ValueError, match=r"checkpoint: keep=.*; expected a whole number of rounds of at least 1"):
        Checkpoint(tmp_path / "new", {}, keep=keep)
    assert names(tmp_path) == []


def test_a_checkpoint_from_before_there_were_ragged_minibatches_is_read_as_reshape(tmp_path):
    train(tmp_path, rounds=2)
    file = tmp_path / "round-000001" / "position.sparknet"
    old = dict(inspect(file).metadata)
    old["settings"] = {name: value for name, value in old["settings"].items() if name != "ragged"}
    save(file, load(file, mmap=False), metadata=old)
    assert facts(train(tmp_path, rounds=3, resume=True)) == facts(train(rounds=3))[2:]
    with pytest.raises(DataError, match="got ragged=drop, expected ragged=reshape"):
        train(tmp_path, data=replace(DATA, ragged="drop"), resume=True)


def test_a_round_is_kept_before_the_next_one_is_yielded_and_the_time_that_this_took_is_told(tmp_path):
    before = None
    for current in start(tmp_path, rounds=4):
        if before is not None:
            assert load(tmp_path / f"round-{before.index:06d}" / "weights.sparknet") == before.weights
        assert 0 <= current.seconds.checkpoint < current.seconds.total
        before = current


def test_a_round_gets_its_name_when_all_of_it_is_on_the_disk_and_then_the_name_is_too(tmp_path, monkeypatch):
    synced, sync, rename = [], os.fsync, Path.rename

    def watched_sync(descriptor):
        sync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    def watched_rename(folder, target):
        assert {file.stat().st_ino for file in folder.iterdir()} < set(synced)
        assert synced[-1] == folder.stat().st_ino
        synced.clear()
        rename(folder, target)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    train(tmp_path, rounds=1, solver_state="local")
    assert synced == [tmp_path.stat().st_ino]


# ---- killed
KILLED_AT_SOME_LINE = """
import os, signal, sys, threading
import test_checkpoint as here
from random import Random
from sparknet import worker
from sparknet.checkpoint import directory as rounds, local_place, round_files, writer
from sparknet.files import locking, replacing
from sparknet.serialization.memory import streams
from sparknet.serialization import writing
from sparknet.training import driver, run

watched = {module.__file__ for module in (driver, local_place, locking, replacing, round_files, rounds, run, streams, worker, writer, writing)}
directory, chance = sys.argv[1], Random(5)

def train_and_die(at):
    lines = 0
    def trace(frame, event, argument):
        nonlocal lines
        if frame.f_code.co_filename not in watched:
            return None
        lines += event == "line"
        if lines == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    threading.settrace(trace)
    sys.settrace(trace)
    here.train(directory)
    os._exit(0)

for kills in range(100):
    at = chance.randrange(1, 1800)  # with a checkpoint to begin from, the first round is written after some 1,400 lines
    child = os.fork()
    if not child:
        train_and_die(at)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        break
print(kills, os.waitstatus_to_exitcode(status))
"""


# For scripts that import this file.
PATH = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}


def run(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=PATH)


def test_a_training_that_is_killed_at_any_line_and_begun_again_ends_with_the_same_bits(tmp_path):
    done = run(KILLED_AT_SOME_LINE, tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    kills, code = map(int, done.stdout.split())
    assert kills >= 5
    assert code == 0
    assert load(tmp_path / "kept" / "round-000005" / "weights.sparknet") == train()[-1].weights


TRAINS = """
import sys
import test_checkpoint as here
for r in here.start(sys.argv[1], here.LARGE, rounds=100_000):
    print(r.index, flush=True)
"""
# SPARKNET_MOMENTS=200 kills at 200 random moments instead of a few.
MOMENTS = int(os.environ.get("SPARKNET_MOMENTS", share(3)))
LARGE = MLP.factory((1, 5, 5), 3, (20_000,), learning_rate=0.01)  # most of a round is writing


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * MOMENTS)
def test_a_training_that_is_killed_at_any_time_and_begun_again_ends_with_the_same_bits(tmp_path):
    chance, printed, in_writing = Random(3), [-1], 0
    for _ in range(MOMENTS):
        with subprocess.Popen(
            [sys.executable, "-c", TRAINS, tmp_path], stdout=subprocess.PIPE, text=True, env=PATH
        ) as training:
            found = [int(training.stdout.readline())]
            time.sleep(chance.uniform(0, 0.1))
            training.send_signal(signal.SIGKILL)
            found += map(int, training.stdout.read().split())
        in_writing += any(tmp_path.glob(".unfinished-*/*"))
        # the last one again, if it was not written yet; one that was written and not yielded yet is passed over
        assert found[0] - printed[-1] in {0, 1, 2}
        assert found == list(range(found[0], found[0] + len(found)))
        printed = found
    assert in_writing or MOMENTS < 20  # so many kills hit a round that is being written, too
    rest = train(tmp_path, LARGE, rounds=printed[-1] + 3)
    assert rest[-1].weights == train(make=LARGE, rounds=printed[-1] + 3)[-1].weights


def test_what_a_killed_training_left_behind_is_removed(tmp_path):
    train(tmp_path, rounds=1)
    (tmp_path / ".unfinished-0").mkdir()
    (tmp_path / ".unfinished-0" / "weights.sparknet").touch()
    train(tmp_path, rounds=2)
    assert names(tmp_path) == ["round-000000", "round-000001"]


# ---- what does not fit
@pytest.mark.parametrize(
    ("setting", "got", "expected", "changed"),
    [
        ("seed", 8, 7, {"seed": 8}),
        ("solver_state", "local", "average", {"solver_state": "local"}),
        ("sampling", "window", "epoch", {"sampling": "window"}),
        ("num_batches", 17, 13, {"data": pack(COLUMNS, FIELDS, 4, DATA.preprocessor)}),
        ("batch_size", 4, 5, {"data": pack({n: c[:52] for n, c in COLUMNS.items()}, FIELDS, 4, DATA.preprocessor)}),
    ],
)
def test_another_training_is_refused_at_the_call_by_name(tmp_path, setting, got, expected, changed):
    train(tmp_path, rounds=2)
    text = (
        f"^checkpoint: got {setting}={got}, expected {setting}={expected}, with which .*round-000001 was written; "
        "go on with that, or name another directory for a new training$"
    )
    with pytest.raises(DataError, match=text) as caught:
        start(tmp_path, **changed)
    error = caught.value
    assert (error.setting, error.got, error.expected) == (setting, str(got), str(expected))


@pytest.mark.parametrize("change", ["a value", "the order"])
def test_other_data_of_the_same_sizes_is_refused_unless_it_is_meant(tmp_path, caplog, change):
    train(tmp_path, rounds=1)
    columns = {name: column.copy() for name, column in COLUMNS.items()}
    if change == "a value":
        columns["data"][64, 0, 5, 5] += 1e-3
    else:
        columns = {name: column[::-1] for name, column in columns.items()}
    with pytest.raises(DataError, match=r"got data=[0-9a-f]{32}, expected data=[0-9a-f]{32}, with which") as caught:
        start(tmp_path, data=pack(columns, FIELDS, 5, DATA.preprocessor))
    assert caught.value.setting == "data"
    (after,) = train(tmp_path, data=pack(columns, FIELDS, 5, DATA.preprocessor), rounds=2, resume="other data")
    assert after.index == 1
    said = [record.getMessage() for record in caplog.records]
    assert re.search(
        "round-000000 was written with data=[0-9a-f]{32}; this training goes on with data=[0-9a-f]{32}$", said[0]
    )
    with pytest.raises(DataError, match=r"got data="):  # it is the other data's checkpoint now
        start(tmp_path)
    with pytest.raises(DataError, match=r"got seed="):
        start(tmp_path, seed=8, resume="other data")


def test_a_checkpoint_from_before_there_were_fingerprints_is_gone_on_from(tmp_path):
    train(tmp_path, rounds=2)
    file = tmp_path / "round-000001" / "position.sparknet"
    settings = {name: value for name, value in inspect(file).metadata["settings"].items() if name != "data"}
    change(file, settings=settings)
    assert facts(train(tmp_path, rounds=3)) == facts(train(rounds=3))[2:]


def test_another_net_is_refused_at_the_call_and_the_round_named(tmp_path):
    train(tmp_path, rounds=1)
    with pytest.raises(SchemaError, match=r"round-000000: set_weights\(\): layer 'ip1', array 0 is .* \(4, 25\)"):
        start(tmp_path, MLP.factory((1, 5, 5), 3, (5,)))
    change(tmp_path / "round-000000" / "state-0.sparknet", {"iteration": NDArray(np.int64(3))})
    with pytest.raises(SchemaError, match=r"round-000000: set_state\(\): got arrays"):
        start(tmp_path)


def test_a_checkpoint_is_not_written_over(tmp_path):
    train(tmp_path, rounds=2)
    with pytest.raises(DataError, match=r"got resume=False, and a checkpoint in .*round-000001; .* another directory"):
        start(tmp_path, resume=False)
    assert len(train(tmp_path / "new", rounds=1, resume=False)) == 1


def test_a_second_training_in_one_directory_is_refused_and_the_first_goes_on(tmp_path):
    first, second = start(tmp_path), start(tmp_path)
    next(first), next(first)  # the first one is written by now
    text = rf"checkpoint: .*: process {os.getpid()} on .* writes there; .* of this process, which ends with rounds.close\(\)$"
    with pytest.raises(DataError, match=text):
        next(second)
    with pytest.raises(DataError, match=text):
        start(tmp_path)
    assert Checkpoint(tmp_path, {}).read().rounds in {1, 2}  # who reads is not kept out
    assert facts(first) == facts(train())[2:]
    assert names(tmp_path) == ["round-000004", "round-000005"]


def test_a_training_that_was_overtaken_is_refused_before_it_does_a_round(tmp_path):
    second = start(tmp_path)
    train(tmp_path, rounds=1)
    with pytest.raises(DataError, match=r"round-000000 is there already, expected round 0.*Give each a directory"):
        next(second)


@pytest.mark.parametrize("end", ["close", "forget", "break", "error"])
def test_a_directory_is_free_when_its_training_ends_however_it_does(tmp_path, end):
    if end == "error":
        with pytest.raises(DataError, match=r"got seed=8"):
            train(tmp_path, rounds=2), start(tmp_path, seed=8)
    elif end == "break":
        for _ in start(tmp_path):
            break
    else:
        rounds = start(tmp_path)
        next(rounds)
        if end == "close":
            rounds.close()
        del rounds
    assert train(tmp_path)[-1].weights == train()[-1].weights


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DataError, match=r"holds 'thesis.tex'; expected a directory for this alone, new or empty"):
        start(tmp_path)
    assert names(tmp_path) == ["thesis.tex"]


def test_another_version_of_the_format_is_told_from_damage(tmp_path):
    train(tmp_path, rounds=1)
    path = tmp_path / "round-000000" / "position.sparknet"
    save(path, load(path, mmap=False), metadata={"format": "sparknet checkpoint, version 2"})
    with pytest.raises(
        DataError, match="is a 'sparknet checkpoint, version 2', expected a 'sparknet checkpoint, version 1'"
    ):
        start(tmp_path)


@pytest.mark.parametrize("wrong", [5, b"bytes", True])
def test_a_checkpoint_is_a_path(wrong):
    with pytest.raises(TypeError, match=r"checkpoint=.*; expected the path of a directory"):
        start(wrong)


def test_a_training_that_is_refused_makes_no_directory(tmp_path):
    with pytest.raises(ValueError, match="tau=-1"):
        start(tmp_path / "new", tau=-1)
    assert names(tmp_path) == []


# ---- damage
@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    directory = tmp_path_factory.mktemp("kept")
    train(directory, rounds=3)
    return directory


FILES = ["position.sparknet", "state-0.sparknet", "weights.sparknet"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage", [partial(os.truncate, length=90), partial(os.truncate, length=0), os.remove], ids=["cut", "empty", "gone"]
)
def test_damage_is_named_with_what_to_remove_and_then_training_goes_on(kept, tmp_path, name, damage):
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "round-000002" / name)
    fix = r"round-000002 is damaged: .*; remove this directory to go on from .*round-000001$"
    with pytest.raises(FormatError, match=fix):
        start(tmp_path)
    shutil.rmtree(tmp_path / "round-000002")
    damage(tmp_path / "round-000001" / name)
    with pytest.raises(FormatError, match=r"round-000001 is damaged: .*; remove this directory to begin anew$"):
        start(tmp_path)
    shutil.rmtree(tmp_path / "round-000001")
    assert facts(train(tmp_path)) == facts(train())


@max_examples(60)
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_changed_byte_is_found(kept, name, place, change):
    path = kept / "round-000002" / name
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= change
    try:
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="round-000002 is damaged"):
            start(kept)
    finally:
        path.write_bytes(whole)


# ---- what belongs together
def change(file, content=None, **said):
    """Write a file anew, with another content or metadata; a value of None leaves that out."""
    content = load(file, mmap=False) if content is None else content
    metadata = {name: value for name, value in {**inspect(file).metadata, **said}.items() if value is not None}
    save(file, content, metadata=metadata)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A training with the same shapes and settings, but another learning rate."""
    directory = tmp_path_factory.mktemp("other")
    train(directory, MLP.factory((1, 5, 5), 3, (4,), learning_rate=0.2, momentum=0.9, weight_decay=0.01), rounds=3)
    return directory


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("source", ["another round", "another training"])
def test_a_file_of_another_round_or_training_is_refused(kept, other, tmp_path, name, source):
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    folder = other / "round-000002" if source == "another training" else kept / "round-000001"
    shutil.copy(folder / name, tmp_path / "round-000002")
    fix = r"round-000002 is damaged: .*files of several rounds or trainings are mixed; remove this directory to go on"
    with pytest.raises(FormatError, match=fix):
        start(tmp_path)
    shutil.rmtree(tmp_path / "round-000002")
    assert facts(train(tmp_path)) == facts(train())[2:]


def test_a_round_under_the_name_of_another_and_states_in_each_others_place_are_refused(tmp_path):
    train(tmp_path, rounds=2, solver_state="local")
    shutil.copytree(tmp_path, tmp_path / "renamed")
    (tmp_path / "renamed" / "round-000001").rename(tmp_path / "renamed" / "round-000009")
    with pytest.raises(FormatError, match=r"position of round 1.*; expected position of round 9"):
        start(tmp_path / "renamed", solver_state="local")
    shutil.rmtree(tmp_path / "renamed")
    states = [tmp_path / "round-000001" / f"state-{i}.sparknet" for i in range(2)]
    states[0].rename(tmp_path / "state")
    states[1].rename(states[0])
    (tmp_path / "state").rename(states[1])
    with pytest.raises(FormatError, match=r"state-0.sparknet says that it is state-1 of round 1"):
        start(tmp_path, solver_state="local")


def test_a_checkpoint_without_identities_is_read_and_that_is_said_once(kept, tmp_path, caplog):
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    for name in FILES:
        change(tmp_path / "round-000002" / name, checkpoint=None)
    assert facts(train(tmp_path)) == facts(train())[3:]
    record, goes_on = caplog.records
    assert "goes on after round 2" in goes_on.getMessage()
    assert "round-000002 was written by an older sparknet, and its files carry no identity" in record.message
    assert "checkpoint" in inspect(tmp_path / "round-000005" / "weights.sparknet").metadata


@pytest.mark.parametrize(
    ("name", "content", "said", "text"),
    [
        ("position", {"steps": np.zeros(0, np.int64)}, {}, "got 1 solver states for the steps of 0 workers"),
        ("position", {"steps": np.array([9, -1])}, {}, "has -1 steps of a worker"),
        ("position", {"steps": np.array([9.0, 9.0])}, {}, "has no steps, expected one int64 number for each worker"),
        ("position", {"step": np.array([9, 9])}, {}, "has no steps"),
        ("position", np.array([9, 9]), {}, "has no steps"),
        ("position", None, {"states": 2**60}, "counts 1152921504606846976 solver states"),
        ("position", None, {"states": "1"}, "counts '1' solver states"),
        ("position", None, {"states": None}, "counts None solver states"),
        ("position", None, {"settings": [7]}, r"has the settings \[7\]"),
        ("position", None, {"settings": None}, "has the settings None"),
        ("position", None, {"checkpoint": 7}, "says that it is 7"),
        ("position", None, {"checkpoint": {}}, "says that it is None of round None"),
        ("weights", {"ip1": np.zeros(3)}, {}, "holds a dict, expected a WeightCollection"),
        ("state-0", np.zeros(3), {}, "holds a NDArray, expected a Mapping"),
    ],
)
def test_what_is_no_position_is_told_by_its_file(kept, tmp_path, name, content, said, text):
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    change(tmp_path / "round-000002" / f"{name}.sparknet", content, **said)
    with pytest.raises((FormatError, DataError), match=rf"round-000002.*{text}.*; remove this directory"):
        start(tmp_path)


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(path))  # of 107 bytes at most


NOT_OURS = {
    "a FIFO (a pipe)": os.mkfifo,
    "a socket": bound_socket,
    "a directory": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.timeout(30)  # a FIFO is not waited for
@pytest.mark.parametrize("what", NOT_OURS)
@pytest.mark.parametrize("name", ["weights", "state-0", "position"])
def test_what_is_no_file_in_the_place_of_one_is_told(kept, tmp_path, monkeypatch, name, what):
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "round-000002" / f"{name}.sparknet"
    path.unlink()
    NOT_OURS[what](path)
    text = rf"round-000002 is damaged: {name}.sparknet is {re.escape(what)}, expected a regular file; remove this directory"
    with pytest.raises(FormatError, match=text):
        start(tmp_path)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("what", ["a FIFO (a pipe)", "a socket", "a symbolic link", "a file"])
@pytest.mark.parametrize("name", ["round-000000", "round-000002", "round-000009", ".unfinished-0"])
def test_what_is_no_directory_in_the_place_of_a_round_is_refused_at_the_call(kept, tmp_path, monkeypatch, name, what):
    shutil.copytree(kept, tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "kept" / name
    if path.is_dir():
        path.rename(tmp_path / "moved")
    make = {**NOT_OURS, "a symbolic link": lambda path: path.symlink_to(tmp_path / "moved"), "a file": Path.touch}[what]
    make(path)
    with pytest.raises(DataError, match=rf"{name} is {re.escape(what)}; expected a directory of a round: remove it"):
        start(tmp_path / "kept")
    assert os.path.lexists(path)


@pytest.mark.timeout(30)
def test_what_comes_in_the_place_of_an_unfinished_round_is_removed(tmp_path):
    for round_ in start(tmp_path, rounds=3):
        if round_.index == 0:
            os.mkfifo(tmp_path / ".unfinished-a")
            (tmp_path / ".unfinished-b").symlink_to(tmp_path / "round-000000")
    assert names(tmp_path) == ["round-000001", "round-000002"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("what", NOT_OURS)
def test_what_is_no_file_in_the_place_of_the_lock_is_told(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    NOT_OURS[what](tmp_path / ".sparknet.lock")
    said = "a symbolic link" if what == "a device" else what
    with pytest.raises(OSError, match=rf"(?i){re.escape(said)}, expected a lock's file or none; remove it"):
        list(start(tmp_path))


# ---- disks and directories that refuse
FULL = """
import resource, sys
import test_checkpoint as here
here.train(sys.argv[1], rounds=2)
record = here.Checkpoint.record
def record_and_be_full(self, facts):
    record(self, facts)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
here.Checkpoint.record = record_and_be_full
try:
    here.train(sys.argv[1], rounds=4)
except OSError as error:
    print(error.strerror, error.filename)
"""


def test_a_full_disk_ends_the_training_with_the_round_named_and_those_before_whole(tmp_path):
    done = run(FULL, tmp_path)
    assert "this round cannot be kept, those before are whole" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("round-000002")
    assert done.stdout.count(";") == 1  # what the system said is said once
    assert names(tmp_path) == ["round-000000", "round-000001"]
    assert facts(train(tmp_path)) == facts(train())[2:]


REFUSED = """
import os, sys
import test_checkpoint as here
os.chdir(sys.argv[1])
here.start("before")  # imports all that it needs, from where others may not read
if os.geteuid() == 0:
    os.seteuid(65534)  # permissions are nothing to root
for directory in ("closed", "closed/new", "file"):
    try:
        here.start(directory)
    except OSError as error:
        print(type(error).__name__, error.filename, error.strerror)
"""


def test_a_directory_that_cannot_be_written_is_an_error_at_the_call(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "file").touch()
    tmp_path.chmod(0o755)
    done = run(REFUSED, tmp_path)
    lines = done.stdout.splitlines()
    what = "; a checkpoint needs a directory that can be read and written"
    assert lines == [
        f"PermissionError closed Permission denied{what}",
        f"PermissionError closed/new Permission denied{what}",
        f"FileExistsError file File exists{what}",
    ], done.stderr


# ---- what is said
def _said(caplog):
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return said


def test_where_a_training_goes_on_is_said_and_that_given_weights_are_not_used(tmp_path, caplog):
    train(tmp_path, rounds=2, weights=FACTORY(seed=1).get_weights())
    assert not _said(caplog)
    train(tmp_path, rounds=3)
    assert _said(caplog) == [f"goes on after round 1, from {tmp_path / 'round-000001'}"]
    train(tmp_path, rounds=4, weights=FACTORY(seed=1).get_weights())
    (said,) = _said(caplog)
    assert said.startswith(f"goes on after round 2, from {tmp_path / 'round-000002'}; weights= is not used")


MEANS = [np.zeros((1, 6, 6), "f"), np.full((1, 6, 6), 0.5, "f")]
DIGEST = r"SubtractMean\(field='data', mean=float32 \(1, 6, 6\) [0-9a-f]{16}\)"


@pytest.mark.parametrize(
    ("before", "after", "match"),
    [
        (Mirror("data"), Compose(Mirror("data"), Scale("data", 0.5)),
         r"the preprocessor \[Mirror\(field='data'\)\]; .* \[Mirror\(field='data'\), Scale\(field='data', factor=0.5\)\]"),
        (Scale("data", 0.5), None, r"the preprocessor \[Scale\(field='data', factor=0.5\)\]; .* goes on with \[none\]"),
        (*[SubtractMean("data", mean) for mean in MEANS], rf"\[{DIGEST}\]; .* \[{DIGEST}\]"),
        (*[SubtractMean("data", NDArray(mean)) for mean in MEANS], rf"\[{DIGEST}\]; .* \[{DIGEST}\]"),
    ],
)  # fmt: skip
def test_another_preprocessor_is_warned_of_and_the_training_goes_on(tmp_path, caplog, before, after, match):
    rounds = partial(train, tmp_path, MLP.factory((1, 6, 6), 3, (4,)))
    one, other = (replace(DATA, preprocessor=steps) for steps in (before, after))
    rounds(rounds=1, data=one)
    rounds(rounds=2, data=one)
    assert len(_said(caplog)) == 1  # where it goes on, and no change
    assert len(rounds(rounds=3, data=other)) == 1
    changed, _ = _said(caplog)
    assert re.search(match, changed)
    rounds(rounds=4, data=other)
    assert len(_said(caplog)) == 1


def test_a_net_of_the_same_shapes_with_other_arguments_is_warned_of_and_the_training_goes_on(tmp_path, caplog):
    slower = MLP.factory((1, 5, 5), 3, (4,), learning_rate=0.05, momentum=0.9, weight_decay=0.01)
    train(tmp_path, rounds=1)
    assert len(train(tmp_path, slower, rounds=2)) == 1
    changed, _ = _said(caplog)
    assert re.search(
        r"the net \[.*'learning_rate': 0\.1,.*\]; this training goes on with \[.*'learning_rate': 0\.05,", changed
    )
    assert "as for a smaller learning rate" in changed
    train(tmp_path, slower, rounds=3)
    assert len(_said(caplog)) == 1  # where it goes on, and no change


def test_a_checkpoint_that_does_not_say_its_preprocessor_is_gone_on_from_without_a_word_of_it(tmp_path, caplog):
    position = Position(1, FACTORY().get_weights(), [FACTORY().get_state()], [0, 0])
    Checkpoint(tmp_path, {}).write(position)  # as older versions did
    assert Checkpoint(tmp_path, {}, {"preprocessor": "none"}).read().rounds == 1
    assert not _said(caplog)
