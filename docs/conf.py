"""Sphinx: MyST pages, built with every warning an error (``nox -s docs``)."""

import tomllib
from pathlib import Path

import sparknet

_project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = _project["name"]
author = _project["authors"][0]["name"]
copyright = f"{author}, {_project['license']}"  # noqa: A001 - Sphinx's name for it
release = version = _project["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# The pages are built without these; each has one home in the code.
autodoc_mock_imports = ["caffe", "cupy", "google", "pyspark", "threadpoolctl", "torch"]
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False

# Names of other projects cannot be resolved without the network; our own must all resolve.
nitpick_ignore_regex = [(r"py:.*", r"(?!sparknet).*")]
nitpick_ignore = [
    # Types of private fields and of what rooms hand each other.
    ("py:class", "sparknet.data.mean.Summed"),
    ("py:class", "sparknet.nets.caffe.prototxt.Definition"),
    ("py:class", "sparknet.serialization.message.header.Header"),
    ("py:class", "sparknet.serialization.message.layout.MessageLayout"),
    ("py:class", "sparknet.checkpoint.round_names.Folder"),
    ("py:class", "sparknet.data.shards.Stored"),
    ("py:class", "sparknet.training.divergence.Divergence"),
    ("py:class", "sparknet.training.pace.Quorum"),
    ("py:class", "sparknet.training.protocols.Found"),
]


def _at_home(app, env, node, content):
    """Lead from a name taken from ``sparknet`` itself (``sparknet.dumps``) to where it is documented."""
    package, _, name = node.get("reftarget", "").rpartition(".")
    if package != "sparknet" or name not in sparknet.__all__:
        return None
    home = getattr(sparknet, name).__module__
    for module in (home, home.rpartition(".")[0]):  # sparknet.serialization.writing documents nothing, its package does
        arguments = (env, node["refdoc"], app.builder, node["reftype"], f"{module}.{name}", node, content)
        found = env.get_domain("py").resolve_xref(*arguments)
        if found is not None:
            return found
    return None


def setup(app):
    """Register with Sphinx."""
    app.connect("missing-reference", _at_home)
