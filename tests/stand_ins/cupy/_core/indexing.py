"""``a[key]`` and ``a[key] = value`` (cupy/_core/_routines_indexing.pyx)."""

import numpy as np

from cupy._core.kernel import check_device, from_cupy_like, launch, wait_for_number, wrapped
from cupy.cuda import runtime


def _prepared(key):
    """_routines_indexing.pyx:261: lists and host arrays are copied to the current device, in silence."""
    from cupy._core.core import array, ndarray

    parts = list(key) if isinstance(key, tuple) else [key]
    for i, part in enumerate(parts):
        plain = part is None or part is Ellipsis or isinstance(part, slice | ndarray)
        if plain or (np.isscalar(part) and not isinstance(part, bool | np.bool_)):
            continue
        sent = array(part)
        parts[i] = sent.astype(np.int32) if isinstance(part, list | tuple) and not sent.size else sent
    return parts


def _hosts(a, parts):
    """Return the key for numpy, and whether it has arrays: those of integers wrap (:1169), a mask is counted first (:802)."""
    from cupy._core.core import ndarray

    current, own, axis, arrays = runtime.getDevice(), [], 0, False
    taken = sum(1 if not _is_mask(p) else p.ndim for p in parts if p is not None and p is not Ellipsis)
    if taken > a.ndim:
        raise IndexError(f"too many indices for array: array is {a.ndim}-dimensional, but {taken} were indexed")
    for part in parts:
        if isinstance(part, ndarray):
            arrays = True
            check_device(part, current)
            if part.dtype.kind not in "biu":
                raise IndexError(
                    f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})"
                )
            if _is_mask(part):
                wait_for_number()
                own.append(part._host)
            else:
                own.append(part._host % max(a.shape[axis], 1))
        else:
            own.append(part)
        axis += a.ndim - taken if part is Ellipsis else 0 if part is None else part.ndim if _is_mask(part) else 1
    return tuple(own), arrays


def _is_mask(part):
    return getattr(getattr(part, "dtype", None), "kind", "") == "b" and hasattr(part, "ndim")


def get(a, key):
    """:27: slices and integers give views, of any device; arrays compute on the current one."""
    parts = _prepared(key)
    own, arrays = _hosts(a, parts)
    if arrays:
        return launch(lambda memory: memory[own], a)
    if Ellipsis not in parts:
        own = (*own, Ellipsis)  # an element is a view without axes
    return wrapped(a._host[own], a.data.device_id, (a,))


def put(a, key, value):
    """:1064: numbers fill, arrays are copied; of host arrays only those that go to a mask or an index array are taken (:1036)."""
    from cupy._core.core import array

    parts = _prepared(key)
    own, arrays = _hosts(a, parts)
    current = runtime.getDevice()
    check_device(a, current)
    given = from_cupy_like(value)
    if given is None and not arrays:
        get(a, key).fill(value)
        return
    given = array(value, dtype=a.dtype) if given is None else given
    check_device(given, current)
    a._host[own] = given._host.astype(a.dtype)
