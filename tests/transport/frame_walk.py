"""What a stranger, or a worker gone wrong, could send: frames and handshakes that were damaged, and streams of frames cut anywhere."""

import contextlib
import random
import struct

from sparknet.errors import ClusterError, FormatError
from sparknet.transport import Beat, Close, Done, Failed, Hello, Pull, Slice, Work
from sparknet.transport.frames import HEADER_BYTES, framed, read_header
from sparknet.transport.handshake import DriverHandshake, WorkerHandshake, new_secret
from sparknet.transport.wire import messages

LONGEST = 1 << 20
TO_DRIVER = (Hello, Done, Failed, Slice, Beat)
TO_WORKER = (Work, Pull, Beat, Close)
VALID = [
    *(Hello(3, {"sparknet": "0.1.0", "schema": "conv1"}), Hello(0), Work(1, b"w" * 100), Work(2, b"", 50)),
    *(Done(1, 50, 3, b"loss", b"seconds"), Failed(7, b"KeyError: 'conv1'"), Pull(1, 2), Slice(1, 2, b"s" * 64)),
    *(Beat(), Close("the driver ended")),
]
NUMBERS = [0, 1, 255, 2**16, 2**20, 2**20 + 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1]
FIELDS = range(8, HEADER_BYTES, 8)


def walk(frames, seed=0):
    """Parse so many damaged frames; return how many became messages. Any error but a FormatError is a finding."""
    dice = random.Random(seed)
    sent = [b"".join(framed(message)) for message in VALID]
    accepted = 0
    for number in range(frames):
        frame = damaged(dice, bytearray(dice.choice(sent)))
        with contextlib.suppress(FormatError):
            accepted += parse(frame, TO_DRIVER if number % 2 else TO_WORKER)
    return accepted


def damaged(dice, frame):
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(frame))
        match dice.randrange(5):
            case 0:
                frame[at] ^= 1 << dice.randrange(8)
            case 1:
                frame[at] = dice.randrange(256)
            case 2:
                frame[4] = dice.randrange(10)
            case 3:
                struct.pack_into(">Q", frame, dice.choice(FIELDS), dice.choice(NUMBERS))
            case 4:
                frame[HEADER_BYTES:] = dice.randbytes(dice.randrange(40))
    return frame


def parse(frame, allowed):
    """Parse one frame as a socket would deliver it; say whether it is a message."""
    header = read_header(bytes(frame[:HEADER_BYTES]), longest=LONGEST, allowed=allowed)
    assert header.kind in allowed
    assert header.text_bytes <= LONGEST
    assert header.body_bytes <= LONGEST  # no more memory than that is taken for what follows
    rest = bytes(frame[HEADER_BYTES:])
    if header.text_bytes + header.body_bytes > len(rest):
        return False  # it is waited for, until the connection ends
    text, body = rest[: header.text_bytes], rest[header.text_bytes :][: header.body_bytes]
    message = header.message(text, memoryview(body))
    assert type(message) is header.kind
    again = b"".join(framed(message))
    if header.kind not in (Hello, Close):  # their text may be written in other ways too
        assert again[HEADER_BYTES:] == text + body
    return True


class Stream:
    """A connection on which these bytes come, in pieces of any size, and then the end."""

    def __init__(self, data, dice):
        self._data, self._dice, self.asked = memoryview(data), dice, 0

    def recv_into(self, view):
        """Receive some bytes; the largest buffer is kept that was there for them."""
        self.asked = max(self.asked, len(view))
        count = min(len(view), len(self._data), self._dice.choice([1, 7, 48, 1000]))
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


def walk_streams(streams, seed=0):
    """Receive so many streams of a few frames, the last ones damaged; return how many messages came."""
    dice = random.Random(seed)
    sent = [b"".join(framed(message)) for message in VALID]
    accepted = 0
    for number in range(streams):
        frames = [bytearray(dice.choice(sent)) for _ in range(dice.randrange(1, 5))]
        stream = Stream(b"".join([*frames[:-1], damaged(dice, frames[-1])]), dice)
        allowed = TO_DRIVER if number % 2 else TO_WORKER
        with contextlib.suppress(FormatError, ConnectionError):
            for message in messages(stream, longest=LONGEST, allowed=allowed):
                assert isinstance(message, allowed)
                accepted += 1
        assert stream.asked <= LONGEST
    return accepted


def walk_handshakes(handshakes, seed=0):
    """Let both sides meet so many damaged handshakes; each is refused with a ClusterError. Return how many were not damaged."""
    dice, secret = random.Random(seed), new_secret()
    accepted = 0
    for _ in range(handshakes):
        worker, driver = WorkerHandshake(secret), DriverHandshake(secret)
        try:
            greeting = maybe_damaged(dice, worker.greeting())
            answer = maybe_damaged(dice, driver.answer(greeting))
            proof = worker.proof(answer)
            assert greeting == worker.greeting(), "the worker took a proof of another greeting"
            said = maybe_damaged(dice, proof)
            driver.check(said)
            assert said == proof, "the driver took another proof"
            accepted += 1
        except ClusterError:
            pass
    return accepted


def maybe_damaged(dice, data):
    """Return bytes that were changed in one place, cut, made longer or random; or, once in two, as they are."""
    at = dice.randrange(len(data))
    match dice.randrange(8):
        case 0:
            return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data + dice.randbytes(1 + at)
        case 3:
            return dice.randbytes(len(data))
    return data
