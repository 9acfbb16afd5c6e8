"""What a solver says and sparknet does in its own way, or not at all: said once, because no one would find out else."""

from typing import Any

from sparknet.nets.caffe.notes import note

__all__ = ["note_unused"]

# The driver's rounds, evaluation, log and files take the place of these.
_OURS = (
    *("test_iter", "test_interval", "test_compute_loss", "test_initialization", "eval_type", "ap_version"),
    *("display", "average_loss", "debug_info", "snapshot", "snapshot_prefix", "snapshot_diff", "snapshot_format"),
    *("snapshot_after_train", "max_iter", "random_seed", "device_id", "layer_wise_reduce"),
)
_GPU = 1


def note_unused(param: Any, where: str) -> None:
    """Log which fields that the SolverParameter sets have no effect here; ``where`` is its name in messages."""
    given = [field.name for field, _ in param.ListFields() if field.name in _OURS]
    if param.lr_policy == "poly":  # computes with it
        given = [name for name in given if name != "max_iter"]
    if given:
        note(
            f"{where}: without effect here: {', '.join(given)} (how long, evaluation, display, saving and the seed are said to "
            "averaged_sgd or the command)"
        )
    if param.solver_mode == _GPU and param.HasField("solver_mode"):
        note(f"{where}: solver_mode GPU: the net runs on the CPU")
