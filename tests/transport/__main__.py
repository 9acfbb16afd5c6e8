"""Chaos: ``nox -s chaos -- --schedules 10000 --frames 1000000``.

Drivers and workers meet everything that can happen to them, in so many schedules of each machine; and the parser meets so many damaged
frames, a tenth as many damaged streams of them, and as many damaged handshakes. With a finding the exit status is not 0.
"""

import argparse
import resource
import time

from transport.frame_walk import walk, walk_handshakes, walk_streams
from transport.test_protocol import SEEN, Chaos, ChaosByClock, ChaosWithDeadline, schedules

GROWTH = 64 << 10  # KiB that the parser may take, whatever it meets


def main():
    """Run, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=10_000, help="of rounds that wait for all, and of others")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0, help="of the frames")
    options = parser.parse_args()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    accepted = walk(options.frames, options.seed)
    streams, proved = options.frames // 10, walk_handshakes(options.frames // 10, options.seed)
    received = walk_streams(streams, options.seed)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"{options.frames:,} frames in {time.perf_counter() - start:.0f} s: {accepted:,} are messages, all others a "
        f"FormatError or not whole; {streams:,} streams gave {received:,} messages, {streams:,} handshakes {proved:,} proofs; {grown / 1024:.1f} MiB more memory",
        flush=True,
    )
    assert grown < GROWTH
    for machine in Chaos, ChaosWithDeadline, ChaosByClock:
        SEEN.clear()
        start = time.perf_counter()
        schedules(machine, options.schedules)
        print(
            f"{machine.__name__}: {options.schedules:,} schedules in {time.perf_counter() - start:.0f} s, each with the bits of the "
            f"undisturbed run; seen: {', '.join(sorted(SEEN))}",
            flush=True,
        )


if __name__ == "__main__":
    main()
