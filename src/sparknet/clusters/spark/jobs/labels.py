"""What Spark's own pages say of a job of a run: a description, and tags for the run, the round and the part of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparknet.training.phase import RunPhase

__all__ = ["DESCRIPTION", "labelled", "phase_now", "run_tag"]

DESCRIPTION = "spark.job.description"  # the property behind setJobDescription


def phase_now() -> "RunPhase | None":
    """Return what the run of this thread does; None outside of a run."""
    from sparknet.training.phase import current  # tasks import this module too, and never need that room

    return current()


def run_tag(run: str) -> str:
    """Return the tag that all jobs of a run have."""
    return f"sparknet-run-{run}"


@contextmanager
def labelled(context: Any) -> Iterator[None]:
    """Let the jobs of this thread say what they are for, if it is in a run; then put back what the caller had said of his jobs."""
    phase = phase_now()
    if phase is None or context is None:
        yield
        return
    said, there = context.getLocalProperty(DESCRIPTION), set(context.getJobTags())
    tags = [run_tag(phase.run), f"sparknet-round-{phase.round}", f"sparknet-{phase.part}"]
    own = [tag for tag in tags if tag not in there]
    calls = [partial(context.setLocalProperty, DESCRIPTION, said), *(partial(context.removeJobTag, tag) for tag in own)]
    try:
        context.setLocalProperty(DESCRIPTION, str(phase))
        for tag in own:
            context.addJobTag(tag)
        yield
    finally:
        try:
            _surely(calls)
        except BaseException:  # Ctrl-C, just now
            _surely(calls)
            raise


def _surely(calls: Sequence[Callable[[], object]]) -> None:
    """Make the calls, each again where it fails: after Ctrl-C the first one may find its connection closed. Spark may be gone, too."""
    for call in calls:
        for _ in range(2):
            with suppress(Exception):
                call()
                break
