"""The page of modules names each of them, as its docstring does."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_names_every_module_by_the_first_sentence_of_its_docstring():
    made = runpy.run_path(str(ROOT / "tools" / "module_page.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), "python tools/module_page.py writes it again"
    undocumented = [line for line in made["page"]().splitlines() if line.startswith("- ") and line.endswith(": ")]
    assert not undocumented
