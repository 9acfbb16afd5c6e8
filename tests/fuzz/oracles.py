"""What must hold of one mutant, whatever its bytes: for the fuzzer, and by ``judged`` for any test that changes a message.

Each entry point gives a value or refuses: no other exception, no warning, in time and memory bounded by the bytes. All that
read the whole message agree on whether it is one, and on its bits. What is verified has the checksums that the page of the format
defines, and what was read is what is read again once it is written.
"""

import os
import time
import traceback
import tracemalloc
import warnings
import zlib
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
from fuzz.corpus import payloads_of, seed_of
from fuzz.entries import ENTRIES, MAX_BYTES, Mutant
from fuzz.mutations import checksum

from sparknet import NDArray, SchemaError, WeightCollection
from sparknet.serialization import dumps, inspect, loads
from sparknet.serialization.message import layout
from sparknet.serialization.payload import dtypes

SECONDS = 2.0  # of the processor, for one call
# Bytes beyond four times the input: the layout of 65,536 payloads, which a header can promise; or a stream's first buffer of 1 MiB;
# or a chunk of 2 MiB as it is stored, inflated and put in order, and the scratch memory of an encoding.
MEMORY = 8 << 20
DTYPES = set(dtypes.NAMES.values())
BLOCK = 4096  # a tensor smaller than this has a plain CRC-32

# What must accept exactly what `loads` accepts; at least that; and the same, if the message has checksums. Where live arrays or a
# codec are given, a message of another schema is refused in any case.
WHOLE = (
    "loads",
    "loads, copied",
    "load",
    "load, not mapped",
    "iter_load",
    "load_into",
    "Codec.loads",
    "Codec.load_into",
)
LENIENT = (
    *("inspect", "inspect, of a file", "inspect, of a stream", "loads, not verified", "load, chosen"),
    *("load, of a stream", "load_into, of a stream"),
)
VERIFYING = ("verify", "verify, of a file", "loads, verified")


class Outcome(NamedTuple):
    """What a call gave or refused with, and its cost."""

    writable: bool  # what its arrays should be
    value: Any
    error: Exception | None
    seconds: float  # of the processor
    memory: int  # bytes at the most; 0 if they were not counted

    @property
    def accepted(self):
        return self.error is None


class Broken(Exception):  # noqa: N818 - a finding, no error of the program
    """Something that must hold does not."""

    def __init__(self, entry, what):
        super().__init__(f"{entry}: {what}")


class Hang(BaseException):
    """A call takes far too long."""


def judged(message, changed, *, names=ENTRIES, traced=False):
    """Read bytes that were made of a message by entry points; return their outcomes, or fail where they break what must hold.

    ``names``: of the entry points, `loads` and `verify` among them; ``traced``: memory is counted.
    """
    entries = {name: ENTRIES[name] for name in names}
    with recorded_warnings() as warned:
        outcomes, broken = examine("plain", _seed_of(bytes(message)), bytes(changed), warned, entries, traced=traced)
    assert broken == ""
    return outcomes


def is_refused(message, changed, *, names=ENTRIES):
    """Say whether every entry point that reads the whole of a message refuses what was made of it."""
    return not judged(message, changed, names=names)["loads"].accepted


_seed_of = lru_cache(100)(lambda message: seed_of("a test's", message))


def examine(name, seed, data, warned, entries, *, traced=False):
    """Read bytes by these entry points; return the outcomes, and what they break, or nothing."""
    judge, outcomes = judge_file if name == "files" else judge_message, {}
    with in_memory(data) as path:
        mutant = Mutant(seed, data, path)
        try:
            for entry, how in entries.items():
                outcomes[entry] = attempt(entry, how, mutant, warned, traced=traced)
            judge(mutant, outcomes)
        except Broken as broken:
            return outcomes, str(broken)
        except (Exception, Hang):  # noqa: BLE001 - of what was read, and cannot be looked at or written again
            return outcomes, traceback.format_exc()
    return outcomes, ""


@contextmanager
def in_memory(data):
    """Give the path of a file without a disk: each mutant has its own, because arrays may still look at the last one."""
    descriptor = os.memfd_create("mutant")
    try:
        os.write(descriptor, data)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


