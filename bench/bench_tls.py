"""Claim: over loopback an encrypted round takes at most 5 times as long as a plain one of the same bytes.

A hub here and a worker in a process of its own: weights of 244 MB (as AlexNet has) go out, and come back in slices of 1 MiB. Plain and
encrypted rounds take turns, and each ratio is that of two neighbours; the median is told. Beside it: what a session costs before its first
round, once for the driver (a certificate) and once for each worker (a connection).

What not to conclude: anything about a network. One that carries 10 Gbit/s is slower than both over loopback, and encryption then hides
behind it, as long as a core is free at each end.

    python bench/bench_tls.py [--mb 244] [--rounds 7] [--json FILE]
"""

import argparse
import json
import pickle
import resource
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from facts import machine

from sparknet.transport import Hello, Hub, Limits, Result, new_secret, serve
from sparknet.transport.connecting import connected
from sparknet.transport.wire import send

SLICE = 1 << 20
LIMITS = Limits(silence=120.0)
TARGET = 5.0


def give_back(body, _exactly, _is_wanted):
    return Result(1, [body[at : at + SLICE] for at in range(0, len(body), SLICE)])


def work(port, credentials):
    """Be the worker, in a process of its own."""
    secret = pickle.loads(bytes.fromhex(credentials))
    serve(("127.0.0.1", int(port)), Hello(0), secret=secret, do=give_back, limits=LIMITS)


class Session:
    """A hub and its worker."""

    def __init__(self, stack, *, encrypt):
        self.hub = stack.enter_context(Hub(1, secret=new_secret(), encrypt=encrypt, limits=LIMITS, longest=SLICE))
        command = [sys.executable, __file__, "--work", str(self.hub.address[1])]
        worker = subprocess.Popen([*command, pickle.dumps(self.hub.credentials).hex()])
        stack.callback(worker.wait)
        stack.callback(self.hub.close)
        self.round(np.zeros(1, "u1"))  # the worker is there

    def round(self, body):
        """Return the seconds of a round, and the processor seconds of it on this side."""
        got = np.zeros_like(body)

        def combine(number, slices):
            got[number * SLICE : number * SLICE + len(slices[0])] = slices[0]

        start, before = time.perf_counter(), _processor()
        self.hub.round({0: body}, combine=combine)
        seconds, processor = time.perf_counter() - start, _processor() - before
        assert np.array_equal(got, body)
        return seconds, processor


def _processor():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def seconds_before_work(*, encrypt, times=20):
    """Return the median seconds until a hub is there, and until a worker and it have proved themselves."""
    opened, connects = [], []
    for _ in range(times):
        start = time.perf_counter()
        with Hub(1, secret=new_secret(), encrypt=encrypt) as hub:
            opened.append(time.perf_counter() - start)
            start = time.perf_counter()
            with connected(hub.address, hub.credentials) as connection:
                connects.append(time.perf_counter() - start)
                send(connection, Hello(0))
    return statistics.median(opened), statistics.median(connects)


def main():
    """Run, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=244, help="of weights, in 10^6 bytes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", nargs=2, metavar=("PORT", "CREDENTIALS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return
    body = np.random.default_rng(0).integers(0, 256, options.mb * 10**6, "u1")
    with ExitStack() as stack:
        sessions = {name: Session(stack, encrypt=name == "TLS 1.3") for name in ("plain", "TLS 1.3")}
        rounds = [{name: session.round(body) for name, session in sessions.items()} for _ in range(options.rounds)]
    ratios = [pair["TLS 1.3"][0] / pair["plain"][0] for pair in rounds]
    found = {"ratio": statistics.median(ratios), "ratios": ratios}
    for name in sessions:
        opened, connects = seconds_before_work(encrypt=name == "TLS 1.3")
        seconds, processor = (statistics.median(pair[name][k] for pair in rounds) for k in range(2))
        found[name] = {
            "seconds": seconds,
            "GB/s": 2e-9 * len(body) / seconds,
            "driver's processor seconds": processor,
            "seconds of a hub": opened,
            "seconds of a worker": connects,
        }
        print(
            f"{name:8} {seconds:6.3f} s a round of 2 x {options.mb} MB, {found[name]['GB/s']:5.2f} GB/s, "
            f"{processor:5.2f} processor s of the driver; "
            f"a hub {1000 * opened:.1f} ms, a worker {1000 * connects:.1f} ms"
        )
    print(f"ratio {found['ratio']:.2f} (from {min(ratios):.2f} to {max(ratios):.2f}), target at most {TARGET}")
    if options.json:
        options.json.write_text(json.dumps({**machine("cryptography"), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
