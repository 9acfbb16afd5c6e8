"""Runs of the fuzzer: message *i* of seed *s* is always the same, however many processes there are and whichever came before.

What is found is written to ``found/`` as the bytes and a text beside them; a test replays those bytes for ever.
"""

import hashlib
import random
import signal
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.corpus import forget_plans, seeds, world
from fuzz.entries import ENTRIES, FILES
from fuzz.mutations import mutate
from fuzz.oracles import examine, recorded_warnings

from sparknet import FormatError

FOUND = Path(__file__).with_name("found")
BLOCK = 500  # messages of one world at a time
WORLDS = (*["plain"] * 4, "files", *["plain"] * 4, "short", *["plain"] * 4, "files", "plain")
ALWAYS = ("loads", "verify")  # what the outcomes of the others are compared with
OTHERS = 2  # entry points that a message goes through besides
TRACED = 20  # of so many messages the memory of one is counted
_HELPERS = {"_refuse", "_at_most", "_take", "_uints"}  # raise for those who call them


@dataclass
class Tally:
    """What came of some messages."""

    messages: Counter = field(default_factory=Counter)  # world -> number
    mutations: Counter = field(default_factory=Counter)  # (way, whether a value was read) -> messages
    outcomes: Counter = field(default_factory=Counter)  # (entry point, "value" or the name of the exception) -> calls
    refusals: Counter = field(default_factory=Counter)  # place in the source -> calls
    texts: dict = field(default_factory=dict)  # place in the source -> one text that came from it
    slowest: tuple = (0.0, "", "")  # seconds of the processor, entry point, how it came about
    memory: tuple = (0, "", "")  # bytes, beyond the message itself
    findings: list = field(default_factory=list)

    def add(self, other):
        """Add the tally of other messages."""
        for counter in "messages", "mutations", "outcomes", "refusals":
            getattr(self, counter).update(getattr(other, counter))
        self.texts = other.texts | self.texts
        self.slowest, self.memory = max(self.slowest, other.slowest), max(self.memory, other.memory)
        self.findings += other.findings

    def count(self, name, outcome, how):
        """Count one call."""
        self.outcomes[name, "value" if outcome.accepted else type(outcome.error).__name__] += 1
        self.slowest = max(self.slowest, (outcome.seconds, name, how))
        self.memory = max(self.memory, (outcome.memory, name, how))
        if isinstance(outcome.error, FormatError):
            place, text = _raised(outcome.error)
            self.refusals[place] += 1
            self.texts.setdefault(place, text)


@dataclass
class Finding:
    """A mutant that breaks what must hold."""

    world: str
    seed: str  # name of the message that it was made of
    data: bytes
    how: str  # it came about
    what: str

    @property
    def last_line(self):
        """What was found, in a line: the last one of a traceback."""
        return self.what.strip().splitlines()[-1]

    def write(self, folder):
        """Write the bytes to a file, and beside them what was found; return its path."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.world}-{hashlib.sha256(self.data).hexdigest()[:12]}.bin"
        path.write_bytes(self.data)
        path.with_suffix(".txt").write_text(f"{self.seed}\n{self.how}\n\n{self.what}\n")
        return path


def replay(path):
    """Read a finding again by all entry points, with plans forgotten and with plans kept; return what it breaks, or nothing."""
    name, data = path.name.partition("-")[0], path.read_bytes()
    wanted = path.with_suffix(".txt").read_text().splitlines()[0]
    seed = next(seed for seed in seeds(name) if seed.name == wanted)
    with world(name), recorded_warnings() as warned:
        entries = FILES if name == "files" else ENTRIES
        first, second = (examine(name, seed, data, warned, entries)[1] for _ in range(2))
    return first or second


def fuzz(seed, first, count, *, entries=ENTRIES, files=FILES, patience=0):
    """Read ``count`` mutants, from number ``first`` on, each by several entry points; return the tally.

    ``patience``: seconds after which SIGALRM is asked for, if the calls for one message take so long.
    """
    tally = Tally()
    with recorded_warnings() as warned:
        for number in range(first // BLOCK, -(-(first + count) // BLOCK)):
            name = WORLDS[number % len(WORLDS)]
            block = range(max(first, number * BLOCK), min(first + count, (number + 1) * BLOCK))
            with world(name):
                for index in block:
                    with _alarm(patience):
                        _one(tally, name, seed, index, warned, entries, files)
    return tally


@contextmanager
def _alarm(patience):
    if not patience:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, patience)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _one(tally, name, seed, index, warned, entries, files):
    chance = random.Random(f"{seed}:{index}")
    one, other = chance.choice(seeds(name)), chance.choice(seeds(name))
    data, used = mutate(chance, one, other)
    how = f"message {index} of seed {seed}: {', '.join(used)} of {one.name!r}"
    traced = index % TRACED == 0
    if chance.random() < 0.5:  # so that plans are met anew, and again
        forget_plans()
    chosen = [*ALWAYS, *chance.sample(sorted(entries.keys() - set(ALWAYS)), OTHERS)]
    chosen = files if name == "files" else {entry: entries[entry] for entry in chosen}
    outcomes, what = examine(name, one, data, warned, chosen, traced=traced)
    for entry, outcome in outcomes.items():
        tally.count(entry, outcome, how)
    tally.messages[name] += 1
    tally.mutations[used[0], any(outcome.value is not None for outcome in outcomes.values())] += 1
    if what:
        tally.findings.append(Finding(name, one.name, data, how, what))


def _raised(error):
    """Return the place in the source that an error comes from, and its text."""
    while isinstance(error.__cause__, FormatError):
        error = error.__cause__
    trace, place = error.__traceback__, None
    while trace:
        code = trace.tb_frame.f_code
        if place is None or code.co_name not in _HELPERS:
            place = (code.co_filename.rpartition("/")[2], trace.tb_lineno, type(error.__cause__).__name__)
        trace = trace.tb_next
    return place, str(error)
