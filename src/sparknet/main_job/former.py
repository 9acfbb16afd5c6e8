"""The former training that ``sparknet train`` does again, or goes on from: the options --replay, --checkpoint, --keep and --resume."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparknet.checkpoint.place import local_path
from sparknet.errors import DataError
from sparknet.training.replay import Former, former_rounds

__all__ = ["checkpoint_options", "replayed"]

_KEPT = 2  # rounds in a checkpoint
_RESUMES = {"yes": True, "no": False}


def replayed(args: argparse.Namespace) -> Mapping[int, Former] | None:
    """Return what is known of the rounds of ``--replay``, by their index; None without the option.

    Raises
    ------
    DataError, OSError
        There are no events that can be replayed, or an option lets the clock decide anew.
    """
    if args.replay is None:
        return None
    for option, value in (("--max-seconds", args.max_seconds), ("--min-workers", args.min_workers)):
        if value is not None:
            msg = f"--replay {args.replay}: it has what the clock decided then; leave out {option} {value}"
            raise DataError(msg)
    return former_rounds(args.replay)


def checkpoint_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of ``averaged_sgd`` about the checkpoint.

    Raises
    ------
    DataError
        An option about it is given without it, or it is in the folder of ``--out``.
    """
    if args.checkpoint is None:
        for option, value in (("--keep", args.keep), ("--resume", args.resume)):
            if value is not None:
                msg = (
                    f"{option} {value}: it is about the rounds of a checkpoint; leave it out, or give --checkpoint DIR"
                )
                raise DataError(msg)
    elif (path := local_path(args.checkpoint)) is not None and path.resolve() == Path(args.out).resolve():
        msg = f"--checkpoint {args.checkpoint}: is the folder of --out too; expected one for this alone, such as {path / 'checkpoint'}"
        raise DataError(msg)
    resume = "yes" if args.resume is None else args.resume
    return {
        "checkpoint": args.checkpoint,
        "resume": _RESUMES.get(resume, resume),
        "keep": _KEPT if args.keep is None else args.keep,
    }
