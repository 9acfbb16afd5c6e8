"""Asking Spark's JVM something beside the caller's own thread, on a connection that is there only meanwhile.

pyspark gives each thread a connection of its own. Where py4j is interrupted, as by Ctrl-C, it has the JVM shut down all connections:
at once where another thread has one that it does not use at that moment. The next call of the interrupted thread may meet
that and fail. So threads of ours keep none.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["asked"]

T = TypeVar("T")


def asked(call: Callable[[], T]) -> T:
    """Return ``call()``, or raise what it raises, from a thread whose connection ends with it."""
    answers, errors = list[T](), list[BaseException]()

    def ask() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=ask, name="asks Spark", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors.pop()
    return answers[0]
