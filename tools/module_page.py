#!/usr/bin/env python3
"""Write docs/explanation/modules.md: what each module of the package is for, by the first sentence of its docstring.

A test compares the page with what this prints: after a change of a docstring, ``python tools/module_page.py`` writes it again.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "modules.md"
HEAD = """# Every module

What each module is for, by the first sentence of its docstring, room after room in alphabetical order. The order in which rooms
know each other, and which file to open for which change, are on [the page before](architecture.md). `tools/module_page.py` writes this page.
"""


def page() -> str:
    """Return the page."""
    package = ROOT / "src" / "sparknet"
    sections = [HEAD]
    for room in sorted(path.parent for path in package.rglob("__init__.py")):
        name = ".".join(("sparknet", *room.relative_to(package).parts))
        modules = sorted(path for path in room.glob("*.py") if path.stem != "__init__")
        lines = [f"- `{path.stem}`: {sentence(path)}" for path in modules]
        sections.append("\n".join([f"## {name}", "", sentence(room / "__init__.py"), "", *lines]).rstrip() + "\n")
    return "\n".join(sections)


def sentence(path: Path) -> str:
    """Return the first paragraph of a module's docstring, as Markdown."""
    text = (
        (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0].replace("\n", " ")
    )
    return re.sub(r"``(.+?)``", r"`\1`", re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
