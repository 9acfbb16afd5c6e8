"""What the figures of a bench depend on, for its JSON."""

import os
import platform
from importlib.metadata import version


def machine(*packages):
    """The machine, how busy it is, and the versions of Python, sparknet and these packages."""
    facts = {"machine": platform.machine(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    return facts | {"python": platform.python_version()} | {name: version(name) for name in ("sparknet", *packages)}
