"""The fuzzer: it runs, it finds what is planted, and what it has found once stays mended."""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from fuzz import oracles, running
from fuzz.corpus import blank, seeds, world
from fuzz.entries import ENTRIES, FILES, Entry
from fuzz.running import BLOCK, FOUND, WORLDS, examine, fuzz, recorded_warnings, replay
from strategies import share

from sparknet import FormatError
from sparknet.serialization import dumps, inspect, load_into, loads, reading, receiving
from sparknet.serialization.reader import decode, verifying

STARTS = {name: BLOCK * WORLDS.index(name) for name in set(WORLDS)}
TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("path", sorted(FOUND.glob("*.bin")), ids=lambda path: path.stem)
def test_what_was_found_stays_mended(path):
    assert replay(path) == ""


@pytest.mark.parametrize("name", ["plain", "short"])
def test_every_seed_is_read_by_every_entry_point(name):
    with world(name), recorded_warnings() as warned:
        for seed in seeds(name):
            outcomes, what = examine(name, seed, seed.data, warned, ENTRIES)
            assert what == ""
            bare = "checksums" not in seed.columns
            assert {entry for entry, outcome in outcomes.items() if not outcome.accepted} <= (
                {"verify", "verify, of a file", "loads, verified"} if bare else set()
            )


def test_every_file_is_read():
    with recorded_warnings() as warned:
        for seed in seeds("files"):
            outcomes, what = examine("files", seed, seed.data, warned, FILES)
            assert what == ""
            assert outcomes["formats.read"].accepted


@pytest.mark.parametrize(("name", "count"), [("plain", 400), ("short", 250), ("files", 250)])
def test_mutants_break_nothing(name, count):
    count = share(count, 150)  # each entry point reads some and refuses some
    tally = fuzz("fast", STARTS[name], count)
    assert [finding.what for finding in tally.findings] == []
    assert tally.messages == {name: count}
    for entry in FILES if name == "files" else ENTRIES:
        assert tally.outcomes[entry, "value"] > 0
        assert tally.outcomes[entry, "FormatError"] > 0


def test_a_message_is_the_same_whichever_came_before():
    whole, parts = fuzz("same", BLOCK - 40, 80), running.Tally()
    for first in BLOCK, BLOCK - 40:
        parts.add(fuzz("same", first, 40))
    for counter in "messages", "mutations", "outcomes", "refusals":
        assert getattr(whole, counter) == getattr(parts, counter)


# ---- planted faults


def a_key_error(_):
    raise KeyError("dims")


class Panic(BaseException):
    """As Rust has them."""


def a_panic(_):
    raise Panic


def no_end(_):
    raise oracles.Hang


def a_warning(mutant):
    warnings.warn("odd", stacklevel=1)
    return loads(mutant.data)


def much_time(mutant):
    end = time.process_time() + 0.02
    while time.process_time() < end:
        pass
    return loads(mutant.data)


def much_memory(mutant):
    room = np.ones(20 << 20, "uint8")
    return loads(mutant.data[: len(room)])


def refusal(_):
    raise FormatError("no", tensor=None, offset=None)


def a_place_beyond_the_end(mutant):
    raise FormatError("no", tensor=None, offset=len(mutant.data) + 1)


def other_values(mutant):
    return loads(dumps(loads(mutant.data, max_bytes=oracles.MAX_BYTES), encoding="bfloat16"), copy=True)


def half_written(mutant):
    live = blank(mutant.seed.live)
    try:
        load_into(live, mutant.data)
    except FormatError as error:
        error.live = loads(mutant.seed.data)
        raise
    return live


