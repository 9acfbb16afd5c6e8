"""What ``run.json`` says of a run: its arguments, its data, the schema of its weights, and the versions."""

import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from sparknet.checkpoint import Position
from sparknet.data.preprocess.summary import summary

if TYPE_CHECKING:
    from sparknet.training.run import Run

__all__ = ["facts_of"]

_PACKAGES = ("numpy", "pyspark", "torch", "cupy")  # that were imported
_ARGUMENTS = ("workers", "rounds", "seed", "solver_state", "sampling")


def facts_of(run: "Run", position: Position) -> dict[str, Any]:
    """Return the facts of a run that goes on after a position."""
    arguments = {name: getattr(run, name) for name in _ARGUMENTS}
    arguments |= asdict(run.pace)
    arguments |= {
        "rule": summary(run.rule),
        "cluster": type(run.cluster).__name__,
        "evaluate_every": None if run.evaluate is None else run.evaluate[1],
        "on_nonfinite": run.divergence.policy,
    }
    return {
        "run": run.name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "first_round": position.rounds,
        "arguments": arguments,
        "schema": {name: [[str(a.dtype), list(a.shape)] for a in arrays] for name, arrays in position.weights.items()},
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    ours = {"sparknet": sys.modules["sparknet"].__version__, "python": platform.python_version()}
    return ours | {name: found for name in _PACKAGES if name in sys.modules and (found := _version(name))}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # cupy is installed under several names
        return str(getattr(sys.modules[package], "__version__", ""))
