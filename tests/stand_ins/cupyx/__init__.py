"""cupyx.errstate: whether what cuSOLVER reports is looked at, which waits (cupyx/_ufunc_config.py)."""

import contextlib
import threading

_config = threading.local()


def geterr():
    return {"linalg": getattr(_config, "linalg", "ignore")}


@contextlib.contextmanager
def errstate(*, linalg=None):
    before = geterr()["linalg"]
    _config.linalg = before if linalg is None else linalg
    try:
        yield
    finally:
        _config.linalg = before
