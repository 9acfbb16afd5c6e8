"""Fuzz the wire format: ``nox -s fuzz -- --messages 1000000 --seed 0 --processes 1``.

The outcome is a summary, and for each finding a file in ``tests/fuzz/found/``; with a finding the exit status is 1.
"""

import argparse
import faulthandler
import multiprocessing
import re
import resource
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from fuzz.corpus import seeds
from fuzz.oracles import Hang
from fuzz.running import BLOCK, FOUND, WORLDS, Tally, fuzz

ADDRESSES = 4 << 30  # bytes that a process may address: what a message makes of memory beyond that is a MemoryError
PATIENCE = 60  # seconds that the calls for one message may take
REPORTED = 10.0  # seconds between lines of progress
SHOWN = 20  # findings that are written; the others are counted


def main(arguments=None):
    """Run, print the summary, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first message, to run a part again")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--found", type=Path, default=FOUND, help="folder for what is found")
    options = parser.parse_args(arguments)
    for name in set(WORLDS):
        seeds(name)  # before the processes fork
    begin, total = time.monotonic(), Tally()
    died = run(options, total)
    print(summary(total, options, time.monotonic() - begin))
    return 1 if died or total.findings else 0


def run(options, total):
    """Add the tallies of all blocks to ``total``; return whether a process died on the way."""
    end = options.first + options.messages
    blocks = range(options.first, end, BLOCK)
    context = multiprocessing.get_context("fork")
    begin = reported = time.monotonic()
    with ProcessPoolExecutor(options.processes, context, initializer=prepare) as pool:
        tallies = pool.map(
            partial(fuzz, options.seed, patience=PATIENCE), blocks, [min(BLOCK, end - at) for at in blocks]
        )
        try:
            for tally in tallies:
                for finding in tally.findings[: max(0, SHOWN - len(total.findings))]:
                    print(f"FOUND {finding.write(options.found)}\n  {finding.how}\n  {finding.last_line}", flush=True)
                total.add(tally)
                if time.monotonic() - reported > REPORTED:
                    reported = time.monotonic()
                    print(progress(total, reported - begin), flush=True)
        except BrokenProcessPool:
            at = options.first + total.messages.total()
            print(f"FOUND: a process died soon after message {at} of seed {options.seed}; run again with --first {at}")
            return True
    return False


def prepare():
    """Bound the memory and the time of a process, and let it say where it dies."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    signal.signal(signal.SIGALRM, give_up)


def give_up(*_):
    """Interrupt a call that takes far too long."""
    msg = f"no end after {PATIENCE} seconds"
    raise Hang(msg)


def progress(total, seconds):
    """Return a line: how far, how fast, and what came of it."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in by_kind(total).most_common())
    messages = total.messages.total()
    rate = messages / seconds
    return f"{messages:,} messages, {rate:,.0f}/s; calls: {kinds}; {len(by_text(total))} texts; {len(total.findings)} findings"


def summary(total, options, seconds):
    """Return what a run was, and what came of it."""
    messages, calls = total.messages.total(), total.outcomes.total()
    lines = [
        f"{messages:,} messages (seed {options.seed}, from {options.first}), {calls:,} calls of entry points, {seconds:,.0f} s",
        "worlds: " + ", ".join(f"{name} {count:,}" for name, count in sorted(total.messages.items())),
        "outcomes: " + ", ".join(f"{kind} {count:,}" for kind, count in by_kind(total).most_common()),
        f"slowest call: {total.slowest[0] * 1000:.1f} ms of the processor, {total.slowest[1]} ({total.slowest[2]})",
        f"most memory of a call: {total.memory[0] / 2**20:.2f} MiB, {total.memory[1]} ({total.memory[2]})",
        f"most memory of a process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:,.0f} MiB",
        "",
        "mutants that were read as a value by one entry point or more:",
    ]
    for way in sorted({way for way, _ in total.mutations}):
        good, bad = total.mutations[way, True], total.mutations[way, False]
        lines.append(f"  {way:<16} {good:>9,} of {good + bad:>9,}")
    lines += ["", "entry points:"]
    for name in dict.fromkeys(name for name, _ in total.outcomes):
        kinds = {kind: count for (entry, kind), count in total.outcomes.items() if entry == name}
        lines.append(
            f"  {name:<24} " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items(), reverse=True))
        )
    texts = by_text(total)
    lines += ["", f"{len(texts)} texts of FormatError, from {len(total.refusals)} places of the source:"]
    lines += [f"  {count:>9,}  {text}" for text, count in texts.most_common()]
    return "\n".join([*lines, "", f"{len(total.findings)} findings"])


def by_kind(total):
    """Return value or exception -> calls."""
    kinds = Counter()
    for (_, kind), count in total.outcomes.items():
        kinds[kind] += count
    return kinds


def by_text(total):
    """Return the text of a refusal, without what differs from message to message, -> calls."""
    texts = Counter()
    for place, count in total.refusals.items():
        text = re.sub(r"""b?'.*?'|b?".*?"|\[.*?\]|\(.*?\)""", "_", total.texts[place], flags=re.DOTALL)
        texts[re.sub(r"0x[0-9a-f]+|-?\d[\d.,]*|\b[0-9a-f]{2}( [0-9a-f]{2})+\b", "N", text)[:150]] += count
    return texts


if __name__ == "__main__":
    sys.exit(main())
