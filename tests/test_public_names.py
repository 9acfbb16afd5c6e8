"""The public names: those of each module, of its ``__all__`` and of the reference are the same."""

import ast
import importlib
import inspect
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sparknet

ROOT = Path(__file__).parents[1]
REFERENCE = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))

PUBLIC_MODULES = [
    "sparknet.averaging",
    "sparknet.backends",
    "sparknet.backends.adapt",
    "sparknet.checkpoint",
    "sparknet.clusters",
    "sparknet.clusters.spark",
    "sparknet.data",
    "sparknet.data.prefetch",
    "sparknet.data.preprocess",
    "sparknet.data.ragged",
    "sparknet.doctor",
    "sparknet.errors",
    "sparknet.formats",
    "sparknet.nd",
    "sparknet.nd.fft",
    "sparknet.nd.linalg",
    "sparknet.ndarray",
    "sparknet.nets",
    "sparknet.nets.caffe",
    "sparknet.nets.torch",
    "sparknet.serialization",
    "sparknet.spark",
    "sparknet.testing",
    "sparknet.training",
    "sparknet.transport",
    "sparknet.weights",
    "sparknet.worker",
]


# Rooms share these; they are no promise to users.
INTERNAL = {
    "sparknet.data.prefetch": {"Batch"},
    "sparknet.errors": {
        "AFTER_FORK",
        "BrokenOff",
        "NOT_INITIALIZED",
        "explain",
        "as_sparknet_error",
        "interrupt_in",
        "located",
        "shown",
    },
    "sparknet.nd": {"DTYPES", "FUNCTIONS", "NamespaceInfo", "VERSION", "VERSIONS", "checked_version", "functions"},
}
DIRECTIVES = dict(re.findall(r"^\.\. automodule:: (\S+)\n((?:[ ]+:.*\n)*)", REFERENCE, re.MULTILINE))
AUTODATA = set(re.findall(r"^\.\. autodata:: (\S+)$", REFERENCE, re.MULTILINE))


def names_in(module):
    """Names without underscore that the source of a module binds: its own, and what it takes from the rooms inside it."""
    for statement in ast.parse(Path(module.__file__).read_text()).body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.ImportFrom(module=str(home), names=aliases) if home.startswith(f"{module.__name__}."):
                yield from (alias.asname or alias.name for alias in aliases)


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_public_names_equal_all(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    # A name of __all__ may also come from another room, be found when it is first used, or be made from a table.
    assert [public for public in exported if not hasattr(module, public)] == []
    own = {public for public in names_in(module) if not public.startswith("_")}
    assert own - set(exported) == INTERNAL.get(name, set())


def test_public_modules_are_those_of_the_reference():
    assert sorted(DIRECTIVES) == PUBLIC_MODULES


# With these options autodoc documents what __all__ says, or nothing: none of them adds a name to a module or leaves one out.
WHOLE = {"", "   :inherited-members:\n", "   :inherited-members: dict\n", "   :show-inheritance:\n"}


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_documented_names_equal_all(name):
    module = importlib.import_module(name)
    if DIRECTIVES[name] == "   :no-members:\n":
        assert not hasattr(module, "__all__")
        return
    assert DIRECTIVES[name] in WHOLE
    assert [public for public in module.__all__ if not is_documented(module, public)] == []


def is_documented(module, public):
    """Say whether Sphinx describes a name of a module: it leaves out, unsaid, what has no docstring where it looks for one."""
    value = getattr(module, public)
    if inspect.ismodule(value):
        return value.__name__ in DIRECTIVES
    if public not in vars(module):  # found when it is first used, and described where it lives
        return any(vars(home).get(public) is value for home in modules())
    if inspect.isclass(value) or inspect.isroutine(value):
        return bool((value.__doc__ or "").strip())
    # nd.md shows the dtypes and the constants: numbers have no docstring
    return (
        module.__name__ == "sparknet.nd" or f"{module.__name__}.{public}" in AUTODATA or public in described_in(module)
    )


def described_in(module):
    """Names that the source of a module assigns with a docstring below; of what it imports, Sphinx does not find those."""
    for statement, following in itertools.pairwise(ast.parse(Path(module.__file__).read_text()).body):
        match statement, following:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str())):
                yield name


def test_names_described_one_by_one_are_in_all():
    for public in AUTODATA:
        home, _, name = public.rpartition(".")
        assert name in importlib.import_module(home).__all__


@pytest.mark.parametrize("name", ["nd", "nd.linalg", "nd.fft"])
def test_every_name_of_the_array_namespace_has_an_example(name):
    page = (ROOT / "docs" / "reference" / "nd.md").read_text()
    examples = "\n".join(re.findall(r"^>>> .*", page, re.MULTILINE))
    module = importlib.import_module(f"sparknet.{name}")

    def is_used(public):
        call = r"\(" if inspect.isfunction(getattr(module, public)) else ""
        return re.search(rf"\b{re.escape(name)}\.{public}\b{call}", examples)

    assert [public for public in module.__all__ if not is_used(public)] == []


def test_top_level_exports_what_all_says():
    assert len(sparknet.__all__) == len(set(sparknet.__all__))
    assert [name for name in sparknet.__all__ if not hasattr(sparknet, name)] == []
    assert set(sparknet.__all__) <= set(dir(sparknet))


def test_top_level_exports_what_the_reference_documents():
    documented = {id(getattr(module, public)) for module in modules() for public in getattr(module, "__all__", [])}
    documented.update(map(id, modules()))
    assert [name for name in sparknet.__all__ if id(getattr(sparknet, name)) not in documented] == []


def test_public_modules_need_no_import_of_their_own():
    rooms = [name for name in PUBLIC_MODULES if name.count(".") == 1]
    code = f"import sparknet; print(*[name for name in {rooms} if eval(name).__name__ != name])"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")


def modules():
    return [importlib.import_module(name) for name in PUBLIC_MODULES]


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'cafe'"):
        _ = sparknet.cafe
