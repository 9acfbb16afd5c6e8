"""Frames that a stranger, or a worker gone wrong, could send: valid ones that were damaged, and headers of random numbers."""

import contextlib
import random
import struct

from sparknet.errors import FormatError
from sparknet.transport import Beat, Close, Done, Failed, Hello, Pull, Slice, Work
from sparknet.transport.frames import HEADER_BYTES, framed, read_header

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
    assert len(again) >= HEADER_BYTES
    return True
