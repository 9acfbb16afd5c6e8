"""tools/fresh.py without a network: stand-ins for debootstrap and for unshare, which runs the command beside the machine."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "fresh.py"
# What the real one leaves, as far as the script relies on it.
DEBOOTSTRAP = 'for last; do :; done; mkdir -p "$last/etc" "$last/root"; echo "debootstrap $*"'
# Arguments: its own options, then debootstrap's command, or sh -c INSIDE sh ROOT COMMAND.
UNSHARE = """
while case "$1" in -*) true;; *) false;; esac; do shift; done
[ "$1" = sh ] || exec "$@"
shift 4
echo "in $1: $2"; cd "$1/root/sparknet" && exec sh -c "$2"
"""


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """The module, as root, in a checkout of one commit, with stand-ins; machines are made in tmp_path."""
    spec = importlib.util.spec_from_file_location("fresh", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, text in (("debootstrap", DEBOOTSTRAP), ("unshare", UNSHARE)):
        program(tmp_path, name, text)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    checkout = tmp_path / "checkout"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "--quiet", checkout], check=True)
    (checkout / "file").write_text("committed")
    subprocess.run([*git, "add", "file"], cwd=checkout, check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "one"], cwd=checkout, check=True)
    monkeypatch.setattr(module, "ROOT", checkout)
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    monkeypatch.setattr(module.tempfile, "mkdtemp", lambda **_: str(machine(tmp_path)))
    before = signal.getsignal(signal.SIGTERM)
    yield module
    signal.signal(signal.SIGTERM, before)


def program(folder, name, text):
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def machine(folder):
    path = folder / "machine"
    path.mkdir(mode=0o700, exist_ok=True)  # as mkdtemp does
    return path


def test_both_commands_of_the_readme_are_run(fresh):
    readme = (ROOT / "README.md").read_text()
    for command in fresh.COMMANDS:
        assert f"```sh\n{command}\n```" in readme


def test_commands_run_in_a_clone_of_the_last_commit_and_their_times_are_printed(fresh, tmp_path, capfd):
    (fresh.ROOT / "file").write_text("changed")
    assert fresh.main(["trixie", "cat file", "ls"]) == 0
    out = capfd.readouterr().out
    assert "changes that are not committed are left out" in out
    assert f"debootstrap --variant=minbase --include=python3,ca-certificates,git trixie {tmp_path}/machine\n" in out
    assert f"in {tmp_path}/machine: cat file\ncommitted" in out
    told = out.splitlines()[-3:]
    assert re.fullmatch(r"\[fresh\] trixie: debootstrap, \d+ s", told[0])
    assert re.fullmatch(r"\[fresh\] trixie: cat file, \d+ s, exit status 0", told[1])
    assert not (tmp_path / "machine").exists()


def test_a_command_that_fails_gives_status_1_and_the_next_is_run_all_the_same(fresh, tmp_path, capfd):
    assert fresh.main(["bookworm", "exit 7", "true"]) == 1
    told = capfd.readouterr().out.splitlines()[-2:]
    assert re.fullmatch(r"\[fresh\] bookworm: exit 7, \d+ s, exit status 7", told[0])
    assert re.fullmatch(r"\[fresh\] bookworm: true, \d+ s, exit status 0", told[1])
    assert not (tmp_path / "machine").exists()


def test_a_debian_that_cannot_be_made_gives_status_1_and_leaves_nothing(fresh, tmp_path, capfd):
    program(tmp_path, "debootstrap", "exit 3")
    assert fresh.main(["bookworm"]) == 1
    assert "debootstrap bookworm: exit status 3" in capfd.readouterr().out
    assert not (tmp_path / "machine").exists()


def test_an_end_from_outside_ends_the_command_and_removes_the_machine(fresh, tmp_path, monkeypatch):
    program(tmp_path, "unshare", UNSHARE.replace("shift 4", f"echo $$ > {tmp_path}/pid; exec sleep 600"))
    os.mkfifo(tmp_path / "pid")
    enter, waited_for = subprocess.Popen.__enter__, threading.Event()

    def entered(process):
        if str(process.args[0]).endswith("unshare"):
            waited_for.set()
        return enter(process)

    def end():
        (tmp_path / "pid").read_text()
        assert waited_for.wait(200)  # the command writes before Python has a process to wait for
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess.Popen, "__enter__", entered)

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(SystemExit, match="143"):
        fresh.main(["trixie"])
    thread.join()
    assert not (tmp_path / "machine").exists()


def test_mounts_and_processes_are_in_namespaces_that_end_with_the_command(fresh):
    assert {"--mount", "--pid", "--fork", "--kill-child"} < set(fresh.namespaces())


def test_a_machine_with_a_mount_in_it_is_kept(fresh, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fresh, "MOUNTS", tmp_path / "mountinfo")
    fresh.MOUNTS.write_text(f"24 1 0:5 / {machine(tmp_path)}/dev rw - devtmpfs udev rw\n")
    fresh.remove(tmp_path / "machine")
    assert (tmp_path / "machine").exists()
    assert "machine is kept, since something is mounted in it" in capsys.readouterr().out


def test_nothing_of_the_callers_environment_goes_in_but_proxies_and_registries(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "1")
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    (machine(tmp_path) / "etc").mkdir()
    environment = fresh.prepare(tmp_path / "machine")
    assert environment["https_proxy"] == "http://proxy:1"
    assert environment["HOME"] == "/root"
    assert "SECRET" not in environment


def test_other_users_than_root_get_into_the_machine(fresh, capfd):
    assert fresh.main(["trixie", "stat -c 'mode %a' ../.."]) == 0
    assert "mode 755\n" in capfd.readouterr().out


def test_a_mirror_that_is_behind_will_do(fresh, tmp_path):
    (machine(tmp_path) / "etc").mkdir()
    fresh.prepare(tmp_path / "machine")
    (settings,) = (tmp_path / "machine" / "etc" / "apt" / "apt.conf.d").iterdir()
    assert settings.read_text() == 'Acquire::Check-Valid-Until "false";\n'


@pytest.mark.parametrize(
    ("argv", "expected"),
    [(["jessie"], "invalid choice: 'jessie'"), ([], "the following arguments are required: release")],
)
def test_releases_that_are_not_tried_are_refused(fresh, capsys, argv, expected):
    with pytest.raises(SystemExit, match="2"):
        fresh.main(argv)
    assert expected in capsys.readouterr().err


def test_a_user_who_is_not_root_is_told_so(fresh, capsys, monkeypatch):
    monkeypatch.setattr(fresh.os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match="2"):
        fresh.main(["trixie"])
    assert "run this as root" in capsys.readouterr().err


def test_help_works():
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "bookworm" in done.stdout
