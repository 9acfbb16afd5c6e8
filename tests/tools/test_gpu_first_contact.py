"""tools/gpu_first_contact.py without a GPU: its steps over the stand-in for CuPy, so that their own faults cost no time on one."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import stand_in

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "gpu_first_contact.py"
# What asks the driver of a GPU how many there are asks the stand-in, in every process of the script.
SITE = """
import os
from sparknet.backends import gpus

gpus.count = lambda: int(os.environ["STAND_IN_DEVICES"])
"""


@pytest.fixture
def module():
    spec = importlib.util.spec_from_file_location("gpu_first_contact", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tried(tmp_path):
    """Return a function that runs the script, on a machine of one GPU or of none."""
    (tmp_path / "sitecustomize.py").write_text(SITE)

    def run(*options, devices=1, **environment):
        path = os.pathsep.join(map(str, (tmp_path, stand_in.FOLDER, ROOT / "src", *sys.path)))
        env = {**os.environ, "PYTHONPATH": path, "STAND_IN_DEVICES": str(devices), **environment}
        command = [sys.executable, str(SCRIPT), "--json", str(tmp_path / "found.json"), *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, cwd=tmp_path)
        found = tmp_path / "found.json"
        return done, json.loads(found.read_text()) if found.exists() else None

    return run


def test_where_there_is_no_gpu_it_says_so_in_a_line_and_writes_nothing(tried):
    done, found = tried(devices=0)
    assert done.returncode == 2
    assert "no CUDA device can be used here (" in done.stderr
    assert "cudaErrorNoDevice" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert found is None


@pytest.mark.slow
def test_every_step_of_its_own_works_over_the_stand_in(tried):
    own = ["versions", "transfers", "waits", "pinned", "fork", "two_processes", "rounds", "bench_gpu"]
    done, found = tried("--quick", "--megabytes", "2", "--only", ",".join(own))
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(found["results"]) == own
    assert all(result["ok"] for result in found["results"].values())
    assert found["results"]["versions"]["found"]["device"] == "stand-in"
    assert found["bench"]["machine"]["device"] == "stand-in"
    assert {"a + b, 1 Mi: run", "host to device, 16 MiB", "loads(device=)"} <= set(found["targets"])


@pytest.mark.slow
def test_what_looks_at_memory_and_waits_works_also_where_the_device_is_slow(tried):
    done, found = tried("--megabytes", "2", "--only", "transfers,waits,pinned", STAND_IN_SLOW="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(result["ok"] for result in found["results"].values())


@pytest.mark.slow
def test_a_step_of_tests_counts_them_whatever_cupy_warns_of(tried):
    done, found = tried("--only", "cupy_tests", STAND_IN_WARNS="1")
    assert done.returncode == 0, done.stdout
    assert found["results"]["cupy_tests"]["tests"]["passed"] > 20


def test_every_test_that_needs_a_gpu_is_where_the_steps_look(module):
    folders = [ROOT / folder for folder in ("tests", "src", "docs")]
    paths = [path for folder in folders for kind in ("*.py", "*.md") for path in folder.rglob(kind)]
    texts = {path: path.read_text("utf-8") for path in paths}
    marked = {path for path, text in texts.items() if re.search(r"\bmark\.gpu\b|<!-- needs:[a-z, ]*\bgpu\b", text)}
    marked -= {
        path for path in marked if re.search(r"\bmark\.torch\b", texts[path])
    }  # the session torch_gpu looks at them
    assert ROOT / "tests" / "backends" / "test_cupy.py" in marked
    looked_at = [ROOT / folder for folder in module.GPU_TESTS]
    assert [path for path in marked if not any(path.is_relative_to(folder) for folder in looked_at)] == []


def test_a_step_that_does_not_exist_is_named(tried):
    done, _ = tried("--only", "waits,nothing")
    assert done.returncode == 2
    assert "--only nothing: expected some of versions, contract" in done.stderr


def test_all_steps_together_have_the_time_that_they_may_take(module):
    assert sum(each.seconds for each in module.steps(244, Path("bench.json"), quick=False)) <= 600


# ---- how a step ends
def step(module, code, seconds=60):
    return module.run(module.Step("a step", (sys.executable, "-c", code), seconds), 60)


def test_what_a_step_measures_is_kept(module):
    found = step(
        module, "import sys; print('a warning'); print('{\"a\": 1}', flush=True); print('another', file=sys.stderr)"
    )
    assert found["ok"]
    assert found["found"] == {"a": 1}


def test_a_step_that_fails_leaves_the_end_of_what_it_said(module):
    found = step(module, "raise SystemExit('x' * 10000 + ' the reason')")
    assert not found["ok"]
    assert found["said"].endswith(" the reason\n")
    assert len(found["said"]) <= module._TAIL


def test_a_step_that_hangs_is_ended_with_what_it_started(module):
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"
    found = step(module, code, seconds=1)
    assert not found["ok"]
    assert "killed after" in found["said"]


def test_tests_of_which_none_ran_are_no_success(module, monkeypatch):
    monkeypatch.setattr(module, "ROOT", Path("/"))
    code = "import sys; print('4 skipped in 0.1s')"
    found = module.run(module.Step("tests", (sys.executable, "-c", code, "pytest"), 60), 60)
    assert found["tests"] == {"skipped": 4}
    assert not found["ok"]


def test_when_no_time_is_left_a_step_is_not_begun(module):
    assert module.run(module.Step("late", ("no-such-program",), 60), 0.5) == {
        "ok": False,
        "said": "no time was left for it",
    }


def test_targets_say_what_is_met(module):
    bench = {
        "results": [
            {"name": "a + b, 1 Mi: run", "ratio": 1.04},
            {"name": "a + b, 1 Mi: queue", "ratio": 3.0},
            {"name": "a[3], 1 Mi: run", "ratio": 3.0},
            {"name": "exp(a), 1 Mi: run", "ratio": 1.06},
            {"name": "device to host, 16 MiB", "ours_GB_s": 8.0, "locked_GB_s": 10.0},
        ]
    }
    moved = {"transfers": {"found": {"loads_GB_s": 9.5, "cupys_own_pinned_copy_GB_s": 10.0}}}
    found = module.targets(moved, bench)
    assert {name: figure["met"] for name, figure in found.items()} == {
        "a + b, 1 Mi: run": True,
        "exp(a), 1 Mi: run": False,
        "device to host, 16 MiB": False,
        "loads(device=)": True,
    }
    assert module.targets({}, {}) == {}
