"""The rooms of serialization: how many floors its modules stand on. Their order is a contract of import-linter."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import sparknet.serialization

HOME = Path(sparknet.serialization.__file__).parent
FLOORS = 8
ROOT = Path(__file__).parents[2]


def module_name(path):
    """``message.header`` for ``message/header.py``; nothing for the package itself."""
    return ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


MODULES = {module_name(path): path for path in HOME.rglob("*.py")}


@cache
def imported_by(module):
    """The modules of serialization that one imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            home = f"{node.module}."
            names = [home + name.name for name in node.names] + [node.module]
        else:
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        inside = {name.removeprefix("sparknet.serialization.") for name in names if "sparknet.serialization." in name}
        found |= inside & set(MODULES)
    return found


@cache
def longest_chain(module):
    """The longest chain of imports that begins at a module, itself first."""
    return (module, *max(map(longest_chain, sorted(imported_by(module))), key=len, default=()))


def test_no_module_stands_on_more_than_seven_others():
    chains = [longest_chain(module) for module in MODULES if module]
    assert {len(chain) for chain in chains} == set(range(1, FLOORS + 1)), max(chains, key=len)


def test_the_imports_that_are_counted_are_those_of_the_modules():
    assert {"reader.opening", "memory.buffers", "message.header"} <= imported_by("reader.decode")
    assert longest_chain("memory.cores") == ("memory.cores",)


def test_the_architecture_page_has_the_rooms_in_the_order_of_the_contract():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = {contract["id"]: contract for contract in project["tool"]["importlinter"]["contracts"]}
    layers = " ".join(contracts["serialization-rooms"]["layers"])
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text().partition("`serialization` has")[2]
    rows = re.findall(r"^\| `(\w+)` \|", page.partition("## ")[0], re.MULTILINE)
    assert rows == [name for name in re.findall(r"\w+", layers) if (HOME / name).is_dir()]
