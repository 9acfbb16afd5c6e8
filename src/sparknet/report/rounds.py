"""A line about each round, for a person."""

import math
from collections.abc import Mapping, Sequence

from sparknet.training import Round

__all__ = ["round_line"]


def round_line(result: Round, rounds: int) -> str:
    """Return one line about a finished round of a run with ``rounds`` rounds.

    The times, in seconds, are those of the slowest worker's steps, and of all that brings weights to the workers, back and together.
    """
    seconds = result.seconds
    parts = [f"round {result.index + 1:>{len(str(rounds))}}/{rounds}", f"loss {result.loss:7.4f}"]
    parts += _metrics(result.metrics)
    working = seconds.total - seconds.evaluate
    if working > 0:
        parts.append(f"{result.examples / working:,.0f} images/s")
    slowest = max(seconds.train, default=0.0)
    parts.append(f"train {slowest:.2f} s, exchange {seconds.broadcast + seconds.collect + seconds.average:.3f} s")
    if absent := sorted(result.decided.absent):
        parts.append(f"without worker {', '.join(map(str, absent))}: late")
    return "  ".join(parts)


def _metrics(metrics: Mapping[str, float]) -> list[str]:
    """Return a part for each metric, and a single part for the classes of one metric, ``each/0``, ``each/1``, ..."""
    families: dict[str, list[tuple[str, float]]] = {}
    for name, value in metrics.items():
        family, slash, number = name.rpartition("/")
        families.setdefault(family if slash and number.isdigit() else name, []).append((name, value))
    return [_family(family, each) for family, each in families.items()]


def _family(family: str, each: Sequence[tuple[str, float]]) -> str:
    if len(each) == 1:
        return _metric(*each[0])
    known = [value for _, value in each if not math.isnan(value)]
    span = f"{min(known):.4f}..{max(known):.4f}" if known else "nan"
    return f"test {family} {span} ({len(each)} classes)"


def _metric(name: str, value: float) -> str:
    return f"test accuracy {value:6.2%}" if name == "accuracy" else f"test {name} {value:.4f}"
