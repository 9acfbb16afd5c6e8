"""Files of a Python worker, in the directories that Spark gives its executor for such things.

Spark removes these directories when the executor ends; what is put there needs no other owner.
"""

import os
import tempfile
from pathlib import Path

__all__ = ["local_directories"]


def local_directories() -> list[Path]:
    """Return the executor's scratch directories (``spark.local.dir``); the system's outside of an executor."""
    return [Path(name) for name in os.environ.get("SPARK_LOCAL_DIRS", tempfile.gettempdir()).split(",")]
