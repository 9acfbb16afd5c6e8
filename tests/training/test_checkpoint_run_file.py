"""run.json: what was run, for people."""

import json
import os

import numpy as np
import pytest
from kept_training import FACTORY, facts, start, train

import sparknet
from sparknet.checkpoint import run_file


def runs(directory):
    return json.loads((directory / "run.json").read_text())["runs"]


def test_the_file_says_arguments_settings_versions_and_schema(tmp_path):
    train(tmp_path, rounds=2, max_seconds=1e9)
    (run,) = runs(tmp_path)
    assert run["first_round"] == 0
    assert (
        run["arguments"].items() >= {"workers": 2, "tau": 3, "rounds": 2, "seed": 7, "cluster": "LocalCluster"}.items()
    )
    assert (run["arguments"]["rule"], run["arguments"]["max_seconds"]) == ("WeightedMean()", 1e9)
    assert run["settings"]["num_batches"] == "13"
    assert "Mirror" in run["notes"]["preprocessor"]
    assert run["schema"]["ip1"] == [["float32", [4, 25]], ["float32", [4]]]
    assert run["versions"]["sparknet"] == sparknet.__version__
    assert run["versions"]["numpy"] == np.__version__


def test_each_run_that_does_a_round_is_added(tmp_path):
    for rounds in (2, 3, 3):
        train(tmp_path, rounds=rounds)
    assert [run["first_round"] for run in runs(tmp_path)] == [0, 2]


def test_it_is_there_before_the_first_round_and_not_where_nothing_was_asked_for(tmp_path):
    rounds = start(tmp_path)
    assert not (tmp_path / "run.json").exists()
    next(rounds)
    assert len(runs(tmp_path)) == 1


def test_of_very_many_runs_the_first_and_the_last_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(run_file, "_MOST", 3)
    for number in range(5):
        run_file.add_run(tmp_path, {"number": number})
    assert [run["number"] for run in runs(tmp_path)] == [0, 3, 4]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"runs": 7}', "null", "[" * 100_000, '"runs"', "\xff"])
def test_what_is_no_list_of_runs_is_written_anew_and_that_is_said(tmp_path, caplog, text):
    (tmp_path / "run.json").write_text(text, encoding="latin-1")
    assert facts(train(tmp_path, rounds=1)) == facts(train(rounds=1))
    assert len(runs(tmp_path)) == 1
    (record,) = caplog.records
    assert "run.json is not what sparknet wrote there" in record.getMessage()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("elsewhere")])
def test_what_is_no_file_in_its_place_is_refused_before_the_first_round(tmp_path, make):
    make(tmp_path / "run.json")
    with pytest.raises(OSError, match=r"run\.json"):
        next(start(tmp_path))
    assert not list(tmp_path.glob("round-*"))


def test_an_object_of_no_kind_of_json_becomes_its_text(tmp_path):
    run_file.add_run(tmp_path, {"seed": FACTORY})
    assert "MLP" in runs(tmp_path)[0]["seed"]