PLANTED = {
    "another exception": ("load", Entry(a_key_error), "KeyError: 'dims'"),
    "a panic": ("load", Entry(a_panic), "Panic"),
    "a hang": ("load", Entry(no_end), "Hang"),
    "a warning": ("loads", Entry(a_warning), "warned: odd"),
    "a writable view": ("load", Entry(ENTRIES["loads, copied"].call), "writable: True"),
    "a copy that is read-only": ("loads, copied", Entry(ENTRIES["loads"].call, writable=True), "writable: False"),
    "other values": ("loads, copied", Entry(other_values, writable=True), "other values than loads"),
    "a refusal of what is a message": ("iter_load", Entry(refusal), "it gives no, but loads a value"),
    "a refusal at no place": ("loads, not verified", Entry(a_place_beyond_the_end), "the offset"),
    "elements that are not looked at": (
        "verify",
        Entry(lambda mutant: inspect(mutant.data)),
        "it gives a value, but loads tensor",
    ),
    "live arrays that have changed": (
        "load_into",
        Entry(half_written, ENTRIES["load_into"].refusals, True),
        "live arrays",
    ),
}


def found(wanted, most, **options):
    """Return what is found in so many messages; in the quick profile in a tenth of them, and in more until what is wanted is found."""
    findings = []
    for first in range(0, most, 20):
        if first >= share(most) and any(wanted in finding.what for finding in findings):
            break
        findings += fuzz("planted", first, 20, **options).findings
    return findings


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_of_an_entry_point_is_found(fault):
    name, entry, text = PLANTED[fault]
    findings = found(text, 200, entries=ENTRIES | {name: entry})
    assert any(text in finding.what for finding in findings)
    assert all(finding.what.startswith(name) for finding in findings)


@pytest.mark.parametrize(("limit", "value", "entry"), [("SECONDS", 0.01, much_time), ("MEMORY", 1 << 20, much_memory)])
def test_what_is_dear_is_found(monkeypatch, limit, value, entry):
    monkeypatch.setattr(oracles, limit, value)
    findings = fuzz("planted", 0, 1, entries=ENTRIES | {"loads": Entry(entry)}).findings
    assert "bytes of memory for a message of" in findings[0].what


@pytest.mark.parametrize(
    ("modules", "function", "text"),
    [
        ((decode, reading), "check_tensors", "has not the checksum in the header"),
        ((decode, reading, receiving), "check_gaps", "payloads have changed and the header has not"),
        ((decode, verifying), "refuse_bools", "a bool is neither 0 nor 1"),
        ((reading,), "check_stored", "it gives a value, but loads tensor"),
    ],
)
def test_a_check_of_the_reader_that_is_left_out_is_found(monkeypatch, modules, function, text):
    for module in modules:
        monkeypatch.setattr(module, function, lambda *_, **__: None)
    assert any(text in finding.what for finding in found(text, 400))


def test_what_is_found_is_written_and_read_again(monkeypatch, tmp_path):
    monkeypatch.setattr(verifying, "refuse_bools", lambda *_: None)
    path = next(finding for finding in found("a bool", 400) if "a bool" in finding.what).write(tmp_path)
    assert "message" in path.with_suffix(".txt").read_text()
    assert "a bool" in replay(path)
    monkeypatch.undo()
    assert replay(path) == ""


# ---- the command


def run(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, *script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_command_prints_a_summary(tmp_path):
    done = run(["-m", "fuzz"], "--messages", "30", "--seed", "x", "--found", str(tmp_path / "found"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("30 messages (seed x, from 0)")
    assert done.stdout.endswith("\n0 findings\n")
    assert not (tmp_path / "found").exists()


FAULTY = """
import os, sys
from fuzz import __main__ as command
from fuzz.running import Finding, Tally

def fuzz(seed, first, count, patience):
    if seed == "dies":
        os._exit(3)
    return Tally(findings=[Finding("plain", "array", b"abc", "how", "what")])

command.fuzz = fuzz
sys.exit(command.main())
"""


def test_the_command_fails_with_a_finding_and_writes_it(tmp_path):
    done = run(["-c", FAULTY], "--messages", "3", "--found", str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("FOUND ")
    assert done.stdout.endswith("\n1 findings\n")
    assert [path.read_bytes() for path in tmp_path.glob("plain-*.bin")] == [b"abc"]


def test_the_command_fails_if_a_process_dies():
    done = run(["-c", FAULTY], "--messages", "3", "--seed", "dies")
    assert done.returncode == 1, done.stderr
    assert "a process died soon after message 0 of seed dies" in done.stdout
