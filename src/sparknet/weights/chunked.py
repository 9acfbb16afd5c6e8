"""Means, norms and comparisons of arrays, a chunk of their elements at a time. For :mod:`sparknet.weights`.

Everything is computed in float64, but no array is converted as a whole: the float64 memory is one chunk, which stays in
the cache. That memory is allocated once, because fresh pages cost more than the arithmetic on them.

The loops work on the library's own arrays, in its namespace and on their device. Many weights are small, and wrapping each
part in an NDArray would cost more than the arithmetic. Only functions that return a Python value wait for a device.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from sparknet import nd
from sparknet.backends import Backend
from sparknet.ndarray import closeness
from sparknet.ndarray.array import NDArray, wrap

__all__ = ["close", "mean", "same_bits", "square_sum"]

# Numbers of elements.
_LARGE = 1 << 20  # arrays from this size on are faster with larger chunks and threads
_CHUNK = 1 << 15  # a chunk in memory that is used again: 256 KiB of float64
_LARGE_CHUNK = 1 << 17  # the same for large arrays: fewer calls, and threads pass the interpreter's lock less often
_SMALL_CHUNK = 1 << 13  # a chunk in fresh memory: malloc returns 64 KiB without new pages
_DEVICE_CHUNK = 1 << 24  # a GPU has no such cache, and starting an operation on it takes microseconds
_MOST_THREADS = 4  # so many cores read memory at its full speed

Index = tuple[Any, ...]


def chunks(shape: tuple[int, ...], limit: int) -> Iterator[Index]:
    """Yield indices that cut an array of ``shape`` into views of at most ``limit`` elements, in row-major order.

    Examples
    --------
    >>> list(chunks((2, 5), 5))
    [(slice(0, 1, None), Ellipsis), (slice(1, 2, None), Ellipsis)]
    >>> list(chunks((2, 5), 4))[:2]
    [(0, slice(0, 3, None), Ellipsis), (0, slice(3, 6, None), Ellipsis)]
    """
    size = math.prod(shape)
    if size <= limit:
        if size:
            yield (...,)
        return
    row = size // shape[0]
    if row > limit:
        yield from ((i, *inner) for i in range(shape[0]) for inner in chunks(shape[1:], limit))
        return
    count = -(-shape[0] // (limit // row))
    step = -(-shape[0] // count)
    yield from ((slice(start, start + step), ...) for start in range(0, shape[0], step))


def _limit(array: NDArray, on_host: int | None = None) -> int:
    """Return the number of elements in a chunk of ``array``; by default for memory that is used again."""
    if on_host is None:
        on_host = _LARGE_CHUNK if array.size >= _LARGE else _CHUNK
    return max(1, min(array.size, on_host if array._backend.host else _DEVICE_CHUNK))


def _run(backend: Backend, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of the library's own arrays on their device, without warnings of infinities and NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        return function(*args) if backend.call is None else backend.call(function, *args)


def _buffer(backend: Backend, size: int) -> Any:
    """Return ``size`` uninitialized elements of float64."""
    return backend.namespace.empty(size, dtype=nd.float64, device=backend.device)


def _fitted(buffer: Any, part: Any, backend: Backend) -> Any:
    """Return the start of a buffer in the shape of ``part``; shares memory."""
    return backend.namespace.reshape(buffer[: math.prod(part.shape)], part.shape)


def _store(array: Any, key: Any, value: Any, backend: Backend) -> None:
    """Assign ``value`` in the dtype of ``array``; without a converted copy where the library converts as it assigns."""
    array[key] = value if backend.converts else backend.namespace.astype(value, array.dtype, copy=False)


# ---- mean
def mean(arrays: Sequence[NDArray], weights: Sequence[float]) -> NDArray:
    """Return the weighted mean of arrays of one shape, dtype and device, rounded once to their dtype.

    Parameters
    ----------
    arrays
        At least one; of floating or integer numbers. Their order is the order of summation.
    weights
        A positive number for each, of finite sum.

    Returns
    -------
    NDArray
        New memory, row-major. Beside it the host needs up to 5 MiB a thread.

    Notes
    -----
    Threads share the chunks of a large floating array of numpy, which releases the interpreter's lock while it computes. Each
    chunk is computed alone, so the number of threads changes no bit.

    Examples
    --------
    >>> mean([NDArray([1.0, 2.0]), NDArray([3.0, 2.0])], [3, 1])
    NDArray([1.5, 2. ], shape=(2,), dtype=float64, device='cpu')
    """
    first, backend = arrays[0], arrays[0]._backend
    if first.dtype.kind in "iu":
        limit, means = _limit(first, _SMALL_CHUNK), _integer_means
    else:
        if len(arrays) == 2 and weights[0] == weights[1] and _is_small(first):
            found = _run(backend, _mean_of_two, *(array.unwrap() for array in arrays))
            if found is not None:
                return wrap(found, backend)
        limit = _limit(first)
        means = partial(_float_means, size=limit)
    out = wrap(backend.namespace.empty(first.shape, dtype=first.dtype, device=backend.device), backend)
    spans = iter(list(chunks(first.shape, limit)))
    work = partial(_run, backend, means)
    args = [array.unwrap() for array in arrays], weights, out, spans
    threads = _threads(first)
    if threads == 1:
        work(*args)
        return out
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, *args) for _ in range(threads)]:
            done.result()
    return out


def _is_small(array: NDArray) -> bool:
    """Say whether an array of numpy's float32 is computed in one piece: a part of a result as it comes."""
    return array.backend == "numpy" and array.dtype == np.float32 and 0 < array.size < _LARGE


