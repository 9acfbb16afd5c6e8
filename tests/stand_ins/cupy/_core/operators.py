"""The operators of cupy.ndarray, and numpy's ufuncs of one (core.pyx:1480-1760, 1969)."""

import operator

import numpy as np

from cupy._core.kernel import launch

_SCALARS = (int, float, bool, complex, np.bool_, np.number)  # _scalar.pyx:296
_COMPARISONS = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"}


def _should_use_rop(x, y):
    """core.pyx:109: whether the other side shall compute; by its ``__array_ufunc__``, else by its priority."""
    if hasattr(y, "__array_ufunc__"):
        return y.__array_ufunc__ is None
    return getattr(x, "__array_priority__", 0) < getattr(y, "__array_priority__", 0)


def _binary(ufunc):
    def method(x, y):
        if isinstance(y, Operators):
            return launch(ufunc, x, y)
        if _should_use_rop(x, y):
            return NotImplemented
        return ufunc(x, y)  # numpy asks ``__array_ufunc__`` of both

    return method


def _reflected(ufunc):
    """Cython compiles ``__add__`` for both sides: of a number on the left it is computed at once (core.pyx:1564)."""

    def method(y, x):
        return launch(ufunc, x, y)

    return method


def _comparison(ufunc, same=None):
    """core.pyx:1483: a host array without axes is taken for its number."""

    def method(x, y):
        if isinstance(y, Operators):
            return launch(ufunc, x, y)
        if _should_use_rop(x, y):
            return NotImplemented
        if isinstance(y, np.ndarray) and y.ndim == 0:
            y = y.item()
        if same is not None and (y is None or type(y).__eq__ is object.__eq__):
            return launch(np.full, x.shape, not same)
        return ufunc(x, y)

    return method


def _in_place(ufunc):
    def method(x, y):
        return launch(ufunc, x, y, out=x)

    return method


def _unary(ufunc):
    def method(x):
        return launch(ufunc, x)

    return method


class Operators:
    """What cupy.ndarray has of Python's operators."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        """core.pyx:1969: numpy's ufunc by the name of CuPy's; host arrays end as errors, numbers of six comparisons aside."""
        import cupy

        inout = inputs
        if "out" in kwargs:
            if len(kwargs["out"]) != 1:
                raise ValueError("The 'out' parameter must have exactly one array value")
            inout += kwargs["out"]
            kwargs["out"] = kwargs["out"][0]
        name = ufunc.__name__
        found = getattr(cupy, name, None)
        if found is None:
            return NotImplemented
        for x in inout:
            offered = hasattr(x, "__cuda_array_interface__") or hasattr(x, "__cupy_get_ndarray__")
            if not isinstance(x, (*_SCALARS, np.ndarray)) and not offered:
                return NotImplemented
        if name in _COMPARISONS:
            inputs = [x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in inputs]
        return (found if method == "__call__" else getattr(found, method))(*inputs, **kwargs)


for _name, _ufunc in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "matmul": np.matmul,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}.items():
    setattr(Operators, f"__{_name}__", _binary(_ufunc))
    setattr(Operators, f"__r{_name}__", _reflected(_ufunc))
    setattr(Operators, f"__i{_name}__", _in_place(_ufunc))
for _name, _ufunc in {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}.items():
    setattr(Operators, f"__{_name}__", _comparison(_ufunc))
Operators.__eq__ = _comparison(np.equal, same=True)
Operators.__ne__ = _comparison(np.not_equal, same=False)
for _name, _ufunc in {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": operator.invert}.items():
    setattr(Operators, f"__{_name}__", _unary(_ufunc))
