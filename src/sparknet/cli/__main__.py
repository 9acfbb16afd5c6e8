"""``python -m sparknet.cli`` does the same as ``python -m sparknet``."""

import sys

from sparknet.cli import main

if __name__ == "__main__":
    sys.exit(main())
