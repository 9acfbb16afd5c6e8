"""Running code of a test in a process whose memory and time are bounded, so that what fails the test harms nobody."""

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

# Imports, and then forks a process for each line that it reads: imports take a second, and a fork none of it.
_SERVER = """
import json, os, resource, sys, traceback
exec(sys.argv[1])

def run(code, arguments, memory, out, err):
    for path, number in (out, 1), (err, 2):
        os.dup2(os.open(path, os.O_WRONLY), number)
    sys.argv[1:] = arguments
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    status = 0
    try:
        exec(code, globals())
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    os._exit(status)

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        run(**json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def run_limited(code, *arguments, before="", memory=256 << 20, seconds=200):
    """Return the finished process that ran ``before`` (imports) and then ``code`` in ``memory`` bytes more.

    Raises
    ------
    subprocess.TimeoutExpired
        It took longer: it hangs.
    """
    server = _server(before)
    with tempfile.TemporaryDirectory() as directory:
        out, err = Path(directory, "out"), Path(directory, "err")
        out.touch()
        err.touch()
        asked = {
            "code": code,
            "arguments": list(map(str, arguments)),
            "memory": memory,
            "out": str(out),
            "err": str(err),
        }
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], seconds)[0]:
            os.killpg(server.pid, signal.SIGKILL)
            _server.cache_clear()
            raise subprocess.TimeoutExpired(code, seconds)
        return subprocess.CompletedProcess(code, int(server.stdout.readline()), out.read_text(), err.read_text())


@functools.cache
def _server(before):
    """Return the process that has imported this. It reads a pipe of this process, so it ends with it."""
    command = [sys.executable, "-c", _SERVER, before]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0)
    atexit.register(server.communicate)
    return server
