"""Modules that are imported when a test first uses them.

For packages that cost seconds and a hundred megabytes: each process that runs tests collects all of them, and one runs those of a file.
"""

import importlib


class Later:
    """A module by its name: what is asked of it is the module's, which is imported then."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        if name.startswith(("_", "pytest")):  # pytest asks everything in a test module for such names
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)
