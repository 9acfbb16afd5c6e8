#!/usr/bin/env python3
"""Run the two commands of the README on a Debian that has nothing, and print how long each took.

debootstrap makes the smallest Debian of a release, with Python and git. The last commit of this checkout is cloned into
it. The commands run there by chroot, as root, with a clean environment. All that runs has mount and process namespaces
of its own: what it mounts and starts ends with it, also when it is killed, and this machine never sees a mount.

Takes about an hour, and 10 GB in the folder for temporary files, which is removed in the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
RELEASES = ("bookworm", "trixie", "testing")
COMMANDS = ("tools/nox -s demo", "tools/nox")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
MOUNTS = Path("/proc/self/mountinfo")
# The lists of testing end after a week, and a mirror may be behind by more.
ANY_AGE = 'Acquire::Check-Valid-Until "false";\n'
# A machine behind a proxy or with a registry of its own says so here; all else of the environment stays outside.
PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "npm_config_registry")
INSIDE = """
mount -t proc proc "$1/proc" && mount -t sysfs sys "$1/sys" && mount --rbind /dev "$1/dev" &&
exec chroot "$1" sh -c "cd /root/sparknet && $2"
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; return 0 if every command succeeded, 1 if not, 2 if this machine cannot try it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("release", choices=RELEASES)
    parser.add_argument("commands", nargs="*", default=COMMANDS, help="instead of the README's")
    chosen = parser.parse_args(argv)
    if os.geteuid() != 0:
        parser.error("debootstrap and chroot are for root: run this as root")
    for program in ("debootstrap", "git", "unshare"):
        if not shutil.which(program):
            parser.error(f"there is no {program} on PATH; on Debian: apt-get install debootstrap git util-linux")
    if changes():
        note("changes that are not committed are left out")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder is removed then too
    root = Path(tempfile.mkdtemp(prefix="sparknet-fresh-", dir="/var/tmp"))
    root.chmod(0o755)  # apt fetches packages as a user of its own, who has to get in
    try:
        return try_commands(root, chosen.release, chosen.commands)
    finally:
        remove(root)


def try_commands(root: Path, release: str, commands: Sequence[str]) -> int:
    """Make the machine in the folder ``root`` and run the commands in it; return the exit status."""
    options = ("--variant=minbase", "--include=python3,ca-certificates,git")
    status, seconds = timed([*namespaces(), "debootstrap", *options, release, root])  # it mounts /proc
    if status:
        note(f"debootstrap {release}: exit status {status}; the output above says why")
        return 1
    told = [f"{release}: debootstrap, {seconds:.0f} s"]
    checkout = root / "root" / "sparknet"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, checkout], check=True)
    environment = prepare(root)
    failed = 0
    for command in commands:
        note(f"{release}: {command}")
        status, seconds = timed([*namespaces(), "sh", "-c", INSIDE, "sh", root, command], environment)
        told.append(f"{release}: {command}, {seconds:.0f} s, exit status {status}")
        failed += status != 0
    for line in told:
        note(line)
    return int(failed > 0)


def namespaces() -> list[str]:
    """Return what to put before a command that mounts: its mounts are seen by no other, and end with it."""
    program = shutil.which("unshare") or "unshare"  # this machine's: the PATH of the command is the other's
    return [program, "--mount", "--pid", "--fork", "--kill-child"]


def prepare(root: Path) -> dict[str, str]:
    """Give the machine this one's names of hosts and its certificates; return the environment for its commands."""
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc", name), root / "etc" / name)
    settings = root / "etc" / "apt" / "apt.conf.d"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "90any-age").write_text(ANY_AGE, encoding="ascii")
    environment = {
        "HOME": "/root",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "CI": "true",
    }
    environment.update({name: os.environ[name] for name in PASSED_ON if name in os.environ})
    if CERTIFICATES.exists():  # beside the machine's own ones, which its packages write anew
        shutil.copy(CERTIFICATES, root / "etc" / "outer-certificates.crt")
        names = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        environment.update(dict.fromkeys(names, "/etc/outer-certificates.crt"))
    return environment


def timed(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> tuple[int, float]:
    """Run a command without input, and end it whatever ends this script; return its exit status and its seconds."""
    begin = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment) as process:
        try:
            status = process.wait()
        finally:
            process.kill()  # where it has ended already, this does nothing
    return status, time.monotonic() - begin


def remove(root: Path) -> None:
    """Remove the machine; processes of it that were killed may take a moment to end, and write until then."""
    if f" {root}/" in MOUNTS.read_text(encoding="utf-8"):  # never delete through a mount
        note(f"{root} is kept, since something is mounted in it")
        return
    for _ in range(50):
        shutil.rmtree(root, ignore_errors=True)
        if not root.exists():
            return
        time.sleep(0.2)
    note(f"{root} could not be removed")


def changes() -> bool:
    """Say whether this checkout has changes that a clone does not get."""
    command = ["git", "-C", ROOT, "status", "--porcelain"]
    return bool(subprocess.run(command, capture_output=True, check=True).stdout)


def note(text: str) -> None:
    """Tell the person who waits."""
    print(f"[fresh] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
