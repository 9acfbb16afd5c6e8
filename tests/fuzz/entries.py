"""The entry points that read bytes from anywhere: how each is called, and what it may do."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.corpus import Seed, blank

from sparknet import FormatError, SchemaError, StreamEnd
from sparknet.formats import Contents, describe, read
from sparknet.serialization import inspect, iter_load, load, load_into, loads, verify

MAX_BYTES = 1 << 18  # that compressed tensors may inflate to
FITS = (FormatError, SchemaError)
OF_STREAMS = (FormatError, StreamEnd)


class Mutant(NamedTuple):
    """Bytes to read, the seed that they were made of, and a file that holds them."""

    seed: Seed
    data: bytes
    path: Path

    def stream(self):
        """Return the bytes as one of the kinds of streams there are; the same for the same bytes."""
        return (io.BytesIO, Trickle, ReadAlone)[len(self.data) % 3](self.data)


class Trickle(io.RawIOBase):
    """Gives 100 bytes at a time at most, as a pipe may; of many a five thousandth, or reading them takes seconds."""

    def __init__(self, data):
        self.data, self.most = io.BytesIO(data), max(100, len(data) // 5000)

    def readable(self):
        return True

    def readinto(self, target):
        return self.data.readinto(target[: self.most])


class ReadAlone:
    """Has ``read`` alone."""

    def __init__(self, data):
        self.read = io.BytesIO(data).read


class NotOneMessageError(ValueError):
    """A stream holds none or several, and each is fine."""


class Entry(NamedTuple):
    """How an entry point is called, what it refuses with, and whether the arrays that it gives are writable."""

    call: Callable[[Mutant], Any]
    refusals: tuple[type[Exception], ...] = (FormatError,)
    writable: bool = False


def load_stream(mutant):
    """Load the one message of a stream."""
    found = list(iter_load(mutant.stream(), max_bytes=MAX_BYTES))
    if len(found) != 1:
        raise NotOneMessageError
    return found[0]


def load_chosen(mutant):
    """Load every other name of a file."""
    info = inspect(mutant.path)
    names = [tensor.name for tensor in info.tensors]
    if info.kind == "weights":
        names = [name.rpartition("[")[0] for name in names]
    keys = None if info.kind == "array" else list(dict.fromkeys(names))[::2]
    return load(mutant.path, keys=keys, max_bytes=MAX_BYTES)


def into(receive):
    """Return the call that receives a mutant into new arrays and gives them; an error has them as ``live``."""

    def call(mutant):
        arrays = blank(mutant.seed.live)
        try:
            receive(mutant, arrays)
        except (*FITS, StreamEnd) as error:
            error.live = arrays
            raise
        return arrays

    return call


ENTRIES = {
    "inspect": Entry(lambda m: inspect(m.data)),
    "inspect, of a file": Entry(lambda m: inspect(m.path)),
    "verify": Entry(lambda m: verify(m.data)),
    "verify, of a file": Entry(lambda m: verify(m.path)),
    "loads": Entry(lambda m: loads(m.data, max_bytes=MAX_BYTES)),
    "loads, copied": Entry(lambda m: loads(bytearray(m.data), copy=True, max_bytes=MAX_BYTES), writable=True),
    "loads, verified": Entry(lambda m: loads(memoryview(m.data), verify=True, max_bytes=MAX_BYTES)),
    "loads, not verified": Entry(lambda m: loads(m.data, verify=False, max_bytes=MAX_BYTES)),
    "load": Entry(lambda m: load(m.path, max_bytes=MAX_BYTES)),
    "load, not mapped": Entry(lambda m: load(m.path, mmap=False, max_bytes=MAX_BYTES), writable=True),
    "load, chosen": Entry(load_chosen),
    "iter_load": Entry(load_stream, (FormatError, NotOneMessageError), writable=True),
    "load, of a stream": Entry(lambda m: load(m.stream(), max_bytes=MAX_BYTES), OF_STREAMS, writable=True),
    "inspect, of a stream": Entry(lambda m: inspect(m.stream()), OF_STREAMS),
    "load_into": Entry(into(lambda m, live: load_into(live, m.data)), FITS, writable=True),
    "load_into, of a stream": Entry(
        into(lambda m, live: load_into(live, m.stream())), (*FITS, StreamEnd), writable=True
    ),
    "Codec.loads": Entry(lambda m: m.seed.codec.loads(m.data), FITS),
    "Codec.load_into": Entry(into(lambda m, live: m.seed.codec.load_into(live, m.data)), FITS, writable=True),
}
# weight files of other programs; the format is what the suffix of the seed says
FILES = {
    "formats.read": Entry(lambda m: read(m.path, file_format=m.seed.name.partition(".")[2], max_bytes=MAX_BYTES)),
    "formats.describe": Entry(lambda m: Contents({}, {"info": describe(m.path, max_bytes=MAX_BYTES)})),
}
