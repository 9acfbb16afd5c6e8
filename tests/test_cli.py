"""The command line: the main job without Spark, bad input as one line, Ctrl-C."""

import argparse
import functools
import importlib.util
import itertools
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import sparknet
from sparknet import main_job
from sparknet.cli import main
from sparknet.data.images import sets
from sparknet.formats import convert, write
from sparknet.main_job import master
from sparknet.nets import MLP
from sparknet.training import Decided, Rounds
from sparknet.training.replay import Former, former_rounds

FAST = ["--master", "none", "--rounds", "2", "--tau", "3", "--hidden", "8"]


@pytest.fixture(scope="module", autouse=True)
def _images_are_read_once():
    """Parsing them is half of a short training. Tests that start a process read them anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "_mnist", functools.cache(sets._mnist))
        yield


def run(capsys, *arguments):
    code = main(["train", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_main_job_writes_weights_and_events_and_a_line_a_round(capsys, tmp_path):
    out = tmp_path / "out"
    code, text, err = run(capsys, *FAST, "--seed", "3", "--out", str(out))
    assert (code, err) == (0, "")
    lines = text.splitlines()
    assert lines[0] == "mnist: 4,000 images to train, 1,000 to test"
    assert lines[1].startswith("data: uint8 0..255 -> x 0.00390625 (as --net mlp has it) -> 0..")
    assert lines[2] == "label: int64 0..9 -> as it is"
    for i, line in enumerate(lines[3:5], start=1):
        assert line.startswith(f"round {i}/2  loss ")
        for word in ("test accuracy", "images/s", "train", "exchange"):
            assert word in line
    weights = sparknet.load(out / "weights.sparknet")
    assert weights.schema() == MLP((1, 28, 28), 10, (8,)).get_weights().schema()
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events] == ["start", "round", "round", "end"]
    assert (events[0]["settings"]["seed"], events[0]["settings"]["net"]) == (3, "mlp")
    assert events[1]["steps"] == 6
    assert (events[1]["workers"], events[1]["decided"]["worker_steps"]) == ([0, 1], [3, 3])
    assert set(events[2]["metrics"]) == {"loss", "accuracy"}
    assert events[3]["finished"] is True
    assert lines[5].startswith(f"goodput {100 * events[3]['goodput']['ratio']:.1f} % (")


LITTLE_MEMORY = """
import resource, sys
from sparknet import main_job
from sparknet.cli import main
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
sys.exit(main(["train", "--master", "none", "--hidden", "400000"]))
"""


def test_a_process_with_too_little_memory_says_so_in_a_line():
    done = subprocess.run([sys.executable, "-c", LITTLE_MEMORY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sparknet train: error: this process has not enough memory. Unable to allocate ")
    assert done.stderr.count("\n") == 1


def test_the_same_seed_gives_the_same_file(capsys, tmp_path):
    for name in ("a", "b"):
        assert run(capsys, *FAST, "--seed", "1", "--out", str(tmp_path / name))[0] == 0
    assert (tmp_path / "a" / "weights.sparknet").read_bytes() == (tmp_path / "b" / "weights.sparknet").read_bytes()


def events_of(out):
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def test_a_run_with_a_checkpoint_goes_on_where_it_ended_and_its_events_too(capsys, tmp_path):
    kept = ["--checkpoint", f"file://{tmp_path}/kept"]
    assert run(capsys, *FAST, "--rounds", "4", "--out", str(tmp_path / "straight"))[0] == 0
    assert run(capsys, *FAST, *kept, "--out", str(tmp_path / "out"))[0] == 0
    with (tmp_path / "out" / "events.jsonl").open("a") as file:
        file.write('{"event": "rou')  # a run that is killed may leave the part of a line
    code, text, err = run(capsys, *FAST, *kept, "--rounds", "4", "--out", str(tmp_path / "out"))
    assert code == 0
    assert "goes on after round 1, from " in err
    assert "4 of 4 rounds done" in text
    straight, out = (sparknet.load(tmp_path / each / "weights.sparknet") for each in ("straight", "out"))
    assert straight == out
    events = events_of(tmp_path / "out")
    assert [each["event"] for each in events] == ["start", "round", "round", "end"] * 2
    assert [each["index"] for each in events if each["event"] == "round"] == [0, 1, 2, 3]
    code, text, err = run(capsys, *FAST, *kept, "--rounds", "4", "--out", str(tmp_path / "new"))
    assert code == 0
    assert "nothing is left" in err
    assert f"no round is left; wrote {tmp_path / 'new' / 'weights.sparknet'}" in text
    assert sparknet.load(tmp_path / "new" / "weights.sparknet") == straight


def test_a_round_that_a_killed_run_has_kept_and_not_told_of_is_in_the_events_of_the_run_that_goes_on(capsys, tmp_path):
    options = [*FAST, "--max-seconds", "3600", "--checkpoint", str(tmp_path / "kept"), "--out", str(tmp_path / "out")]
    assert run(capsys, *options)[0] == 0
    path = tmp_path / "out" / "events.jsonl"
    *before, last, _ = path.read_text().splitlines(keepends=True)
    path.write_text("".join(before))  # it was killed when round 1 was in the checkpoint, and before it told of it
    assert run(capsys, *options, "--rounds", "3")[0] == 0
    found = former_rounds(path)
    assert [*found] == [0, 1, 2]
    assert found[1] == Former(Decided.read(json.loads(last)["decided"]), None)
    events = [each["event"] for each in events_of(tmp_path / "out")]
    assert events == ["start", "round", "round", "start", "round", "end"]
    assert run(capsys, *options, "--rounds", "4")[0] == 0  # nothing is missing now
    assert [each["index"] for each in events_of(tmp_path / "out") if each["event"] == "round"] == [0, 1, 2, 3]


@pytest.mark.parametrize(("option", "kept"), [([], [2, 3]), (["--keep", "1"], [3]), (["--keep", "3"], [1, 2, 3])])
def test_so_many_rounds_stay_in_the_checkpoint(capsys, tmp_path, option, kept):
    options = ["--rounds", "4", "--checkpoint", str(tmp_path / "kept"), "--out", str(tmp_path / "out")]
    assert run(capsys, *FAST, *options, *option)[0] == 0
    names = sorted(path.name for path in (tmp_path / "kept").glob("round-*"))
    assert names == [f"round-{index:06d}" for index in kept]


def test_time_alone_ends_the_rounds_where_no_number_of_steps_is_given(capsys, tmp_path):
    options = ["--tau", "0", "--max-seconds", "0.05", "--out", str(tmp_path)]
    assert run(capsys, *FAST, *options)[0] == 0
    found = [each["decided"] for each in events_of(tmp_path) if each["event"] == "round"]
    assert [each["max_seconds"] for each in found] == [0.05, 0.05]
    assert all(steps >= 1 for each in found for steps in each["worker_steps"])


def decided_in(out):
    return [(each["loss"], each["decided"]) for each in events_of(out) if each["event"] == "round"]


@pytest.mark.parametrize(
    ("clock", "rule", "tau"),
    [
        (["--max-seconds", "0.02"], [], ["--tau", "0"]),
        (["--max-seconds", "0.000001"], ["--rule", "median"], []),
        (["--processes", "2", "--min-workers", "1"], [], []),
        ([], [], []),
    ],
)
def test_the_events_of_a_run_are_replayed_to_the_same_weights_without_a_clock(capsys, tmp_path, clock, rule, tau):
    then, now = tmp_path / "then", tmp_path / "now"
    assert run(capsys, *FAST, *clock, *rule, *tau, "--out", str(then))[0] == 0
    options = ["--replay", str(then / "events.jsonl"), *rule]
    assert run(capsys, *FAST, *tau, *options, "--out", str(now))[0] == 0
    assert (now / "weights.sparknet").read_bytes() == (then / "weights.sparknet").read_bytes()
    assert decided_in(now) == decided_in(then)
    settings = events_of(now)[0]["settings"]
    assert settings["replay"] == str(then / "events.jsonl")
    assert settings["rule"] == events_of(then)[0]["settings"]["rule"]
    # Each other time in the same folder: the events are read before they are replaced.
    before = decided_in(then)
    assert run(capsys, *FAST, "--processes", "2", *options, "--out", str(then))[0] == 0
    assert decided_in(then) == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--rounds", "3"], "--replay has the rounds 0 to 1; expected round 2 too, as --rounds 3"),
        (["--workers", "3"], "--replay: round 0 has steps of 2 workers; expected 3: events of another run?"),
        (
            ["--rule", "nesterov"],
            "expected Nesterov(lr=0.7, momentum=0.9, combine=Mean()), which is the rule now: give --rule as it was",
        ),
    ],
)
def test_a_replay_of_another_run_is_refused_in_the_words_of_the_command(capsys, tmp_path, options, text):
    assert run(capsys, *FAST, "--out", str(tmp_path / "then"))[0] == 0
    code, _, err = run(
        capsys, *FAST, *options, "--replay", str(tmp_path / "then" / "events.jsonl"), "--out", str(tmp_path / "now")
    )
    assert (code, err.count("\n"), (tmp_path / "now").exists()) == (2, 1, False)
    assert text in err


def test_a_replay_with_another_loss_ends_with_exit_code_1(capsys, tmp_path):
    assert run(capsys, *FAST, "--out", str(tmp_path / "then"))[0] == 0
    code, _, err = run(
        capsys,
        *FAST,
        *("--seed", "1", "--replay", str(tmp_path / "then" / "events.jsonl"), "--out", str(tmp_path / "now")),
    )
    assert code == 1
    assert "round 0: the loss of the replay is " in err


def test_a_checkpoint_of_other_images_is_gone_on_from_only_where_that_is_meant(capsys, tmp_path, monkeypatch):
    options = ["--checkpoint", str(tmp_path / "kept"), "--out", str(tmp_path / "out")]
    assert run(capsys, *FAST, *options)[0] == 0
    code, _, err = run(capsys, *FAST, *options, "--resume", "no")
    assert (code, err.count("\n")) == (2, 1)
    assert f"got --resume no, and a checkpoint in {tmp_path / 'kept' / 'round-000001'}; expected none" in err
    load = main_job.load_image_set

    def changed(name):
        images = load(name)
        data, label = images.train
        return replace(images, train=(data[::-1], label[::-1]))

    monkeypatch.setattr(main_job, "load_image_set", changed)
    for more in [], ["--resume", "yes"]:
        code, _, err = run(capsys, *FAST, *options, "--rounds", "3", *more)
        assert (code, "got data=" in err) == (2, True)
    code, text, err = run(capsys, *FAST, *options, "--rounds", "3", "--resume", "other data")
    assert (code, "3 of 3 rounds done" in text) == (0, True)
    assert "round-000001 was written with data=" in err
    new = ["--checkpoint", str(tmp_path / "new"), "--out", str(tmp_path / "out"), "--resume", "no"]
    assert run(capsys, *FAST, *new)[0] == 0


def test_without_a_checkpoint_the_events_of_an_earlier_run_are_replaced(capsys, tmp_path):
    for _ in range(2):
        assert run(capsys, *FAST, "--out", str(tmp_path))[0] == 0
    assert [each["event"] for each in events_of(tmp_path)] == ["start", "round", "round", "end"]


@pytest.mark.parametrize("directory", ["/proc/no/such", "memory://kept-by-the-command", "hdfs://127.0.0.1:1/run"])
def test_a_checkpoint_elsewhere_works_or_is_a_line_that_says_what_is_missing(capsys, tmp_path, directory):
    code, _, err = run(capsys, *FAST, "--checkpoint", directory, "--out", str(tmp_path / "out"))
    if code:
        assert code == 2
        assert err.startswith("sparknet train: error: ")
        assert err.count("\n") == 1
        assert directory in err
        assert not (tmp_path / "out").exists()
    assert bool(code) == (not directory.startswith("memory") or importlib.util.find_spec("fsspec") is None)


def test_the_rule_is_that_of_the_options_and_the_mean_by_default(capsys, tmp_path):
    def trained(*options):
        out = tmp_path / "-".join(["out", *options])
        assert run(capsys, *FAST, "--out", str(out), *options)[0] == 0
        return sparknet.load(out / "weights.sparknet")

    nesterov = trained("--rule", "nesterov")
    plain = trained()
    assert plain == trained("--rule", "mean")
    assert plain != trained("--max-seconds", "0.000001")
    assert trained("--max-seconds", "3600") == trained("--rule", "weighted-mean")
    assert plain == trained("--rule", "momentum", "--outer-momentum", "0")
    assert plain == trained("--rule", "nesterov", "--outer-momentum", "0", "--outer-learning-rate", "1")
    assert nesterov == trained("--rule", "nesterov", "--outer-momentum", "0.9", "--outer-learning-rate", "0.7")
    found = [
        plain,
        nesterov,
        trained("--rule", "momentum"),
        trained("--rule", "momentum", "--outer-learning-rate", "0.5"),
    ]
    assert all(a != b for a, b in itertools.combinations(found, 2))
    events = (tmp_path / "out---rule-nesterov" / "events.jsonl").read_text().splitlines()
    assert json.loads(events[0])["settings"]["rule"] == "nesterov"


def test_the_help_names_the_rules(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert "--rule {mean,weighted-mean,median,momentum,nesterov}" in text
    assert "--outer-learning-rate RATE" in text
    assert "--outer-momentum M" in text


def test_the_help_names_what_is_replayed_and_gone_on_from(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--resume {yes,no,other data} what becomes of the rounds that --checkpoint has already" in text
    assert "--replay EVENTS do the rounds of a former training again" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--outer-momentum", "0.5"],
            "--rule mean has no --outer-learning-rate and no --outer-momentum; leave them out",
        ),
        (["--rule", "median", "--outer-learning-rate", "1"], "or give --rule momentum or nesterov"),
        (["--rule", "nesterov", "--outer-momentum", "1"], "Nesterov: momentum=1.0; expected a number from 0 up to"),
        (["--data", "imagenet"], "unknown data set 'imagenet'; expected mnist, fashion-mnist, cifar10:DIR or idx:DIR"),
        (["--data", "cifar10:/no/such"], "there is no directory '/no/such'"),
        (["--workers", "64", "--master", "none"], "64 workers for 63 minibatches of 64 examples"),
        (["--master", "spark://127.0.0.1:1"], "no Spark master answers at spark://127.0.0.1:1 (127.0.0.1:1: "),
        (["--master", "spark://nowhere"], "'nowhere' is not HOST:PORT"),
        (["--master", "mesos://x"], "expected local[N], local-cluster[N,cores,MB], spark://HOST:PORT"),
        (
            ["--processes", "2"],
            "--processes 2: with --master local[2] Spark starts the workers; leave it out, or give --master none",
        ),
        (
            ["--master", "none", "--processes", "2", "--workers", "3"],
            "with --processes 2 each worker is a process; give --processes 3, or --workers 2",
        ),
        (
            ["--master", "none", "--min-workers", "3"],
            "--min-workers 3: there are 2 workers; give at most so many, or more --workers",
        ),
        (["--tau", "0"], "--tau 0: time alone ends a round then; give it with --max-seconds, such as --max-seconds 5"),
        (["--tau", "0", "--max-seconds", "auto"], "--tau 0: time alone ends a round then"),
        (["--keep", "3"], "--keep 3: it is about the rounds of a checkpoint; leave it out, or give --checkpoint DIR"),
        (["--resume", "no"], "--resume no: it is about the rounds of a checkpoint; leave it out, or give --checkpoint"),
        (
            ["--replay", "e.jsonl", "--max-seconds", "3"],
            "--replay e.jsonl: it has what the clock decided then; leave out --max-seconds 3.0",
        ),
        (["--replay", "e.jsonl", "--min-workers", "1"], "then; leave out --min-workers 1"),
        (["--replay", "e.jsonl"], "No such file or directory: 'e.jsonl'"),
        (["--replay", "/dev/null"], "Is a device, expected a regular file: '/dev/null'"),
        (["--replay", __file__], "test_cli.py, line 1: no event that can be replayed"),
        (
            ["--master", "none", "--transport", "direct"],
            "--transport direct: it is about workers on Spark; leave it out",
        ),
        (
            ["--master", "none", "--aggregation", "sliced"],
            "--aggregation sliced: in one process nothing is sent; leave it out, or give --processes 2",
        ),
        (
            ["--transport", "spark", "--aggregation", "sliced"],
            "--aggregation sliced: with --transport spark each round is a job",
        ),
        (["--hidden", "1000000000000"], "this machine has "),
        (["--hidden", "1" + "0" * 400], "expected positive whole numbers below 2**63"),
        (["--out", __file__], "exists and is not a directory"),
        (["--out", f"{__file__}/out"], "is not a directory that can be written to"),
        (["--out", ""], "--out '': expected the path of a directory"),
        (["--out", "a\0b"], "expected the path of a directory"),
        (
            ["--out", "x", "--checkpoint", "./x"],
            "--checkpoint ./x: is the folder of --out too; expected one for this alone",
        ),
        (["--checkpoint", "s3:/bucket/run"], "--checkpoint 's3:/bucket/run': expected s3://bucket/run as text"),
        (["--checkpoint", "file://run"], "expected file:///run for an absolute path, or a path without file://"),
        (
            ["--checkpoint", "nonesuch://bucket/run"],
            "nonesuch://bucket/run: ",
        ),  # without fsspec it says how to get that
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_and_writes_nothing(capsys, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith("sparknet train: error: ")
    assert text in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


IN_THE_WAY = {
    "a FIFO (a pipe)": os.mkfifo,
    "a directory": os.mkdir,
    "a symbolic link": partial(os.symlink, "elsewhere"),
    "read-only": partial(os.mknod, mode=stat.S_IFREG | 0o400),
}


@pytest.mark.parametrize("name", ["events.jsonl", "weights.sparknet", "weights.caffemodel"])
@pytest.mark.parametrize("what", IN_THE_WAY)
def test_what_is_in_the_way_of_a_result_is_told_before_the_run(capsys, tmp_path, monkeypatch, name, what):
    if what == "read-only":  # which is nothing to root
        monkeypatch.setattr("os.access", lambda path, *_: Path(path).is_dir())
    IN_THE_WAY[what](tmp_path / name)
    code, text, err = run(capsys, *FAST, "--out", str(tmp_path))
    assert (code, text) == (2, "")
    assert f"--out {tmp_path}: {name} is there and is {what}; expected none, or the file of an earlier run" in err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_links_that_come_during_a_run_are_not_followed(capsys, tmp_path, monkeypatch):
    out, precious = tmp_path / "out", tmp_path / "precious"
    precious.write_text("mine")
    names = ("events.jsonl", "weights.sparknet")

    def linking(*arguments, **options):
        for name in names:
            (out / name).unlink(missing_ok=True)
            (out / name).symlink_to(precious)
        return opened(*arguments, **options)

    opened = main_job.EventLog
    monkeypatch.setattr(main_job, "EventLog", linking)
    code, _, err = run(capsys, *FAST, "--out", str(out))
    assert (code, precious.read_text()) == (1, "mine")
    assert "Is a symbolic link, which is not followed; remove it" in err
    assert not (out / "events.jsonl").is_symlink()


def test_a_second_run_into_the_same_folder_is_refused_and_the_first_loses_nothing(capsys, tmp_path):
    command = [sys.executable, "-m", "sparknet.cli", "train", *FAST, "--rounds", "100000", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        while not (tmp_path / "weights.sparknet").exists() and first.poll() is None:
            time.sleep(0.05)
        code, text, err = run(capsys, *FAST, "--out", str(tmp_path))
        first.send_signal(signal.SIGKILL)
    assert (code, text) == (2, "")
    assert f"--out {tmp_path}: process {first.pid} on " in err
    assert "writes there" in err
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [events[0]["event"], events[1]["index"]] == ["start", 0]
    assert run(capsys, *FAST, "--out", str(tmp_path))[0] == 0  # the lock went with its process
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events.jsonl",
        "weights.sparknet",
    ]  # all that was left is gone


def test_the_help_shows_defaults_that_are_values_and_no_others(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "rounds, including those before a checkpoint (default: 20)" in text
    assert "None" not in text
    assert "False" not in text


def test_the_package_runs_as_the_command():
    def run(*command):
        return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)

    done = run("sparknet", "inspect", "missing.npz")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == run("sparknet.cli", "inspect", "missing.npz").stderr
    assert done.stderr.startswith("sparknet inspect: error: ")


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5"])
def test_numbers_out_of_range_are_refused_by_name(capsys, value):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--workers", value])
    assert stopped.value.code == 2
    assert "--workers" in capsys.readouterr().err


def test_without_java_the_package_that_brings_it_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    code, _, err = run(capsys, "--master", "local[2]")
    assert code == 2
    assert "apt-get install default-jre-headless" in err


def test_an_old_java_is_named(capsys, tmp_path, monkeypatch):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    code, _, err = run(capsys, "--master", "local[2]", "--out", str(tmp_path / "out"))
    assert code == 2
    assert "Spark needs Java 17 or newer" in err
    assert "is version 11" in err


def test_a_shard_shorter_than_tau_wraps_around(capsys, tmp_path):
    code, text, _ = run(capsys, *FAST, "--workers", "40", "--batch-size", "64", "--out", str(tmp_path / "o"))
    assert code == 0
    assert "round 2/2" in text


# Ctrl-C comes while a weak reference calls back, where Python drops the exception.
LOSES_CTRL_C = """
import signal, sys, weakref
from sparknet import cli, main_job

