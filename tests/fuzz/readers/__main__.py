"""Fuzz the readers of what comes from anywhere: ``nox -s fuzz -- readers --inputs 100000 --seed 0 --only png,npz``.

The outcome is a line for each reader, and for each finding a folder in ``tests/fuzz/found/`` with the input; with a finding the exit
status is 1. One input again: ``--only png --first 4711 --inputs 1``.
"""

import argparse
import sys
import time
from pathlib import Path

from fuzz.readers.running import Tally, fuzz, write
from fuzz.readers.table import READERS

FOUND = Path(__file__).parents[1] / "found"


def main(arguments: list[str] | None = None) -> int:
    """Run, print a line for each reader, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=2000, help="of each reader")
    parser.add_argument("--first", type=int, default=0, help="number of the first input, to run a part again")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", default=",".join(READERS), help="readers, with commas between them")
    parser.add_argument("--found", type=Path, default=FOUND, help="folder for what is found")
    options = parser.parse_args(arguments)
    names = [name.strip() for name in options.only.split(",")]
    if unknown := [name for name in names if name not in READERS]:
        parser.error(f"--only: got {', '.join(unknown)}, expected some of: {', '.join(READERS)}")
    findings = 0
    print(f"seed {options.seed}, from input {options.first}")
    for name in names:
        begin = time.monotonic()
        tally = fuzz(name, options.seed, options.first, options.inputs)
        print(line(name, tally, time.monotonic() - begin), flush=True)
        for number, what in tally.found:
            path = write(name, options.seed, number, what, options.found)
            print(f"FOUND {path}: input {number}\n  " + "\n  ".join(what.strip().splitlines()[-6:]), flush=True)
        for kind, count in tally.alike.items():
            print(f"  {count} inputs: {kind}")
        findings += sum(tally.alike.values())
    print(f"\n{findings} findings")
    return 1 if findings else 0


def line(name: str, tally: Tally, seconds: float) -> str:
    """Return what came of the inputs of a reader."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in tally.kinds.most_common())
    slowest, memory = tally.slowest, tally.memory
    return (
        f"{name:<15} {tally.inputs:>8,} inputs: read {tally.accepted:,}, {kinds or 'none refused'} (from {len(tally.places)} places); "
        f"slowest {slowest[0] * 1000:,.0f} ms (input {slowest[1]}), most memory {memory[0] / 2**20:.1f} MiB (input {memory[1]}); {seconds:,.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
