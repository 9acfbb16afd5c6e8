"""The fuzzer of readers: no reader breaks a law on some inputs of each, and what is planted is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.readers.running import input_of
from fuzz.readers.table import READERS

TESTS = Path(__file__).parents[1]
PLAIN = [name for name, reader in READERS.items() if not reader.needs_caffe]
WITH_CAFFE = [name for name, reader in READERS.items() if reader.needs_caffe]


def run(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, *script, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def fuzzed(names, count, seed, found):
    done = run(["-m", "fuzz.readers"], "--only", ",".join(names), "--inputs", count, "--seed", seed, "--found", found)
    assert not done.returncode, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if " inputs: read " in line]
    assert [line.split("  ")[0].strip() for line in lines] == names
    assert not [line for line in lines if " read 0," in line or "none refused" in line]
    assert not list(found.glob("*"))


@pytest.mark.slow
def test_no_reader_breaks_a_law(tmp_path):
    fuzzed(PLAIN, 20, "quick", tmp_path)


@pytest.mark.slow
@pytest.mark.caffe
def test_no_reader_that_needs_caffe_breaks_a_law(tmp_path):
    fuzzed(WITH_CAFFE, 60, "fast", tmp_path)


@pytest.mark.parametrize("name", PLAIN)
def test_an_input_is_the_same_whenever_it_is_made(name):
    made = [input_of(name, "same", number) for number in range(5)]
    assert made == [input_of(name, "same", number) for number in range(5)]


PLANTED = """
import os, socket, sys, time
import numpy as np
from sparknet.errors import ClusterError, FormatError
from fuzz.readers import __main__ as command, laws, table

def raw(path): {}["dims"]
def much(path): np.ones(40 << 20, "u1")
def asks(path):
    try: bytearray(1 << 40)
    except MemoryError as error: raise FormatError("no") from error
def slow(path):
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
def dies(path):
    if path.read_bytes() not in (b"abc", b"?"): os.abort()
def writes(path): path.parent.joinpath("other").write_bytes(b"")
def starts(path): os.system("true")
def connects(path): socket.socket().close()
def imports(path): import stranger
def unpickles(path): import pickle; pickle.loads(b"cos\\ngetcwd\\n.")
def long(path): raise ClusterError("a" * 10_000)
def unprintable(path): raise ClusterError("\\udcff")
class Odd(FormatError):
    def __init__(self, one, two): super().__init__(one)
def pickled(path): raise Odd("one", "two")

laws.SECONDS = 0.2
planted = (raw, much, asks, slow, dies, writes, starts, connects, imports, unpickles, long, unprintable, pickled)
table.READERS |= {each.__name__: table.READERS["npy"]._replace(call_with=each, seeds=lambda: [b"abc"]) for each in planted}
sys.exit(command.main(sys.argv[1:]))
"""
SAID = {
    "raw": "KeyError: 'dims'",
    "much": "bytes of memory, expected at most",
    "asks": "asked for more memory than there is",
    "slow": "s of the processor",
    "dies": "the process died: signal SIGABRT",
    "writes": "open(",
    "starts": "os.system",
    "connects": "socket.__new__",
    "imports": "imports stranger",
    "unpickles": "pickle.find_class('os', 'getcwd')",
    "long": "a refusal of 10000 characters",
    "unprintable": "a refusal that cannot be printed",
    "pickled": "a refusal that cannot be pickled",
}


def test_each_planted_fault_is_found_and_written(tmp_path):
    done = run(["-c", PLANTED], "--only", ",".join(SAID), "--inputs", 4, "--found", tmp_path)
    assert done.returncode == 1, done.stderr
    for name, text in SAID.items():
        files = sorted(tmp_path.glob(f"{name}-*.txt"))
        assert files, (name, done.stdout)
        assert text in files[0].read_text()
        assert (tmp_path / files[0].stem / "a.npy").is_file()
