"""The two ways in which building pycaffe goes wrong, each told in one line: what was got, what is expected, what to do."""

from __future__ import annotations


class ProblemError(Exception):
    """A problem whose text is "got ..., expected ...; ..."."""

    status = 1

    def __init__(self, *, got: str, expected: str, fix: str) -> None:
        super().__init__(f"got {got}, expected {expected}; {fix}")


class FailedError(ProblemError):
    """A step of the build failed."""


class UnfitError(ProblemError):
    """The machine cannot do it as it is."""

    status = 2
