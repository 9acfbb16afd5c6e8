"""tools/pycaffe up to the compiler: what the cache key covers, what is refused, and how it is told. Compiles nothing."""

import importlib
import os
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from unittest import mock

import pytest

FOLDER = Path(__file__).parents[2] / "tools" / "pycaffe"
INPUTS = ["recipe.py", "CMakeLists.txt", "pyproject.toml", "caffe_check_throws.h"]
PATCHES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("patches/*"))
NO_INPUTS = ["README.md", "build.py", "debian.py", "problems.py"]


@pytest.fixture
def build(monkeypatch, tmp_path):
    """The module build.py, with a cache of its own, as if this Python were the right one."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("PYCAFFE_CACHE", str(tmp_path / "cache"))
    for name in ("PYCAFFE_JOBS", "PYCAFFE_CXXFLAGS", "PYCAFFE_APT", "CXX"):
        monkeypatch.delenv(name, raising=False)
    with mock.patch.dict(sys.modules):
        module = importlib.import_module("build")
        monkeypatch.setattr(module, "check_python", lambda: None)
        monkeypatch.setattr(module, "check_tools", lambda: None)
        yield module


@pytest.fixture
def asked_for(build, monkeypatch):
    """The package lists that were asked of Debian, in order; nothing is installed."""
    asked = []
    monkeypatch.setattr(build.debian, "ensure", asked.append)
    return asked


@pytest.fixture
def kept_wheel(build, tmp_path):
    """A file in the cache where the wheel of these inputs would be."""
    path = tmp_path / "cache" / build.recipe.cache_key(FOLDER, "") / "caffe-1-py3-none-any.whl"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def problem(capsys):
    """Return the one line that a failed call leaves; nothing may be on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def program(monkeypatch, path, commands):
    """Put a shell script in front of the programs of its name."""
    path.write_text(f"#!/bin/sh\n{commands}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)


# ------------------------------------------------------------------------------------------ the cache key


@pytest.mark.parametrize("name", INPUTS + PATCHES)
def test_the_key_changes_with_every_input_file(build, tmp_path, name):
    copy = shutil.copytree(FOLDER, tmp_path / "copy")
    before = build.recipe.cache_key(copy, "")
    assert before == build.recipe.cache_key(FOLDER, "")
    (copy / name).write_bytes((copy / name).read_bytes() + b"\n")
    assert build.recipe.cache_key(copy, "") != before


def test_the_key_changes_with_flags_compiler_machine_release_python_and_patch_order(build, tmp_path, monkeypatch):
    copy = shutil.copytree(FOLDER, tmp_path / "copy")
    keys = [build.recipe.cache_key(copy, ""), build.recipe.cache_key(copy, "-march=native")]
    (copy / PATCHES[0]).rename(copy / "patches" / "99-last.patch")
    keys.append(build.recipe.cache_key(copy, ""))
    monkeypatch.setenv("CXX", "clang++")
    keys.append(build.recipe.cache_key(copy, ""))
    monkeypatch.setattr(build.recipe.platform, "machine", lambda: "another")
    keys.append(build.recipe.cache_key(copy, ""))
    monkeypatch.setattr(build.debian, "release", lambda: "another")
    keys.append(build.recipe.cache_key(copy, ""))
    monkeypatch.setattr(build.recipe.sys.implementation, "cache_tag", "cpython-399")
    keys.append(build.recipe.cache_key(copy, ""))
    assert len(set(keys)) == len(keys)


def test_every_file_of_the_folder_is_known_as_an_input_or_not(build):
    files = [path for path in FOLDER.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    assert sorted(path.relative_to(FOLDER).as_posix() for path in files) == sorted(INPUTS + PATCHES + NO_INPUTS)
    assert [path.relative_to(FOLDER).as_posix() for path in build.recipe.inputs(FOLDER)] == INPUTS + PATCHES


def test_patches_have_numbers_of_their_own_and_begin_with_their_reason():
    numbers = [name.removeprefix("patches/")[:3] for name in PATCHES]
    assert len(set(numbers)) == len(PATCHES)
    for number, name in zip(numbers, PATCHES, strict=True):
        assert number[:2].isdecimal()
        assert number[2] == "-"
        reason = (FOLDER / name).read_text().partition("\n--- ")[0]
        assert reason.rstrip().endswith(".")


# ------------------------------------------------------------------------------------------ what is refused


def test_a_source_distribution_with_a_wrong_hash_is_refused_even_from_the_cache(build, tmp_path):
    archive = tmp_path / build.recipe.ARCHIVE
    archive.write_bytes(b"not it")
    with pytest.raises(
        build.ProblemError, match=rf"got .* sha256 [0-9a-f]{{64}}, expected {build.recipe.SHA256}; remove"
    ):
        build.recipe.fetch(tmp_path, tmp_path, tmp_path / "log")


def test_a_patch_that_does_not_apply_stops_the_build_and_is_named(build, tmp_path, monkeypatch):
    program(monkeypatch, tmp_path / "patch", "echo no such context; exit 1")
    with pytest.raises(build.ProblemError, match=r"got 01-.*\.patch refused \(no such context\), expected"):
        build.recipe.apply_patches(tmp_path, FOLDER)


@pytest.mark.parametrize(
    ("system", "version", "expected"),
    [
        (
            ("debian", "12"),
            (3, 13),
            "got cpython 3.13, expected cpython 3.11, the one that debian 12 builds Boost.Python",
        ),
        (
            ("debian", "13"),
            (3, 11),
            "got cpython 3.11, expected cpython 3.13, the one that debian 13 builds Boost.Python",
        ),
        (("debian", "13"), (3, 14), "call this file with python3.13"),
        (("ubuntu", "24.04"), (3, 9), "got cpython 3.9, expected cpython 3.11 or newer"),
    ],
)
def test_a_python_without_boost_gives_one_line_and_status_2(system, version, expected):
    pretend = f"""
import platform, runpy, sys
platform.freedesktop_os_release = lambda: dict(zip(("ID", "VERSION_ID"), {system}))
sys.version_info = {version}
sys.path.insert(0, {str(FOLDER)!r})
runpy.run_path({str(FOLDER / "build.py")!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_a_number_of_jobs_that_is_none_gives_one_line_and_status_2(build, monkeypatch, capsys, jobs):
    monkeypatch.setenv("PYCAFFE_JOBS", jobs)
    assert build.main(["--no-apt"]) == 2
    assert f"got PYCAFFE_JOBS={jobs}, expected a number" in problem(capsys)


def test_a_cache_that_cannot_be_made_gives_one_line_and_status_2(build, monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PYCAFFE_CACHE", str(tmp_path / "file" / "cache"))
    assert build.main(["--no-apt"]) == 2
    assert "set PYCAFFE_CACHE" in problem(capsys)


def test_missing_packages_without_root_give_the_command_to_type(build, monkeypatch, capsys):
    monkeypatch.setattr(build.debian, "missing", lambda _: ["g++", "libhdf5-dev"])
    monkeypatch.setattr(build.debian, "release", lambda: "debian 12")
    monkeypatch.setattr(build.debian, "become_root", lambda: None)
    assert build.main([]) == 2
    assert "apt-get install --no-install-recommends g++ libhdf5-dev\n" in problem(capsys)


@pytest.mark.parametrize("system", ["fedora 42", "ubuntu 24.04", "debian 14", "debian duke"])
def test_missing_packages_on_another_system_are_not_guessed(build, monkeypatch, capsys, system):
    monkeypatch.setattr(build.debian, "missing", lambda packages: [name for name in packages if name == "libhdf5-dev"])
    monkeypatch.setattr(build.debian, "release", lambda: system)
    assert build.main([]) == 2
    err = problem(capsys)
    assert f"got {system}, expected debian 12 or debian 13 or debian forky, the packages of which are known here" in err
    assert "install what corresponds to libhdf5-dev; where the names differ, pass --no-apt" in err


def test_another_system_that_has_the_packages_to_build_with_needs_no_more(build, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(build.debian, "missing", lambda _: [])
    monkeypatch.setattr(build.debian, "release", lambda: "ubuntu 24.04")
    monkeypatch.setattr(build, "build", lambda _, folder: (folder.mkdir(), (folder / "caffe-1.whl").touch()))
    assert build.main([]) == 0
    assert capsys.readouterr().out.startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("system", "boost", "hdf5"),
    [
        ("debian 12", "libboost-python1.74.0", "libhdf5-103-1"),
        ("debian 13", "libboost-python1.83.0", "libhdf5-310"),
        ("debian forky", "libboost-python1.92.0", "libhdf5-320"),
    ],
)
def test_each_release_has_libraries_of_its_own_names(build, monkeypatch, system, boost, hdf5):
    monkeypatch.setattr(build.debian, "release", lambda: system)
    assert {boost, hdf5, "libopenblas0-pthread"} < set(build.debian.libraries())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ID": "debian", "VERSION_ID": "13", "VERSION_CODENAME": "trixie"}, "debian 13"),
        ({"ID": "debian", "VERSION_CODENAME": "forky"}, "debian forky"),  # testing and sid have no number
        ({"ID": "arch"}, "arch"),
    ],
)
def test_a_release_is_told_by_its_number_or_else_by_its_name(build, monkeypatch, fields, expected):
    monkeypatch.setattr(build.debian.platform, "freedesktop_os_release", lambda: fields)
    assert build.debian.release() == expected


def test_dpkg_is_asked_once_and_unknown_packages_are_missing(build, tmp_path, monkeypatch):
    program(monkeypatch, tmp_path / "dpkg-query", "echo a installed; echo b config-files; exit 1")
    assert build.debian.missing(["a", "b", "c"]) == ["b", "c"]


# ------------------------------------------------------------------------------------------ what is added


def test_the_wheel_says_which_one_it_is_and_for_which_python_and_libraries(build, monkeypatch, tmp_path):
    monkeypatch.setattr(build.debian, "release", lambda: "debian 13")
    monkeypatch.setattr(build.recipe, "python_version", lambda: "3.13")
    (tmp_path / "python" / "caffe").mkdir(parents=True)
    build.recipe.add_files(tmp_path, FOLDER, "0123456789ab")
    metadata = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert metadata["project"]["requires-python"] == "==3.13.*"
    assert (
        metadata["project"]["version"] == "1.0.0+cpu.0123456789ab"
    )  # pip would keep an older wheel of the same version
    note = (tmp_path / "python" / "caffe" / "built_on.txt").read_text().splitlines()
    assert note == ["debian 13", *build.debian.libraries()]
    for name in set(build.recipe.ADDED) - {"pyproject.toml"}:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


# ------------------------------------------------------------------------------------------ the cache


def test_a_kept_wheel_is_printed_alone_after_a_look_at_the_packages_it_runs_with(build, kept_wheel, asked_for, capsys):
    assert build.main([]) == 0
    assert capsys.readouterr() == (f"{kept_wheel}\n", "")
    assert asked_for == [build.debian.libraries()]


@pytest.mark.parametrize(("argv", "value"), [(["--no-apt"], ""), ([], "0")])
def test_no_apt_leaves_debian_alone(build, kept_wheel, asked_for, monkeypatch, argv, value):
    monkeypatch.setenv("PYCAFFE_APT", value)
    assert build.main(argv) == 0
    assert kept_wheel.exists()
    assert asked_for == []


def test_a_failed_build_leaves_its_log_and_no_wheel(build, asked_for, monkeypatch, capsys, tmp_path):
    def fail(source, work, flags, jobs, log):  # noqa: ARG001 -- the signature of what it stands for
        build.recipe.pip(log, "no-such-command")

    monkeypatch.setattr(build.recipe, "fetch", lambda *_: None)
    monkeypatch.setattr(build.recipe, "unpack", lambda _, work: work)
    monkeypatch.setattr(build.recipe, "apply_patches", lambda *_: None)
    monkeypatch.setattr(build.recipe, "add_files", lambda *_: None)
    monkeypatch.setattr(build.recipe, "compile_wheel", fail)
    assert build.main([]) == 1
    assert asked_for == [build.debian.libraries() + build.debian.BUILD]
    log = tmp_path / "cache" / f"{build.recipe.cache_key(FOLDER, '')}.log"
    assert sorted(path.name for path in log.parent.iterdir()) == sorted([log.name, "lock"])
    assert "no-such-command" in log.read_text()
    assert capsys.readouterr().err.endswith(f"see {log}\n")


def test_one_build_at_a_time(build, tmp_path, capsys):
    entered = threading.Event()

    def other():
        with build.locked(tmp_path):
            entered.set()

    with build.locked(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(60)
    thread.join()
    assert "waiting for another build" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ the rest


def test_help_works_and_explains_every_variable():
    done = subprocess.run([sys.executable, FOLDER / "build.py", "--help"], capture_output=True, text=True, check=True)
    for name in ("PYCAFFE_CACHE", "PYCAFFE_JOBS", "PYCAFFE_CXXFLAGS", "PYCAFFE_APT", "--no-apt", "exit status"):
        assert name in done.stdout


def test_there_is_a_job_for_each_cpu_at_most(build, monkeypatch):
    assert 1 <= build.default_jobs() <= len(os.sched_getaffinity(0))
    monkeypatch.setattr(build, "BYTES_PER_JOB", 2**60)
    assert build.default_jobs() == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("caffe/src/caffe/net.cpp", True),
        ("caffe/LICENSE", True),
        ("caffe/python/caffe/io.py", True),
        ("caffe/.git/config", False),
        ("caffe/setup.py", False),
        ("caffe/src/caffe/layers/relu_layer.cu", False),
        ("caffe/include/caffe/test/test_caffe_main.hpp", False),
        ("caffe/python/caffe/proto/caffe_pb2.py", False),
    ],
)
def test_only_what_a_cpu_build_needs_is_unpacked(build, name, expected):
    assert build.recipe.wanted(name) is expected
