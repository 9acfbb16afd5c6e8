"""Fields of a solver that sparknet replaces or ignores: they are cleared, and a note names them once."""

from typing import Any

from sparknet.nets.caffe.notes import note

__all__ = ["UNUSED", "note_unused"]

# The driver's rounds, evaluation, log and files replace these.
UNUSED = (
    *("test_iter", "test_interval", "test_compute_loss", "test_initialization", "display", "debug_info", "random_seed"),
    *("snapshot", "snapshot_prefix", "snapshot_diff", "snapshot_format", "snapshot_after_train"),
    *("device_id", "layer_wise_reduce", "eval_type", "ap_version"),  # the last two in the Caffe of SSD
)
_CHECKED = (
    "average_loss",
    "max_iter",
)  # without effect too, but Caffe refuses some values, and "poly" computes with max_iter
_GPU = 1


def note_unused(param: Any, where: str) -> None:
    """Log which fields that the SolverParameter sets have no effect here; ``where`` is its name in messages."""
    said = (*UNUSED, *(name for name in _CHECKED if (param.lr_policy, name) != ("poly", "max_iter")))
    given = [field.name for field, _ in param.ListFields() if field.name in said]
    if given:
        note(
            f"{where}: without effect here: {', '.join(given)} (how long, evaluation, display, saving and the seed are said to "
            "averaged_sgd or the command)"
        )
    if param.solver_mode == _GPU and param.HasField("solver_mode"):
        note(f"{where}: solver_mode GPU: the net runs on the CPU")
