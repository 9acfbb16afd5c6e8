"""Print the table of the docs: seconds of a round and goodput, by the model of rounds (round_model.py), for up to 10,000 workers.

A round is 60 seconds of steps on each worker, whose time varies (sigma 0.05); one worker in a hundred takes twice as long; a machine is
lost once in 30 days, and 60 seconds later another one begins the round anew. Each worker has a machine of its own.

``--page FILE`` writes the tables between the marks of a page instead, and ``--check`` says whether they are there already; ``--workers``
then takes those columns alone. All of it, up to 10,000 workers, takes less than half a minute of one core (15 to 19 s were measured).

    python bench/bench_round_table.py [--page docs/explanation/how_long_a_round_takes.md [--check]] [--workers 8 64]
"""

import argparse
import sys
from pathlib import Path

from round_costs import Costs, job_per_round, sliced, star
from round_model import Work, enough, simulate

MODELS = {"AlexNet, 244 MB": 244e6, "ResNet-50, 102 MB": 102e6, "7 B bfloat16, 14 GB": 14e9, "7 B float32, 28 GB": 28e9}
LINKS = {"1 Gbit/s": 0.125e9, "10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}
WORKERS = [8, 64, 512, 10_000]
WAYS = {"a job for each round": job_per_round, "direct (star)": star, "sliced": sliced}
STEPS, STEP = 600, 0.1
DAY = 24 * 3600.0
EVENTS = 4_096  # workers times rounds of a cell
BEGIN, END = "<!-- made by bench/bench_round_table.py -->", "<!-- end of what was made -->"


def work(nbytes):
    """What workers do, in each cell."""
    return Work(nbytes, STEPS, STEP, spread=0.05, slow=0.01, slower=2.0, between_failures=30 * DAY, restart=60.0)


def cell(way, nbytes, bandwidth, workers):
    """Seconds of a round and goodput, as text."""
    rounds = max(1, min(20, EVENTS // workers))
    found = simulate(way, Costs(bandwidth=bandwidth), work(nbytes), workers, rounds, latest=DAY)
    if found.seconds > DAY:
        return "over a day"
    return f"{rounded(found.seconds)} s, {found.goodput:.0%}"


def rounded(seconds):
    """Three digits are more than a model has."""
    digits = 2 - len(f"{seconds:.0f}")
    return f"{round(seconds, digits):,.0f}"


def lines(columns):
    """Yield the lines of the tables."""
    for name, way in WAYS.items():
        yield f"| {name} | | " + " | ".join(f"{workers:,} workers" for workers in columns) + " |"
        yield "|---" * (2 + len(columns)) + "|"
        for model, nbytes in MODELS.items():
            for link, bandwidth in LINKS.items():
                cells = [cell(way, nbytes, bandwidth, workers) for workers in columns]
                yield f"| {model} | {link} | " + " | ".join(cells) + " |"
        yield ""
    yield "| workers up to which half of the time is steps | " + " | ".join(LINKS) + " |"
    yield "|---" * (1 + len(LINKS)) + "|"
    for name, way in WAYS.items():
        for model, nbytes in MODELS.items():
            most = [enough(way, Costs(bandwidth=bandwidth), work(nbytes)) for bandwidth in LINKS.values()]
            yield f"| {name}: {model} | " + " | ".join(f"{each:,}" if each < 100_000 else "any" for each in most) + " |"


def of_columns(table, columns):
    """Those columns alone of a page's tables, and their rows as lists."""
    rows = [
        [part.strip() for part in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")
    ]
    wanted = [f"{each:,} workers" for each in columns]
    taken, header = [], []
    for row in rows:
        header = row if set(row) & {f"{each:,} workers" for each in WORKERS} or row[0].startswith("workers") else header
        taken.append(
            [part for name, part in zip(header, row, strict=True) if not name.endswith(" workers") or name in wanted]
        )
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--page", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    chosen = parser.parse_args()
    table = "\n".join(lines(chosen.workers))
    if chosen.page is None:
        print(table)
        return
    before, _, rest = chosen.page.read_text(encoding="utf-8").partition(BEGIN)
    there, _, after = rest.partition(END)
    if chosen.check:
        if of_columns(there, chosen.workers) != of_columns(table, chosen.workers):
            sys.exit(f"{chosen.page}: other figures than the model has; write them anew without --check")
        return
    chosen.page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
