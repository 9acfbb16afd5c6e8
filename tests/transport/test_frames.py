"""The bytes of a message: each message comes back as it was, and no bytes do more than raise a FormatError."""

import pytest
from transport.frame_walk import LONGEST, VALID, walk

from sparknet.errors import FormatError
from sparknet.transport import Close, Done, Failed, Hello, Pull, Work
from sparknet.transport.frames import HEADER_BYTES, framed, read_header


@pytest.mark.parametrize("message", VALID, ids=str)
def test_a_message_comes_back_as_it_was(message):
    frame = b"".join(framed(message))
    header = read_header(frame[:HEADER_BYTES], longest=LONGEST, allowed=[type(message)])
    text, body = frame[HEADER_BYTES:][: header.text_bytes], frame[HEADER_BYTES + header.text_bytes :]
    assert len(body) == header.body_bytes
    assert header.message(text, body) == message


def test_a_frame_that_is_damaged_is_a_message_or_a_format_error():
    assert walk(20_000) > 2_000


def header_of(message, *fields):
    frame = bytearray(framed(message)[0][:HEADER_BYTES])
    for at, value in fields:
        frame[at : at + 8] = value.to_bytes(8, "big", signed=value < 0)
    return bytes(frame)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"GET / HTTP/1.1\r\n".ljust(HEADER_BYTES), "frame: got b'GET / HT', expected b'SNR1'"),
        (header_of(Pull(1, 0), (16, -1)), "Pull has the numbers -1 and 0, expected none below 0"),
        (header_of(Done(1, 2, 3), (24, -3)), "Done has the numbers 2 and -3"),
        (
            header_of(Work(1, b""), (40, 10 * 2**30)),
            "Work has a body of 10,737,418,240 bytes, expected at most 1,048,576",
        ),
        (header_of(Hello(1), (32, 2**20 + 1)), "Hello has a text of 1,048,577 bytes, expected at most 1,048,576"),
        (header_of(Close()), "got Close, expected one of Hello, Work, Pull, Done"),
    ],
    ids=lambda each: each[:20] if isinstance(each, str) else "",
)
def test_a_header_that_is_refused_says_what_was_got_and_expected(header, text):
    with pytest.raises(FormatError) as caught:
        read_header(header, longest=LONGEST, allowed=[Hello, Work, Pull, Done])
    assert text in str(caught.value)


def test_a_text_that_is_too_long_is_cut_where_it_is_an_error_and_refused_where_it_is_needed():
    assert len(framed(Failed(1, b"x" * 2**21))[0]) == HEADER_BYTES + 2**20
    with pytest.raises(FormatError, match="Done has a text of 2,097,156 bytes, expected at most 1,048,576"):
        framed(Done(1, 1, 1, b"x" * 2**21))
