"""Whether a method that a subclass inherits still fits what the subclass has changed.

A class may offer a second, faster way to the same result. A subclass that changes the first way alone inherits a second one that knows
nothing of it.
"""

__all__ = ["is_as_new"]


def is_as_new(kind: type, method: str, deciding: tuple[str, ...]) -> bool:
    """Say whether a class has a ``method`` that is defined with, or below, each of those that are ``deciding``.

    Examples
    --------
    >>> class Net:
    ...     def get_weights(self): ...
    ...     def lend(self): ...
    >>> class Half(Net):
    ...     def get_weights(self): ...
    >>> is_as_new(Net, "lend", ("get_weights",)), is_as_new(Half, "lend", ("get_weights",))
    (True, False)
    """
    own = _definer(kind, method)
    return own is not None and all(
        other is None or issubclass(own, other) for other in (_definer(kind, name) for name in deciding)
    )


def _definer(kind: type, name: str) -> type | None:
    return next((each for each in kind.__mro__ if name in vars(each)), None)
