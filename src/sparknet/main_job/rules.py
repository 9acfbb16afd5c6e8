"""The rule of ``sparknet train``: the options --rule, --outer-learning-rate and --outer-momentum."""

import argparse
from collections.abc import Mapping

from sparknet.averaging import Mean, Median, Momentum, Nesterov, Rule, WeightedMean
from sparknet.errors import DataError
from sparknet.training.replay import Former, by_work

__all__ = ["rule_of"]

_PLAIN = {"mean": Mean, "weighted-mean": WeightedMean, "median": Median}
_OUTER = {"momentum": Momentum, "nesterov": Nesterov}


def rule_of(args: argparse.Namespace, former: Mapping[int, Former] | None) -> Rule:
    """Return the rule that the options name; the rule has defaults for the settings that they leave out. ``args`` names it afterwards.

    ``former`` is what is known of the rounds that are replayed, if any are.

    Raises
    ------
    DataError
        A setting is given for a rule that has none, or is out of its range.
    """
    is_by_clock = (args.max_seconds, args.min_workers) != (None, None) or by_work(former)
    args.rule = args.rule or ("weighted-mean" if is_by_clock else "mean")
    settings = {"lr": args.outer_learning_rate, "momentum": args.outer_momentum}
    given = {name: value for name, value in settings.items() if value is not None}
    if args.rule in _PLAIN:
        if given:
            msg = (
                f"--rule {args.rule} has no --outer-learning-rate and no --outer-momentum; leave them out, "
                f"or give --rule {' or '.join(_OUTER)}"
            )
            raise DataError(msg)
        return _PLAIN[args.rule]()
    try:
        return _OUTER[args.rule](**given)
    except ValueError as error:
        msg = f"--outer-learning-rate, --outer-momentum: {error}"
        raise DataError(msg) from error
