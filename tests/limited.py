"""Running code of a test in a process whose memory and time are bounded, so that what fails the test harms nobody."""

import subprocess
import sys

_LIMIT = """
import resource, sys
{before}
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {memory}, used + {memory}))
{code}
"""


def run_limited(code, *arguments, before="", memory=256 << 20, seconds=60):
    """Return the finished process that ran ``before`` (imports) and then ``code`` in ``memory`` bytes more.

    Raises
    ------
    subprocess.TimeoutExpired
        It took longer: it hangs.
    """
    program = _LIMIT.format(before=before, memory=memory, code=code)
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
