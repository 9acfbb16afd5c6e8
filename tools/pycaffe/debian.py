"""The packages that pycaffe is compiled and run with, by Debian release, and their installation.

Knows names and apt, nothing of Caffe. Installs only what is missing and only as root or with a sudo that asks no
password: a build must never hang at a prompt. In every other case the error names the command to type.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from problems import UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Release(NamedTuple):
    """What differs between the releases of Debian."""

    python: str
    """The one version of Python that Boost.Python is built for."""
    libraries: tuple[str, ...]
    """The packages that the wheel runs with; an interface of another number is a package of another name."""


RELEASES = {
    "debian 12": Release(
        "3.11",
        (
            "libboost-python1.74.0",
            "libboost-thread1.74.0",
            "libboost-filesystem1.74.0",
            "libprotobuf32",
            "libgoogle-glog0v6",
            "libhdf5-103-1",
            "libhdf5-hl-100",
            "libopenblas0-pthread",
        ),
    ),
    "debian 13": Release(
        "3.13",
        (
            "libboost-python1.83.0",
            "libboost-thread1.83.0",
            "libboost-filesystem1.83.0",
            "libprotobuf32t64",
            "libgoogle-glog0v6t64",
            "libhdf5-310",
            "libhdf5-hl-310",
            "libopenblas0-pthread",
        ),
    ),
    # Not released yet: the names of November 2026, which change as its libraries do.
    "debian forky": Release(
        "3.14",
        (
            "libboost-python1.92.0",
            "libboost-thread1.92.0",
            "libboost-filesystem1.92.0",
            "libprotobuf32t64",
            "libgoogle-glog0v6t64",
            "libhdf5-320",
            "libhdf5-hl-320",
            "libopenblas0-pthread",
        ),
    ),
}
# These have the same names in each release, and in other distributions made from Debian.
BUILD = (
    "g++",
    "patch",
    "libboost-python-dev",
    "libboost-thread-dev",
    "libboost-filesystem-dev",
    "libprotobuf-dev",
    "protobuf-compiler",
    "libgoogle-glog-dev",
    "libhdf5-dev",
    "libopenblas-dev",
)


def known() -> Release | None:
    """Return what is known of this machine's release, or None on another system."""
    return RELEASES.get(release())


def libraries() -> tuple[str, ...]:
    """Return the packages that the wheel runs with; none on a system that is not known."""
    found = known()
    return found.libraries if found else ()


def ensure(packages: Iterable[str]) -> None:
    """Install those of `packages` that are missing.

    Raises
    ------
    UnfitError
        If some are missing and this Debian is not known here, or this is not root, or apt fails.
    """
    wanted = missing(packages)
    if not wanted:
        return
    fix = install_command(wanted)
    if not known():
        raise UnfitError(
            got=release(),
            expected=f"{' or '.join(RELEASES)}, the packages of which are known here",
            fix=f"install what corresponds to {' '.join(wanted)}; where the names differ, pass --no-apt",
        )
    prefix = become_root()
    if prefix is None:
        raise UnfitError(
            got="a user who is not root, without a sudo that asks no password",
            expected="root, or the packages installed",
            fix=f"run as root: {fix}",
        )
    print(f"[pycaffe] {fix}", file=sys.stderr, flush=True)
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *wanted]):
        _apt(prefix, command, fix)


def missing(packages: Iterable[str]) -> list[str]:
    """Return those of `packages` that dpkg does not know as installed, in their order."""
    names = list(packages)
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
    try:
        # an unknown name makes the exit status 1, and the other lines are there all the same
        known = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return names
    installed = {line.split()[0] for line in known.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def install_command(packages: Iterable[str]) -> str:
    """Return what to type to install `packages`."""
    return f"apt-get install --no-install-recommends {' '.join(packages)}"


def release() -> str:
    """Return the distribution and its version, such as "debian 12"; a Debian without a number has its name."""
    try:
        fields = platform.freedesktop_os_release()
    except OSError:
        return platform.system()
    version = fields.get("VERSION_ID") or fields.get("VERSION_CODENAME", "")
    return f"{fields['ID']} {version}".strip()


def become_root() -> list[str] | None:
    """Return what to put before a command to run it as root, or None if there is no way."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n"]
    return None


def _apt(prefix: list[str], arguments: list[str], fix: str) -> None:
    command = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *arguments]
    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if status:
        raise UnfitError(
            got=f"exit status {status} from apt-get {arguments[0]} (its output is above)",
            expected="0",
            fix=f"run as root: {fix}",
        )
