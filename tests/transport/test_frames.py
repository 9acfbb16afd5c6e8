"""The bytes of a message: each message comes back as it was, and no bytes do more than raise a FormatError."""

import numpy as np
import pytest
from transport.frame_walk import LONGEST, VALID, walk, walk_handshakes, walk_streams

from sparknet.errors import FormatError
from sparknet.transport import Close, Done, Failed, Hello, Pull, Slice, Work
from sparknet.transport.frames import HEADER_BYTES, framed, read_header, works


@pytest.mark.parametrize("message", VALID, ids=str)
def test_a_message_comes_back_as_it_was(message):
    frame = b"".join(framed(message))
    header = read_header(frame[:HEADER_BYTES], longest=LONGEST, allowed=[type(message)])
    text, body = frame[HEADER_BYTES:][: header.text_bytes], frame[HEADER_BYTES + header.text_bytes :]
    assert len(body) == header.body_bytes
    assert header.message(text, body) == message


def test_a_frame_that_is_damaged_is_a_message_or_a_format_error():
    assert walk(20_000) > 2_000


def test_a_stream_that_is_damaged_ends_in_time_and_takes_no_more_memory_than_its_limit():
    assert walk_streams(3_000) > 1_000


def test_a_handshake_that_is_damaged_proves_nothing():
    accepted = walk_handshakes(3_000)
    assert 100 < accepted < 1_000  # an eighth of them are as they were


def test_an_array_is_one_part_and_not_a_sequence_of_its_elements():
    array = np.arange(6, dtype="u1").reshape(2, 3)
    assert [len(part) for part in framed(Slice(1, 0, array))] == [HEADER_BYTES, 2]
    assert [part.nbytes for part in works({0: array}, 1)[0]] == [6]


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
