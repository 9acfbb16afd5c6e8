"""Rounds in which no worker takes a step. `averaged_sgd` refuses them; laws of the rounds, and tests of what is around steps, need them."""

from contextlib import contextmanager
from unittest import mock


@contextmanager
def rounds_without_steps():
    """Let `averaged_sgd`, called in the block, take `tau=0` without `max_seconds`."""
    with mock.patch("sparknet.training.driver.check_steps"):
        yield
