"""Calls to Spark's JVM from another thread, on a connection that ends with the call.

pyspark gives each thread its own connection. When Ctrl-C interrupts py4j, it makes the JVM close all connections. A connection that is
idle at that moment is closed at once, and the next call of the interrupted thread may fail because of it. So no thread of
sparknet keeps a connection.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["asked"]

T = TypeVar("T")


def asked(call: Callable[[], T], *, within: float | None = None) -> T:
    """Return ``call()``, made in a new thread, whose connection ends with it. An error of the call is raised here.

    A JVM that stands still answers nothing: a TimeoutError comes after ``within`` seconds; None: it is waited for.
    """
    answers, errors = list[T](), list[BaseException]()

    def ask() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=ask, name="asks Spark", daemon=True)
    thread.start()
    thread.join(within)
    if thread.is_alive():
        msg = f"Spark's JVM has not answered for {within} s"
        raise TimeoutError(msg)
    if errors:
        raise errors.pop()
    return answers[0]
