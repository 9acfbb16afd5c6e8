"""The rule of ``sparknet train``: the options --rule, --outer-learning-rate and --outer-momentum."""

import argparse

from sparknet.averaging import Mean, Median, Momentum, Nesterov, Rule, WeightedMean
from sparknet.errors import DataError

__all__ = ["rule_of"]

_PLAIN = {"mean": Mean, "weighted-mean": WeightedMean, "median": Median}
_OUTER = {"momentum": Momentum, "nesterov": Nesterov}


def rule_of(args: argparse.Namespace) -> Rule:
    """Return the rule that the options name; the rule has defaults for the settings that they leave out. ``args`` names it afterwards.

    Raises
    ------
    DataError
        A setting is given for a rule that has none, or is out of its range.
    """
    args.rule = args.rule or ("mean" if (args.max_seconds, args.min_workers) == (None, None) else "weighted-mean")
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