@contextmanager
def recorded_warnings():
    """Record warnings in a list, every one but numpy's: it parses headers as Python, and has advice about old ones."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.filterwarnings("ignore", "invalid (escape|octal|decimal|hex)", DeprecationWarning)
        warnings.filterwarnings(
            "ignore", "Reading `.npy` or `.npz` file required additional header parsing", UserWarning
        )
        yield warned


def attempt(name, entry, mutant, warned, *, traced=False):
    """Return the outcome of one call; raise Broken if it is none that is allowed.

    ``warned`` is where warnings are recorded; ``traced``: memory is counted.
    """
    value = error = None
    memory = 0
    if traced:
        tracemalloc.start()
    begin = time.process_time()
    try:
        value = entry.call(mutant)
    except entry.refusals as refusal:
        error = refusal
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # also Hang, and a panic in a library written in Rust
        raise Broken(name, "".join(traceback.format_exception(fault))) from fault
    finally:
        seconds = time.process_time() - begin
        if traced:
            memory = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    if warned:
        text = "; ".join(str(one.message) for one in warned)
        warned.clear()
        raise Broken(name, f"warned: {text}")
    size = len(mutant.data)
    if seconds > SECONDS or memory > MEMORY + 4 * size:
        raise Broken(name, f"took {seconds:.2f} s and {memory} bytes of memory for a message of {size} bytes")
    return Outcome(entry.writable, value, error, seconds, memory)


def judge_file(_, outcomes):
    """Raise Broken unless the values in a file of another format are such as our own messages hold."""
    for name, outcome in outcomes.items():
        if outcome.accepted:
            _check_arrays(name, outcome.value.obj, writable=None)
            numbered = {str(number): array for number, (_, array) in enumerate(named(outcome.value.obj))}
            _check_written_again(name, numbered, {})  # their names may hold a NUL, which our messages have no place for


def judge_message(mutant, outcomes):
    """Raise Broken unless the outcomes of entry points for one message fit together; `loads` and `verify` are among them."""
    good = outcomes["loads"].accepted
    info = inspect(mutant.data) if good or outcomes["verify"].accepted else None
    for name, outcome in outcomes.items():
        expected = _expected(name, outcome, info, good=good)
        what = f"it gives {outcome.error or 'a value'}, but loads {outcomes['loads'].error or 'a value'}"
        _refuse_if(expected not in (None, outcome.accepted), name, what)
        if outcome.error is not None:
            _check_refusal(name, outcome.error, mutant)
    if outcomes["verify"].accepted:
        _check_verified(mutant, info)
    if good:
        _check_values(info, outcomes)
    if good and zlib.crc32(mutant.data) % 4 == 0:  # as dear as all the rest
        _check_written_again("loads", outcomes["loads"].value, info.metadata)


def _expected(name, outcome, info, *, good):
    """Return whether an entry point must accept the message, given whether `loads` does; None: it may."""
    if isinstance(outcome.error, SchemaError):
        return None
    if name in WHOLE:
        return good
    if name in VERIFYING and good and info.tensors:
        return info.tensors[0].checksum is not None
    if name in VERIFYING and not good and info:  # verify, which inflates a chunk at a time, has no limit
        inflated = sum(tensor.nbytes for tensor in info.tensors if tensor.compression)
        return False if inflated <= MAX_BYTES else None
    return True if name in LENIENT and good else None


def _check_refusal(name, error, mutant):
    offset = getattr(error, "offset", None)
    _refuse_if(offset is not None and not 0 <= offset <= len(mutant.data), name, f"the offset {offset} of: {error}")
    if hasattr(error, "live") and not name.endswith("stream"):
        _refuse_if(bits(error.live) != bits(mutant.seed.live), name, f"live arrays have changed, in spite of: {error}")


def _check_verified(mutant, info):
    """Compare a verified message with what the page of the format says, and with the message that it was."""
    for tensor, payload in zip(info.tensors, payloads_of(mutant.data, info), strict=True):
        _refuse_if(
            checksum(payload) != tensor.checksum, "verify", f"{tensor.name!r} has not the checksum in the header"
        )
    head, data = layout.HEAD + info.header_nbytes, mutant.seed.data
    is_plain = all(tensor.stored_nbytes < BLOCK for tensor in info.tensors)
    is_damaged = data[:head] == mutant.data[:head] and data != mutant.data
    _refuse_if(is_damaged and is_plain, "verify", "payloads have changed and the header has not")


def _check_values(info, outcomes):
    expected = bits(outcomes["loads"].value)
    described = [(tensor.dtype, tensor.shape, tensor.nbytes) for tensor in info.tensors]
    got = [(dtype, shape, len(data)) for _, dtype, shape, data in expected]
    _refuse_if(got != described, "inspect", f"it describes {described}, but loads gives {got}")
    for name, outcome in outcomes.items():
        if outcome.accepted and not name.startswith(("inspect", "verify")):
            _check_arrays(name, outcome.value, writable=outcome.writable)
            part = bits(outcome.value)
            is_same = part == expected
            if name == "load, chosen":
                is_same = set(part) <= set(expected) and bool(part) == bool(expected)
            _refuse_if(not is_same and name != "loads, not verified", name, "it gives other values than loads")
    str(info)


def _check_arrays(name, obj, *, writable):
    for _, array in named(obj):
        _refuse_if(
            array.dtype.name not in DTYPES or not array.dtype.isnative, name, f"an array has dtype {array.dtype!r}"
        )
        _refuse_if(writable not in (None, array.flags.writeable), name, f"writable: {array.flags.writeable}")
        if array.dtype == bool and name != "loads, not verified" and array.size:
            _refuse_if(array.view("uint8").max() > 1, name, "a bool is neither 0 nor 1")


def _check_written_again(name, obj, metadata):
    again = dumps(obj, metadata=metadata)
    _refuse_if(bits(loads(again)) != bits(obj), name, "what it gives is not read again once it is written")
    told = inspect(again).metadata
    _refuse_if(msgpack.packb(told) != msgpack.packb(metadata), name, f"its metadata {metadata} is read again as {told}")


def _refuse_if(condition, name, what):
    if condition:
        raise Broken(name, what)


def named(obj):
    """Return the names and the host arrays of whatever an entry point gives."""
    if isinstance(obj, WeightCollection):
        return [(f"{name}[{i}]", array.to_host()) for name, layer in obj.items() for i, array in enumerate(layer)]
    found = obj if isinstance(obj, dict) else {"": obj}
    return [(name, array.to_host() if isinstance(array, NDArray) else array) for name, array in found.items()]


def bits(obj):
    """Return all that a value is: name, dtype, shape and bytes of each array."""
    return [(name, array.dtype.name, array.shape, array.tobytes()) for name, array in named(obj)]
