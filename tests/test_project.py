"""What holds for the project as a whole: its version, what importing it costs, its exceptions, its drawings."""

import ast
import os
import pickle
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import hypothesis
import pytest

import sparknet
from sparknet import errors

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

OPTIONAL = (
    "backports",
    "caffe",
    "cupy",
    "fsspec",
    "google",
    "h5py",
    "lz4",
    "matplotlib",
    "pyspark",
    "safetensors",
    "torch",
)


def test_version_is_the_one_of_the_package():
    assert sparknet.__version__ == PROJECT["project"]["version"]


def loaded_after(code):
    """Top-level packages in ``sys.modules`` of a fresh interpreter that ran ``code``."""
    code += "\nimport sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_import_loads_no_optional_package():
    assert loaded_after("import sparknet").isdisjoint(OPTIONAL)


def test_round_trip_of_weights_loads_no_optional_package():
    loaded = loaded_after(
        "import numpy, sparknet\n"
        "w = sparknet.WeightCollection({'ip': [sparknet.NDArray(numpy.ones((2, 3), numpy.float32))]})\n"
        "assert sparknet.loads(sparknet.dumps(w)) == w\n"
    )
    assert loaded.isdisjoint(OPTIONAL)
    assert "array_api_compat" not in loaded  # which imports all of numpy


EXCEPTIONS = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_exception_survives_pickling_with_its_fields(kind):
    error = pickle.loads(pickle.dumps(kind("what, expected, fix", layer="conv1")))
    assert type(error) is kind
    assert str(error) == "what, expected, fix"
    assert error.layer == "conv1"


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_exception_keeps_type_and_fields_where_its_place_is_added(kind):
    error = kind("what, expected, fix", name="conv1", row=2).placed("minibatch 4", batch=4)
    assert type(error) is kind
    assert str(error) == "minibatch 4: what, expected, fix"
    assert (error.name, error.row, error.batch) == ("conv1", 2, 4)


@pytest.mark.parametrize("kind", [errors.FormatError, errors.SchemaError, errors.DataError, errors.NetError])
def test_a_message_with_what_comes_from_anywhere_is_bounded_and_can_be_printed(kind):
    error = kind("begin" + "a" * 10_000_000 + "end")
    again = pickle.loads(pickle.dumps(error.placed("row 3")))
    for text in str(error), str(again):
        assert len(text) <= 4000
        assert text.endswith("aend")
        assert "characters are left out)" in text
    assert str(kind("x" * 4000)) == "x" * 4000
    assert str(kind("the name \ud800")).encode() == b"the name \\ud800"


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_exception_is_a_sparknet_error_and_a_builtin(kind):
    assert issubclass(kind, errors.SparknetError)
    if kind is not errors.SparknetError:
        assert any(base.__module__ == "builtins" for base in kind.__bases__)


def test_the_old_name_of_training_error_is_taken():
    assert sparknet.BrokenOff is errors.BrokenOff is errors.TrainingError


def test_exceptions_are_drawn_in_the_docstring():
    assert [name for name in errors.__all__ if name not in errors.__doc__] == []


def test_architecture_page_draws_the_rooms_of_the_contract():
    contracts = {contract["id"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    layers = [set(re.findall(r"\w+", layer)) for layer in contracts["rooms"]["layers"]]
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    drawing = page.partition("```text\n")[2].partition("```")[0]
    drawn = [set(re.split(r"\s*,\s*", line.split("  ")[0])) for line in drawing.splitlines() if re.match(r"\w", line)]
    assert drawn == layers


MACHINES = ["driver_side", "worker_side", "standing", "actions", "messages", "faults", "limits", "overdue"]


@pytest.mark.parametrize("name", MACHINES)
def test_the_protocol_of_rounds_knows_no_socket_no_thread_and_no_clock(name):
    source = (ROOT / "src" / "sparknet" / "transport" / f"{name}.py").read_text()
    nodes = list(ast.walk(ast.parse(source)))
    imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    imported += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    known = {f"sparknet.transport.{each}" for each in MACHINES} | {"sparknet.transport", "sparknet.errors"}
    pure = {"collections", "dataclasses", "math", "numbers", "typing"}
    assert [each for each in imported if each not in known and each.partition(".")[0] not in pure] == []


def test_the_name_of_a_class_says_one_thing():
    sources = (path.read_text() for path in (ROOT / "src").rglob("*.py"))
    names = Counter(name for source in sources for name in re.findall(r"^class ([A-Za-z]\w*)", source, re.MULTILINE))
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize(
    "page", ["train_a_torch_module", "turn_a_loop_into_rounds", "bring_your_own_framework", "average_in_your_own_loop"]
)
def test_pages_about_a_framework_of_ones_own_have_less_than_a_hundred_lines(page):
    assert len((ROOT / "docs" / "how-to" / f"{page}.md").read_text().splitlines()) < 100


def test_the_files_to_change_are_there():
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    table = page.partition("## Where to change what\n")[2].partition("\n## ")[0]
    files = re.findall(r"`([\w/]+\.py)`", table)
    assert len(files) > 10
    assert [file for file in files if not (ROOT / "src" / "sparknet" / file).exists()] == []


def test_every_ruff_exception_is_explained():
    rules = (ROOT / "pyproject.toml").read_text().partition("ignore = [\n")[2].partition("\n]")[0]
    assert [line for line in rules.splitlines() if "#" not in line] == []


def test_the_tests_may_be_started_in_the_background_with_ctrl_c_ignored():
    # as `sh -c 'tools/nox &'` starts them
    name = "tests/test_cli.py::test_ctrl_c_leaves_the_last_finished_rounds_weights"
    pytest_ = f"{sys.executable} -m pytest -q -p no:cacheprovider {name}"
    command = ["sh", "-c", f"trap '' INT; exec {pytest_}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_every_pytest_of_nox_names_how_many_examples():
    calls = re.findall(r'\.run\(\s*"pytest", (\w+), ', (ROOT / "noxfile.py").read_text())
    assert set(calls) == {"EXAMPLES", "ALL_EXAMPLES"}
    assert len(calls) == (ROOT / "noxfile.py").read_text().count('"pytest"')


@pytest.mark.parametrize(("ci", "expected"), [("", ("quick", "full")), ("true", ("ci", "ci"))])
def test_ci_takes_all_examples_of_each_law_and_a_developer_a_tenth(monkeypatch, ci, expected):
    monkeypatch.setenv("CI", ci)
    lines = re.findall(r"^((?:ALL_)?EXAMPLES) = (.*)$", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    said = {name: eval(value, {"os": os}) for name, value in lines}  # noqa: S307 -- nox is in no environment of the tests
    assert said == dict(
        zip(("EXAMPLES", "ALL_EXAMPLES"), [f"--hypothesis-profile={each}" for each in expected], strict=True)
    )
    examples = {name: hypothesis.settings.get_profile(name).max_examples for name in ("quick", "full", "ci")}
    assert examples == {"quick": 10, "full": 100, "ci": 100}
