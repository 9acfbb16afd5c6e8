"""``python -m sparknet``: the command, where the folder of the script ``sparknet`` is not on PATH."""

import sys

from sparknet.cli import main

if __name__ == "__main__":
    sys.exit(main())