def _threads(array: NDArray) -> int:
    """Return how many threads to use: one for other libraries, which have their own threads, and for integers, which are rare."""
    if array.backend != "numpy" or array.dtype.kind != "f":
        return 1
    return max(1, min(array.size // _LARGE, _MOST_THREADS, _cpus()))


def _cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _float_means(arrays: list[Any], weights: Sequence[float], out: NDArray, spans: Iterable[Index], size: int) -> None:
    """Write the means of the chunks ``spans``, of at most ``size`` elements, into ``out``; the accumulator is float64."""
    backend, plain = out._backend, len(set(weights)) == 1
    scales, total = ([], len(weights)) if plain else _scaled(weights)
    sums, terms = _buffer(backend, size), _buffer(backend, 0 if plain else size)
    # Of a power of two, a product with its inverse has the bits of the quotient, and takes less time.
    is_exact = math.frexp(total)[0] == 0.5
    for span in spans:
        parts = [array[span] for array in arrays]
        acc = _fitted(sums, parts[0], backend)
        _store(acc, ..., parts[0], backend)  # not zero, which would lose the sign of -0.0
        if plain:
            for part in parts[1:]:
                acc += part
        else:
            _add_scaled(acc, _fitted(terms, parts[0], backend), parts, scales, backend)
        if is_exact:
            acc *= 1 / total
        else:
            acc /= total
        means = acc if out.dtype.itemsize < 8 else _equal_kept(acc, parts, backend)
        _store(out.unwrap(), span, means, backend)


def _mean_of_two(a: Any, b: Any) -> Any:
    """Return (a + b) / 2 in float32, or None where that has not the bits of float64, rounded once. It takes less time.

    A float64 holds the sum of two float32 well enough that rounding it again changes nothing (Figueroa, When is double rounding
    innocuous?, 1995: 53 >= 2 * 24 + 2), and halving is exact but for subnormal numbers, whose sum is exact. Only a sum may overflow, and
    the processor says so.
    """
    out = np.empty(a.shape, np.float32)
    try:
        with np.errstate(over="raise", invalid="raise"):
            np.add(a, b, out=out)
    except FloatingPointError:
        return None
    return np.multiply(out, np.float32(0.5), out=out)


def _scaled(weights: Sequence[float]) -> tuple[list[float], float]:
    """Return the weights and their sum, both times the same power of two. That is exact, and no product overflows then."""
    _, exponent = math.frexp(sum(weights))
    scales = [math.ldexp(weight, -exponent) for weight in weights]
    return scales, sum(scales)


def _add_scaled(acc: Any, term: Any, parts: list[Any], scales: list[float], backend: Backend) -> None:
    """Turn ``acc``, which holds the first part, into the scaled sum; ``term`` is a buffer for one product."""
    acc *= scales[0]
    for part, scale in zip(parts[1:], scales[1:], strict=True):
        _store(term, ..., part, backend)
        term *= scale
        acc += term


def _equal_kept(means: Any, parts: list[Any], backend: Backend) -> Any:
    """Return ``means``, with elements that are equal in all parts kept: float64 has no spare bits for their exact sum."""
    equal = parts[0] == parts[0]
    for part in parts[1:]:
        equal &= part == parts[0]
    return backend.namespace.where(equal, parts[0], means)


def _integer_means(arrays: list[Any], weights: Sequence[float], out: NDArray, spans: Iterable[Index]) -> None:
    """Write the means of the chunks ``spans`` into ``out``, rounded to the nearest integer, half to even.

    With x = q * total + r, both parts of sum(w * q) + sum(w * r) / total fit in int64: the mean of any integers is exact.
    """
    xp, target, counts = out._backend.namespace, out.unwrap(), _whole(weights)
    total = sum(counts)
    # int64 holds uint64 less 2**63; adding -2**63 once more wraps around to the number itself
    shift = -(2**63) if out.dtype == nd.uint64 else 0
    for span in spans:
        parts = [xp.astype(array[span], nd.int64) + shift for array in arrays]
        quotients = [part // total for part in parts]
        result, rest = xp.zeros_like(parts[0]), xp.zeros_like(parts[0])
        for part, quotient, count in zip(parts, quotients, counts, strict=True):
            result += quotient * count
            rest += (part - quotient * total) * count
        result += rest // total
        twice = rest % total * 2
        up = (twice > total) | ((twice == total) & (result % 2 == 1))
        target[span] = xp.astype(result + xp.astype(up, nd.int64) + shift, target.dtype)


def _whole(weights: Sequence[float]) -> list[int]:
    """Return integers in the ratio of ``weights`` whose sum is below 2**31: the weights themselves if they are such."""
    total = sum(weights)
    if total < 2**31 and all(float(weight).is_integer() for weight in weights):
        return [int(weight) for weight in weights]
    return [round(weight / total * 2**30) for weight in weights]


# ---- norm and comparison
def square_sum(array: NDArray) -> float:
    """Return the sum of the squares of the absolute values, in float64; waits for the device."""
    return float(_run(array._backend, _square_sum, array))


def _square_sum(array: NDArray) -> float:
    backend, own, total = array._backend, array.unwrap(), 0.0
    xp, limit = backend.namespace, _limit(array)
    buffer = _buffer(backend, limit)
    for span in chunks(array.shape, limit):
        part = xp.abs(xp.astype(own[span], nd.complex128)) if array.dtype.kind == "c" else own[span]
        squares = _fitted(buffer, part, backend)
        _store(squares, ..., part, backend)
        squares *= squares
        total = xp.sum(squares) + total
    return float(total)


def same_bits(a: NDArray, b: NDArray) -> bool:
    """Say whether two arrays of one shape and dtype, wherever they are, hold the same bits."""
    spans = chunks(a.shape, max(_limit(x, _SMALL_CHUNK) for x in (a, b)))
    return all(a[span].to_host().tobytes() == b[span].to_host().tobytes() for span in spans)


def close(a: NDArray, b: NDArray, rtol: float, atol: float, *, equal_nan: bool) -> bool:
    """Say whether ``|a - b| <= atol + rtol * |b|`` in float64 everywhere; an infinity is close to itself only.

    Computed where the arrays are, on one device; waits once a chunk.
    """
    near = partial(closeness.close, backend=a._backend, rtol=rtol, atol=atol, equal_nan=equal_nan)
    own = a.unwrap(), b.unwrap()
    spans = chunks(a.shape, _limit(a, _SMALL_CHUNK))
    return all(_run(a._backend, near, *(array[span] for array in own)) for span in spans)