line = main_job.round_line

def interrupted(*args):
    thing = type("Thing", (), {})()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    return line(*args)

main_job.round_line = interrupted
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_ctrl_c_that_python_drops_ends_the_training_after_the_round(tmp_path):
    command = [sys.executable, "-c", LOSES_CTRL_C, "train", *FAST, "--rounds", "100000", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert re.search("Exception ignored (in|while)", done.stderr)  # "while" since Python 3.14
    assert "\n1 of 100000 rounds done; wrote" in done.stdout


def test_ctrl_c_leaves_the_last_finished_rounds_weights(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sparknet.cli", "train", *FAST, "--rounds", "100000", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (out / "weights.sparknet").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        text, err = process.communicate()
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    done = int(re.search(r"^(\d+) of 100000 rounds done", text, re.MULTILINE)[1])
    shown = sum(line.startswith("round") for line in text.splitlines())
    assert done - shown in (0, 1)  # the signal may come between saving and showing a round
    assert sparknet.inspect(out / "weights.sparknet").metadata["round"] == done - 1
    assert sparknet.load(out / "weights.sparknet").num_parameters > 0
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert events[-1] == {**events[-1], "event": "end", "rounds": done, "finished": False}


def test_inspect_shows_a_file_and_refuses_what_is_none(capsys, tmp_path):
    path = tmp_path / "w.sparknet"
    sparknet.save(path, MLP((2,), 3).get_weights())
    assert main(["inspect", str(path)]) == 0
    assert "ip1" in capsys.readouterr().out
    path.write_bytes(b"not a message")
    assert main(["inspect", str(path)]) == 2
    assert capsys.readouterr().err.startswith("sparknet inspect: error: ")
    assert main(["inspect", str(tmp_path / "missing")]) == 2


def test_inspect_reads_the_payload_when_asked_to_verify(capsys, tmp_path):
    path = tmp_path / "w.sparknet"
    sparknet.save(path, {"a": np.zeros(3)})
    assert main(["inspect", "--verify", str(path)]) == 0
    assert "checksums verified" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert main(["inspect", str(path)]) == 0
    assert main(["inspect", "--verify", str(path)]) == 2
    assert "sparknet inspect: error: tensor 'a' (from byte 128) is damaged" in capsys.readouterr().err


def test_inspect_prints_json_that_any_program_reads(capsys, tmp_path):
    path = tmp_path / "w.sparknet"
    metadata = {"loss": float("nan"), "best": float("-inf"), "round": 3, "raw": b"\0\xff", "note": "é"}
    sparknet.save(path, {"a": np.zeros((3, 2), "float32"), "b": np.array(True)}, metadata=metadata)
    assert main(["inspect", "--json", str(path)]) == 0
    info = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # NaN is no JSON
    assert [(t["name"], t["dtype"], t["shape"], t["nbytes"]) for t in info["tensors"]] == [
        ("a", "float32", [3, 2], 24),
        ("b", "bool", [], 1),
    ]
    assert (info["format"], info["parameters"]) == ("sparknet", 7)
    assert (info["kind"], info["nbytes"], info["verified"]) == ("mapping", path.stat().st_size, False)
    assert info["metadata"] == {"loss": None, "best": None, "round": 3, "raw": "00ff", "note": "é"}


def test_inspect_tells_other_formats_by_their_contents(capsys, tmp_path):
    np.savez(tmp_path / "weights", **{"ip/0": np.ones((2, 3), "float32")})
    path = (tmp_path / "weights.npz").rename(tmp_path / "weights")
    assert main(["inspect", str(path)]) == 0
    assert capsys.readouterr().out.startswith("npz: weights, 1 tensors, 6 parameters, 24 bytes; the file has ")
    assert main(["inspect", "--json", str(path)]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["format"], info["parameters"], info["tensors"][0]["name"]) == ("npz", 6, "ip/0")
    assert main(["inspect", "--verify", str(path)]) == 2
    assert "has no checksums to verify" in capsys.readouterr().err
    path.write_bytes(b"Dear reader,")
    assert main(["inspect", str(path)]) == 2
    assert (
        "12 bytes of no known format; expected sparknet, npy, npz, safetensors, torch, caffemodel"
        in capsys.readouterr().err
    )


def test_workers_in_processes_write_the_weights_that_workers_in_this_process_write(capsys, tmp_path):
    written = []
    for name, options in (("a", []), ("b", ["--processes", "2"])):
        code, _, err = run(capsys, *FAST, "--workers", "2", *options, "--out", str(tmp_path / name))
        assert (code, err) == (0, "")
        written.append((tmp_path / name / "weights.sparknet").read_bytes())
    assert written[0] == written[1]


ONE_ROUND = ["train", "--master", "none", "--rounds", "1", "--tau", "1"]


def test_weights_of_any_format_are_trained_on_from(capsys, tmp_path):
    assert main([*ONE_ROUND, "--out", str(tmp_path / "a")]) == 0
    convert(tmp_path / "a" / "weights.sparknet", tmp_path / "w.npz")
    capsys.readouterr()
    losses = []
    for name in "a/weights.sparknet", "w.npz":
        assert main([*ONE_ROUND, "--out", str(tmp_path / "b"), "--seed", "3", "--weights", str(tmp_path / name)]) == 0
        out = capsys.readouterr().out
        assert f"--weights {tmp_path / name}\n  taken: ip1, ip2\n" in out
        losses.append(re.search(r"loss  (\S+)", out)[1])
    assert losses[0] == losses[1]
    assert main([*ONE_ROUND, "--out", str(tmp_path / "b"), "--seed", "3"]) == 0
    assert re.search(r"loss  (\S+)", capsys.readouterr().out)[1] != losses[0]


@pytest.mark.parametrize("command", [["inspect"], ["convert", "--from", "npz"], [*ONE_ROUND, "--weights"]])
def test_a_file_that_the_system_refuses_is_named_in_a_line_without_a_number(capsys, command):
    after = ["out.npz"] if command[0] == "convert" else []
    assert main([*command, "x" * 300, *after]) == 2
    err = capsys.readouterr().err
    assert re.search(r"error: File name too long: 'x{80}\.\.\.x{17}'$", err)


def test_layers_that_are_skipped_or_new_are_said_and_later_files_come_over_earlier_ones(capsys, tmp_path):
    one = {"ip1": [np.zeros((128, 784), "f4"), np.ones(128, "f4")], "fc8": [np.ones(2, "f4")]}
    for name, value in ("one", 1), ("two", 2):
        layers = {**one, "ip1": [array * value for array in one["ip1"]]}
        write(tmp_path / f"{name}.npz", sparknet.WeightCollection(layers))
    both = f"{tmp_path / 'one.npz'}, {tmp_path / 'two.npz'}"
    assert main([*ONE_ROUND, "--out", str(tmp_path / "out"), "--weights", both, "--learning-rate", "1e-30"]) == 0
    said = "taken: ip1\n  skipped, not in this net: fc8\n  new, not in the file: ip2\n"
    assert capsys.readouterr().out.count(said) == 2
    assert sparknet.load(tmp_path / "out" / "weights.sparknet")["ip1"][1].to_host().tolist() == [2] * 128


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ("none.npz", "No such file or directory: 'none.npz'"),
        (
            "solver.prototxt",
            "'solver.prototxt' is a prototxt of a solver, which holds no arrays; expected sparknet, npy",
        ),
        ("text", "got the suffix '', expected one of .sparknet"),
        (".", "Is a directory"),
        (
            "wide.npz",
            "another name: rename it in the net, and it is learned from scratch. The layers of --net mlp have the widths of --hidden, 128",
        ),
        ("other.npz", "has weights for the layers fc8; this net has ip1, ip2. Layers are taken by their names"),
    ],
)
def test_weights_that_do_not_fit_are_one_line_and_nothing_is_written(capsys, tmp_path, monkeypatch, weights, text):
    monkeypatch.chdir(tmp_path)
    write("wide.npz", sparknet.WeightCollection({"ip1": [np.ones((3, 4), "f4"), np.ones(3, "f4")]}))
    write("other.npz", sparknet.WeightCollection({"fc8": [np.ones(3, "f4")]}))
    (tmp_path / "solver.prototxt").write_text("base_lr: 1", encoding="utf-8")
    (tmp_path / "text").write_text("Dear reader,", encoding="utf-8")
    assert main([*ONE_ROUND, "--weights", weights]) == 2
    err = capsys.readouterr().err
    assert text in err
    assert err.startswith("sparknet train: error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "sparknet-out").exists()


def test_a_compressed_file_is_refused_in_the_words_of_the_command(capsys, tmp_path):
    path = tmp_path / "w.npz"
    np.savez_compressed(path, **{"ip1/0": np.zeros((128, 784), "f4"), "ip1/1": np.zeros(128, "f4")})
    for command in ([*ONE_ROUND, "--out", str(tmp_path / "out"), "--weights"], ["inspect"]):
        assert main([*command, str(path), "--max-bytes", "100"]) == 2
        found = re.search(r"the limit is 100\. Pass --max-bytes (\d+) if you trust", capsys.readouterr().err)
        assert main([*command, str(path), "--max-bytes", found[1]]) == 0
        capsys.readouterr()


def test_convert_says_what_it_did_and_what_it_left_out(capsys, tmp_path):
    source, target = tmp_path / "w.sparknet", tmp_path / "w.npz"
    weights = sparknet.WeightCollection({"ip": [np.ones((400, 3), "float32")], "relu": []})
    sparknet.save(source, weights, metadata={"round": 3})
    assert main(["convert", str(source), str(target)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        rf"{re.escape(str(target))}: weights, 1 tensors, 1,200 parameters, 4,800 bytes, from sparknet to npz in \d+\.\d\d s",
        lines[0],
    )
    assert lines[1:] == ["  left out, for want of a place (metadata, layers without arrays): round, relu"]
    assert np.load(target).files == ["ip/0"]
    assert main(["convert", "--from", "npz", "--to", "sparknet", str(target), str(tmp_path / "back.bin")]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert sparknet.load(tmp_path / "back.bin") == sparknet.WeightCollection({"ip": weights["ip"]})


def test_convert_inflates_as_much_as_it_is_told_to(capsys, tmp_path):
    source, target = tmp_path / "w.sparknet", tmp_path / "w.npz"
    sparknet.save(source, {"a": np.zeros(1000)}, compression="zstd")
    assert main(["convert", "--max-bytes", "7999", str(source), str(target)]) == 2
    assert "the limit is 7999. Pass --max-bytes 8000 if you trust where it comes from" in capsys.readouterr().err
    assert not target.exists()
    assert main(["convert", "--max-bytes", "8000", str(source), str(target)]) == 0
    assert np.array_equal(np.load(target)["a"], np.zeros(1000))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["w.sparknet", "w.bin"], "got the suffix '.bin', expected one of .sparknet, .msg, "),
        (["w.sparknet", "w.npz", "--to", "h5"], "got the format 'h5', expected one of sparknet, npy, npz, "),
        (["w.sparknet", "w.sparknet"], "'w.sparknet' is the source itself; write to another file"),
        (
            ["w.sparknet", "no/w.npz"],
            "No such file or directory; its directory has to be there, and to be readable and writable: 'no/w.npz'",
        ),
        (["none.npz", "w.sparknet"], "No such file or directory: 'none.npz'"),
        (["w.sparknet", "w.caffemodel"], "tensor 'ip/0' is int64; a .caffemodel file holds float32, float64"),
        (["w.sparknet", "w.npz", "--from", "npz"], "'w.sparknet': damaged, or no .npz file: BadZipFile"),
    ],
)
def test_what_cannot_be_converted_is_one_line_and_exit_code_2_and_writes_nothing(
    capsys, tmp_path, monkeypatch, arguments, text
):
    monkeypatch.chdir(tmp_path)
    sparknet.save("w.sparknet", sparknet.WeightCollection({"ip": [np.arange(3)]}))
    before = (tmp_path / "w.sparknet").read_bytes()
    assert main(["convert", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("sparknet convert: error: ")
    assert text in err
    assert err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"w.sparknet": before}


def test_help_and_no_command(capsys):
    assert main([]) == 2
    assert "train" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0


def test_a_run_that_breaks_off_has_exit_code_1_and_keeps_its_last_round(capsys, tmp_path, monkeypatch):
    from sparknet import main_job

    def failing(*args, **options):
        rounds = averaged_sgd(*args, **options)

        def one():
            yield next(rounds)
            rounds.close()
            raise sparknet.ClusterError("the executors are gone", traceback="Traceback of a worker")

        return Rounds(one(), rounds.weights, 0, 2)

    averaged_sgd = main_job.averaged_sgd
    monkeypatch.setattr(main_job, "averaged_sgd", failing)
    code, text, err = run(capsys, *FAST, "--out", str(tmp_path / "out"))
    assert code == 1
    assert err == "Traceback of a worker\nsparknet train: error: the executors are gone\n"
    assert "1 of 2 rounds done" in text
    assert sparknet.inspect(tmp_path / "out" / "weights.sparknet").metadata["round"] == 0


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_a_run_that_diverges_ends_at_once_in_the_words_of_the_command(capsys, tmp_path):
    arguments = ("--learning-rate", "1e30", "--rounds", "3", "--tau", "5", "--out", str(tmp_path / "out"))
    for policy, text in (
        ("error", "--on-nonfinite leave_out averages the results"),
        ("error", "--on-nonfinite warn goes on with what there is"),
        ("leave_out", "no worker is left"),
    ):
        code, out, err = run(capsys, *FAST, *arguments, "--on-nonfinite", policy)
        assert code == 1
        assert "round 0: worker 0: the loss of its update" in err
        assert text in err
        assert "on_nonfinite" not in err
        assert "round 1/3" not in out


@pytest.mark.parametrize(("chosen", "expected"), [(None, {}), ("direct", {"transport": "direct"})])
def test_the_way_of_the_weights_is_that_of_the_option_or_the_cluster_s_own(monkeypatch, chosen, expected):
    rows = SimpleNamespace(flatMap=lambda _: None)
    session = SimpleNamespace(sparkContext=SimpleNamespace(parallelize=lambda *_: rows), stop=lambda: None)
    spark = SimpleNamespace(
        start_spark=lambda *_, **__: session, pack=lambda *_, **__: None, SparkCluster=lambda _, **options: options
    )
    monkeypatch.setattr(sparknet, "spark", spark, raising=False)
    monkeypatch.setitem(sys.modules, "sparknet.spark", spark)
    monkeypatch.setattr(master, "_silence_py4j", lambda: None)
    options = {"master": "local[2]", "timeout": None, "workers": 2, "ragged": "error", "seed": 0, "transport": chosen}
    options |= {"aggregation": "sliced"}
    images = SimpleNamespace(fields=[], train=(np.zeros(4), np.zeros(4)), test=(np.zeros(4), np.zeros(4)))
    ctrl_c = SimpleNamespace(install=lambda: None)
    with master.packed_images(argparse.Namespace(**options), images, (2, 2), None, ctrl_c) as (cluster, _, _):
        assert cluster == {"aggregation": "sliced", **expected}
