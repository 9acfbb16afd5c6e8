"""What the doctor says of a machine: versions, and what is missing with the command that brings it."""

import sys
from importlib import metadata

import pytest

from sparknet import doctor
from sparknet.cli import main
from sparknet.doctor import examine


def states():
    return {finding.subject: (finding.state, finding.said) for finding in examine()}


def test_every_array_library_and_every_extra_for_users_has_its_line():
    found = states()
    assert found["numpy"] == ("ok", f"{metadata.version('numpy')}, on cpu")
    assert found["extra 'images'"] == ("ok", f"pillow {metadata.version('pillow')}")
    assert {"Python", "cupy", "torch", "Java", "Caffe", "extra 'spark'", "extra 'compression'"} < set(found)


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
