"""What the doctor says of a machine: versions, and what is missing with the command that brings it."""

import re
import sys
from importlib import metadata

import pytest

from sparknet import doctor
from sparknet.cli import main
from sparknet.clusters.spark.jobs import startup
from sparknet.doctor import examine


def states():
    return {finding.subject: (finding.state, finding.said) for finding in examine()}


def test_every_array_library_and_every_extra_for_users_has_its_line():
    found = states()
    assert found["numpy"] == ("ok", f"{metadata.version('numpy')}, on cpu")
    assert found["extra 'images'"] == ("ok", f"pillow {metadata.version('pillow')}")
    assert {"Python", "cupy", "torch", "Java", "Caffe", "extra 'spark'", "extra 'tls'"} < set(found)


def test_what_is_not_installed_is_missing_with_the_command_that_brings_it(monkeypatch):
    installed = metadata.version

    def version(name):
        if name == "h5py":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    found = states()
    assert found["extra 'hdf5'"] == ("missing", "h5py is not installed: pip install 'sparknet[hdf5]'")
    assert found["Java"][0] == "missing"
    assert "JAVA_HOME='/nowhere' has no bin/java" in found["Java"][1]


@pytest.mark.parametrize("error", [OSError("libtorch.so: no such file"), RuntimeError("ABI"), SystemError("numpy 1")])
def test_what_is_installed_and_broken_is_a_warning_and_the_other_lines_are_there(monkeypatch, error):
    def get_backend(_name):
        raise error

    monkeypatch.setattr(doctor, "get_backend", get_backend)
    found = states()
    said = f"is installed and does not work: {type(error).__name__}: {error}; install it again"
    assert found["torch"] == ("warning", said)
    assert {"Java", "Caffe", "extra 'spark'"} < set(found)


@pytest.mark.parametrize(
    ("text", "said"), [("no program", "Exec format error"), ("#!/bin/sh\nexec sleep 60", "timed out")]
)
def test_a_java_that_does_not_run_is_missing(monkeypatch, tmp_path, text, said):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(text)
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(startup, "_JAVA_SECONDS", 0.5)
    state, found = states()["Java"]
    assert state == "missing"
    assert re.search(rf"java -version does not run \(.*{said}.*\); Spark needs Java 17; install one", found)


@pytest.mark.parametrize(("version", "asked"), [((3, 13), True), ((3, 14), False)])
def test_a_package_that_is_for_older_pythons_is_not_asked_for_on_newer_ones(monkeypatch, version, asked):
    monkeypatch.setattr(metadata, "requires", lambda _: ["zstd>=1; (python_version < '3.14') and extra == 'hdf5'"])
    monkeypatch.setattr(metadata, "version", lambda _: "1.2")
    monkeypatch.setattr(sys, "version_info", version)
    assert doctor._extra("hdf5") == ("zstd 1.2" if asked else "")


def test_the_command_prints_the_findings_and_fails_only_where_there_is_a_warning(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda _: [doctor.Finding("cupy", "missing", "no \x1b[2J")])
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out == "missing  cupy: no \\x1b[2J\n"
    monkeypatch.setattr(doctor, "examine", lambda _: [doctor.Finding("spark.authenticate", "warning", "is off")])
    assert main(["doctor"]) == 1
