"""What this machine has for sparknet, and what there is to say against a Spark session: ``sparknet doctor``."""

import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any, Literal

from sparknet.backends import available, get_backend
from sparknet.clusters.spark.jobs.health import session_warnings
from sparknet.clusters.spark.jobs.startup import check_java
from sparknet.errors import DeviceError, MissingDependency, as_sparknet_error
from sparknet.nets.caffe.runtime import load as load_caffe

__all__ = ["Finding", "examine"]

_BACKENDS = ("numpy", "cupy", "torch")
_EXTRAS = ("spark", "arrow", "images", "convert", "hdf5", "compression")  # for users, those of backends aside


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Parameters
    ----------
    subject
        What was looked at.
    state
        ``"ok"``; ``"missing"``: not installed, which matters to those who use it; ``"warning"``: something should be changed.
    said
        A version, or what is the matter and the fix.
    """

    subject: str
    state: Literal["ok", "missing", "warning"]
    said: str

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.state:<8} {self.subject}: {self.said}"


def examine(spark: Any = None) -> list[Finding]:
    """Return what this machine has, and what there is to say against a Spark session.

    Parameters
    ----------
    spark
        A SparkSession or SparkContext that runs, also one that sparknet did not start: its protection against other users, whether
        it tries lost tasks again, and whether its executors have the driver's Python and packages (a short job). None: no session.

    Raises
    ------
    ClusterError
        The session was stopped, or is none.

    Examples
    --------
    >>> print(examine()[1])  # doctest: +ELLIPSIS
    ok       numpy: 2...
    """
    return [*_machine(), *(() if spark is None else _session(spark))]


def _machine() -> Iterator[Finding]:
    yield Finding("Python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for name in _BACKENDS:
        yield _tried(name, partial(_backend, name))
    yield _tried("Java", lambda: str(check_java()))
    yield _tried("Caffe", lambda: str(load_caffe().__version__))
    for extra in _EXTRAS:
        yield _tried(f"extra {extra!r}", partial(_extra, extra))


def _tried(subject: str, look: Callable[[], str]) -> Finding:
    """Return what a look finds; what is missing is said as whoever uses it would be told."""
    try:
        return Finding(subject, "ok", look())
    except MissingDependency as error:
        return Finding(subject, "missing", str(error))
    except DeviceError as error:
        return Finding(subject, "warning", str(error))
    except Exception as error:  # noqa: BLE001 - what is broken is what its line is read for
        return Finding(
            subject, "warning", f"is installed and does not work: {as_sparknet_error(error)}; install it again"
        )


def _backend(name: str) -> str:
    # a program that asks about its Spark session may fork later, which it cannot once CUDA was started
    device = "cuda:0" if name == "cupy" and name in available() else get_backend(name).device
    distribution = metadata.packages_distributions().get(name, [name])[0]
    return f"{metadata.version(distribution)}, on {device}"


def _extra(extra: str) -> str:
    """Return the packages of an extra with their versions."""
    said: list[str] = []
    missing: list[str] = []
    for requirement in metadata.requires("sparknet") or ():
        wanted, _, marker = requirement.partition(";")
        name = re.split(r"[<>=!~ ]", wanted)[0]
        older = re.search(r"python_version < '3\.(\d+)'", marker)
        if f"extra == '{extra}'" not in marker or (older and sys.version_info >= (3, int(older[1]))):
            continue
        try:
            said.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        msg = f"{', '.join(missing)} is not installed: pip install 'sparknet[{extra}]'"
        raise MissingDependency(msg)
    return ", ".join(said)


def _session(spark: Any) -> Iterator[Finding]:
    warnings = session_warnings(spark)
    context = getattr(spark, "sparkContext", spark)
    yield Finding("Spark session", "ok", f"Spark {context.version} on {context.master}")
    for subject, said in warnings.items():
        yield Finding(subject, "warning", said)
