"""What this machine has for sparknet, and warnings about a Spark session: ``sparknet doctor``."""

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
from sparknet.clusters.spark.training.reaching import direct_obstacle
from sparknet.errors import DeviceError, MissingDependency, as_sparknet_error
from sparknet.nets.caffe.runtime import load as load_caffe

__all__ = ["Finding", "examine"]

_BACKENDS = ("numpy", "cupy", "torch")
_EXTRAS = (
    "spark",
    "arrow",
    "images",
    "convert",
    "hdf5",
    "compression",
    "fsspec",
    "tls",
)  # those for users; backends have lines of their own


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Parameters
    ----------
    subject
        What the line is about.
    state
        ``"ok"``; ``"missing"``: not installed, which matters only if you use it; ``"warning"``: something should be changed.
    said
        A version, or the problem and its fix.
    """

    subject: str
    state: Literal["ok", "missing", "warning"]
    said: str

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.state:<8} {self.subject}: {self.said}"


def examine(spark: Any = None) -> list[Finding]:
    """Return what this machine has, and warnings about a Spark session.

    Parameters
    ----------
    spark
        A running SparkSession or SparkContext; sparknet need not have started it. A short job runs on it. Looked at are its
        protection against other users, whether it tries lost tasks again, whether its executors have the driver's Python
        and packages, and whether workers on them can connect to the driver. None: no session.

    Raises
    ------
    ClusterError
        The session was stopped, or ``spark`` is no session.

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
    """Return the finding of ``look``; for a missing package it is the message that a user of it gets."""
    try:
        return Finding(subject, "ok", look())
    except MissingDependency as error:
        return Finding(subject, "missing", str(error))
    except DeviceError as error:
        return Finding(subject, "warning", str(error))
    except Exception as error:  # noqa: BLE001 - the line is there to name what is broken
        return Finding(
            subject, "warning", f"is installed and does not work: {as_sparknet_error(error)}; install it again"
        )


def _backend(name: str) -> str:
    # CUDA is not started here: a program that has started it cannot fork any more
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
    if obstacle := direct_obstacle(context):
        yield Finding("workers", "warning", f"{obstacle}; until then each round is a job, which takes longer")
