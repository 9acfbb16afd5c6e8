"""The folder of ``--out`` on a disk that is full, and after a run that was killed at any moment.

``SPARKNET_MOMENTS=200`` kills at 200 random moments instead of a few.
"""

import json
import os
import subprocess
import sys

import pytest
from strategies import share

import sparknet

MOMENTS = int(os.environ.get("SPARKNET_MOMENTS", share(4, 2)))
FAST = ["--master", "none", "--rounds", "3", "--tau", "2", "--hidden", "32"]

LIMITED = """
import resource, sys
from sparknet.cli import main
size = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
sys.exit(main(["train", *sys.argv[2:]]))
"""


def run(script, *arguments, **environment):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)} | environment
    )  # fmt: skip


def events(out):
    return [json.loads(line)["event"] for line in (out / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A folder with the results of a run."""
    out = tmp_path_factory.mktemp("out")
    assert run(LIMITED, 1 << 30, *FAST, "--out", out).returncode == 0
    return out


@pytest.mark.parametrize(
    ("room", "refused", "code", "left"),
    [(50_000, "weights.sparknet", 1, ["start"]), (100, "events.jsonl", 2, [])],
)
def test_on_a_full_disk_the_run_ends_with_the_file_named_and_the_one_before_whole(before, room, refused, code, left):
    weights = (before / "weights.sparknet").read_bytes()
    done = run(LIMITED, room, *FAST, "--seed", "1", "--out", before)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert "File too large" in done.stderr
    assert str(before / refused) in done.stderr
    assert events(before) == left  # no half of a line
    assert sorted(path.name for path in before.iterdir()) == ["events.jsonl", "weights.sparknet"]
    assert (before / "weights.sparknet").read_bytes() == weights


EVENTS = """
import resource, sys
from pathlib import Path
from sparknet.training import EventLog
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
with EventLog(Path(sys.argv[1])) as log:
    try:
        for i in range(100):
            log.write("note", text="a" * 300)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        log.write("end")
"""


def test_an_event_that_the_disk_does_not_take_whole_is_an_error_and_left_out_before_the_next_one(tmp_path):
    done = run(EVENTS, tmp_path / "events.jsonl")
    assert done.stderr.splitlines()[-1] == f"OSError: [Errno 27] File too large: '{tmp_path / 'events.jsonl'}'"
    assert events(tmp_path) == ["note", "note", "end"]


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import sparknet
from sparknet.cli import main

moments, out, *arguments = sys.argv[1:]
chance, out = random.Random(1), Path(out)
begin = time.monotonic()
assert main(["train", *arguments, "--out", str(out)]) == 0
whole, found = time.monotonic() - begin, 0
sys.stdout.flush()
while found < int(moments):
    child = os.fork()
    if not child:
        os._exit(main(["train", *arguments, "--seed", str(found), "--out", str(out)]))
    wait = chance.uniform(0, whole)
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        found += 1
    else:  # it had ended: a fork imports nothing, and the machine may be less busy now
        whole = wait
    sparknet.load(out / "weights.sparknet", mmap=False, verify=True)
    names = {path.name for path in out.iterdir()}
    assert names >= {"weights.sparknet"}, names
    left = sum(name.startswith(".sparknet-") and name.endswith(".tmp") for name in names)
    assert left <= 1, names
    assert names <= {"events.jsonl", "weights.sparknet", ".sparknet.lock"} or left, names
assert main(["train", *arguments, "--out", str(out)]) == 0
"""


@pytest.mark.timeout(120 + 5 * MOMENTS)
def test_a_run_that_is_killed_at_any_moment_leaves_whole_weights_and_nothing_that_the_next_one_keeps(tmp_path):
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}  # threads do not outlive a fork
    done = run(KILLED, MOMENTS, tmp_path / "out", *FAST, **one)
    assert done.returncode == 0, done.stderr
    assert events(tmp_path / "out") == ["start", "round", "round", "round", "end"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["events.jsonl", "weights.sparknet"]
    sparknet.load(tmp_path / "out" / "weights.sparknet", verify=True)
