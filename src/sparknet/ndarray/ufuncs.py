"""numpy's ufuncs of NDArrays: ``np.sin(a)``, ``scipy.special.jv(0, a)``, and the ``+`` of ``numpy_array + a``."""

import operator
from typing import Any

from sparknet.backends import backend_of
from sparknet.errors import explain
from sparknet.ndarray.core import Core
from sparknet.ndarray.operators import ERRORS, operand, reflected

__all__ = ["compute"]

# name of a ufunc -> its operator: numpy calls the ufunc when its array or scalar is on the left
_OPERATORS = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "power": operator.pow,
    "matmul": operator.matmul,
    "left_shift": operator.lshift,
    "right_shift": operator.rshift,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
}


def compute(self: Core, function: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Compute numpy's ufunc ``function``. One of its arguments is ``self``; the results are NDArrays."""
    if getattr(self._backend.array_type, "__array_ufunc__", None) is None:
        return _as_operator(self, function, method, inputs, options)
    out = options.get("out", ())
    own = [_argument(self, value) for value in inputs]
    # numpy 2.4 itself does not check, and writes; cupy's memory is never read-only
    if method == "at" and not getattr(own[0].flags, "writeable", True):
        msg = f"numpy's {function.__name__}.at() of an array that is read-only, as a view of a message is: make a copy first"
        raise ValueError(msg)
    if out:
        options["out"] = tuple(_argument(self, value) for value in out)
    if "where" in options:
        options["where"] = _argument(self, options["where"])
    compute = getattr(function, method)
    try:
        run = self._backend.call
        result = compute(*own, **options) if run is None else run(compute, *own, **options)
    except ERRORS as error:
        explain(error, f"numpy's {function.__name__}()", *inputs)
    if len(out) == 1:
        return out[0]
    if type(result) is tuple:
        given = out or (None,) * len(result)
        return tuple(self._like(b) if a is None else a for a, b in zip(given, result, strict=True))
    return None if result is None else self._like(result)


def _as_operator(self: Core, function: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Compute ``left op self`` for a library without ufuncs; refuse all other ufuncs."""
    op = _OPERATORS.get(function.__name__)
    if op is None or method != "__call__" or inputs[-1] is not self or options:
        msg = f"numpy's {function.__name__}() does not compute with {self.backend}; use sparknet.nd, or .to_host()"
        raise TypeError(msg)
    left = inputs[0] if getattr(inputs[0], "shape", True) else inputs[0][()]  # a scalar, made 0-d by numpy
    return reflected(op)(self, left)


def _argument(self: Core, value: Any) -> Any:
    """Return an argument of a ufunc for the backend: an array as an operand; lists, indices and flags as they are.

    In comparisons, numpy passes its own scalar on the left as an array without axes.
    """
    backend = self._backend if type(value) is type(self) else backend_of(value)
    if backend is not self._backend and backend is not None and backend.host and not getattr(value, "shape", True):
        return operand(self, value[()])
    return operand(self, value) if backend is not None else value
