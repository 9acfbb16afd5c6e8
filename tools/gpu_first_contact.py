#!/usr/bin/env python3
"""Try all of sparknet that needs a GPU on the GPU of this machine, in ten minutes at most, and keep what was found as JSON.

For the first time on a kind of GPU, a driver or a version of cupy. Each step runs in a process of its own, so one that hangs or dies
takes no other with it, and the file is written after each. Without a GPU it says so in a line and ends with 2; with 1 if a step failed.

    nox -s tests_gpu -- --json bench/results/gpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).parent
ROOT = TOOLS.parent
CHECKS = TOOLS / "gpu_checks.py"
# Where tests need a GPU: pytest takes a minute to look at all the others.
GPU_TESTS = ("tests/backends", "tests/serialization", "src/sparknet/backends")
_TAIL = 6000  # characters of what a step wrote that are kept
_ELEMENTWISE = ("a + b", "a += b", "exp(a)")
_FOUND = "import cupy; print(cupy.cuda.runtime.getDeviceCount())"
_SUMMARY = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")


@dataclass(frozen=True)
class Step:
    """One thing to try: a command, and the seconds that it may take."""

    name: str
    command: tuple[str, ...]
    seconds: int


def steps(megabytes: int, bench: Path, *, quick: bool) -> list[Step]:
    """Return the steps, the most telling ones first; together they may take ten minutes."""
    python = sys.executable
    # cupy may warn when it is imported, which is no fault of ours; what its tests must not warn of is an error again in each
    pytest = (python, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "-W", "default")
    contract = "tests/backends/test_contract.py"
    size = str(megabytes)
    few = ("--quick", "--rounds", "2") if quick else ("--rounds", "20")
    return [
        Step("versions", (python, str(CHECKS), "versions", size), 60),
        Step("contract", (*pytest, contract), 120),
        Step("cupy_tests", (*pytest, "--ignore", contract, *GPU_TESTS), 120),
        Step("transfers", (python, str(CHECKS), "transfers", size), 50),
        *(
            Step(name, (python, str(CHECKS), name, size), 24)
            for name in ("waits", "pinned", "fork", "two_processes", "rounds")
        ),
        Step("bench_gpu", (python, "bench/bench_gpu.py", *few, "--json", str(bench)), 130),
    ]


def run(step: Step, seconds: float) -> dict[str, Any]:
    """Return what came of a step: whether it went well, its seconds, what it measured or the end of what it wrote."""
    if seconds < 1:
        return {"ok": False, "said": "no time was left for it"}
    start = time.monotonic()
    process = subprocess.Popen(
        step.command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that what it started ends with it
    )
    try:
        said, _ = process.communicate(timeout=min(step.seconds, seconds))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate()[0] + f"\nkilled after {time.monotonic() - start:.0f} s"
    result: dict[str, Any] = {"ok": process.returncode == 0, "seconds": round(time.monotonic() - start, 1)}
    if "pytest" in step.command:
        result["tests"] = {kind: int(number) for number, kind in _SUMMARY.findall(said[-500:])}
        result["ok"] = result["ok"] and result["tests"].get("passed", 0) > 0
    figures = [line for line in said.splitlines() if line.startswith("{")]  # warnings may follow them
    if result["ok"] and figures:
        result["found"] = json.loads(figures[-1])
    elif not result["ok"]:
        result["said"] = said[-_TAIL:]
    return result


def targets(results: dict[str, dict[str, Any]], bench: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the figures that are to be met, of what was measured, and whether they are."""
    rows = {row["name"]: row for row in bench.get("results", [])}
    moved = results.get("transfers", {}).get("found", {})
    found: dict[str, dict[str, Any]] = {}
    for name, row in rows.items():
        if name.endswith("1 Mi: run") and name.startswith(_ELEMENTWISE):
            found[name] = {"ratio": row["ratio"], "at_most": 1.05}
        if "ours_GB_s" in row:
            found[name] = {"ratio": row["ours_GB_s"] / row["locked_GB_s"], "at_least": 0.9}
    if moved:
        found["loads(device=)"] = {"ratio": moved["loads_GB_s"] / moved["cupys_own_pinned_copy_GB_s"], "at_least": 0.9}
    for figure in found.values():
        figure["met"] = figure.get("at_least", 0) <= figure["ratio"] <= figure.get("at_most", float("inf"))
    return found


def no_device() -> str:
    """Return why there is no GPU here, in a line; nothing where there is one. Asked in another process, as it starts CUDA."""
    try:
        asked = subprocess.run([sys.executable, "-c", _FOUND], check=False, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "CUDA does not start within 120 s"
    if asked.returncode == 0 and asked.stdout.strip() not in {"", "0"}:
        return ""
    return asked.stderr.strip().rpartition("\n")[2] or "cupy finds none"


def main(arguments: list[str] | None = None) -> int:
    """Run the steps and return the exit status."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument(
        "--json", type=Path, default=Path("gpu_first_contact.json"), help="where to write what was found"
    )
    options.add_argument("--seconds", type=float, default=600, help="that all of it may take")
    options.add_argument("--megabytes", type=int, default=244, help="of weights that are sent")
    options.add_argument("--only", default="", help="names of steps, with commas between")
    options.add_argument("--quick", action="store_true", help="small sizes, to see that the steps themselves work")
    chosen = options.parse_args(arguments)
    missing = no_device()
    if missing:
        print(f"gpu_first_contact: no CUDA device can be used here ({missing}); nothing was tried", file=sys.stderr)
        return 2
    bench = chosen.json.absolute().with_suffix(".bench.json")
    planned = steps(chosen.megabytes, bench, quick=chosen.quick)
    only = [name for name in chosen.only.split(",") if name]
    unknown = sorted(set(only) - {step.name for step in planned})
    if unknown:
        options.error(f"--only {','.join(unknown)}: expected some of {', '.join(step.name for step in planned)}")
    return _tried([step for step in planned if not only or step.name in only], chosen.json, bench, chosen.seconds)


def _tried(planned: list[Step], path: Path, bench: Path, seconds: float) -> int:
    end, results = time.monotonic() + seconds, dict[str, dict[str, Any]]()
    path.parent.mkdir(parents=True, exist_ok=True)
    for step in planned:
        results[step.name] = result = run(step, end - time.monotonic())
        measured = json.loads(bench.read_text()) if bench.exists() else {}
        report = {"results": results, "bench": measured, "targets": targets(results, measured)}
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(
            f"{'ok' if result['ok'] else 'FAILED':<7} {step.name}: {result.get('tests') or result.get('found') or ''}"
        )
        if not result["ok"]:
            print(result["said"])
    bench.unlink(missing_ok=True)
    for name, figure in report["targets"].items():
        print(f"{'met' if figure['met'] else 'missed':<7} {name}: {figure['ratio']:.3f}")
    print(f"written to {path}")
    return 0 if all(result["ok"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
