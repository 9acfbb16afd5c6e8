"""What is given in the place of a stream, or of one message: an error that says what to write instead, before a byte has gone."""

import asyncio
import io
import multiprocessing
import queue
import socket
import tempfile

import numpy as np
import pytest

from sparknet import FormatError, dump, dumps, inspect, iter_load, load, loads, save
from sparknet.serialization import Codec, load_into, verify

OBJECT = {"a": np.arange(6.0).reshape(2, 3), "b": np.int8([1, 2])}
MESSAGE = dumps(OBJECT, metadata={"step": 7})
LARGE = dumps({"a": np.zeros(10**6)})

WRITERS = {"dump": dump, "Codec.dump": Codec(OBJECT).dump}
READERS = {
    "load": load,
    "iter_load": iter_load,
    "load_into": lambda source: load_into({k: v.copy() for k, v in OBJECT.items()}, source),
    "Codec.load_into": lambda source: Codec(OBJECT).load_into({k: v.copy() for k, v in OBJECT.items()}, source),
}


@pytest.fixture(params=WRITERS)
def write(request):
    return lambda target: WRITERS[request.param](OBJECT, target)


@pytest.fixture(params=READERS)
def read(request):
    return READERS[request.param]


class Own(asyncio.StreamWriter):
    """A writer of asyncio's kind whose own ``write`` is done with the memory when it returns."""

    def __init__(self):
        self.got = b""

    def write(self, data):
        self.got += bytes(data)

    def __del__(self):
        """Leave out asyncio's, which closes a connection."""


class AsyncFile:
    """A file of aiofiles' kind."""

    async def write(self, _):
        raise AssertionError

    async def read(self, _):
        raise AssertionError


# ---- asyncio, whose writers keep the memory of live arrays from Python 3.12 on
def test_asyncio_is_refused_before_a_byte_is_sent(write, read):
    async def meet():
        came = asyncio.Queue()
        server = await asyncio.start_server(lambda r, w: came.put((r, w)), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for given in writer, writer.transport:
            with pytest.raises(TypeError, match=r"dump\(\): got .*write writer\.write\(dumps\(obj\)\)"):
                write(given)
        with pytest.raises(TypeError, match=r"got StreamReader, .*has to be awaited"):
            read(reader)
        theirs, answer = await came.get()
        writer.write(dumps(OBJECT))
        writer.write_eof()
        assert list(loads(await theirs.read())) == ["a", "b"]  # and nothing was there before
        for open_end in writer, answer:
            open_end.close()
        await answer.wait_closed()
        server.close()

    asyncio.run(meet())


def test_what_is_awaited_is_refused_whoever_made_it(write, read):
    with pytest.raises(TypeError, match=r"got AsyncFile, .*write writer\.write\(dumps\(obj\)\)"):
        write(AsyncFile())
    with pytest.raises(TypeError, match=r"got AsyncFile, .*has to be awaited"):
        read(AsyncFile())


def test_a_writer_of_ones_own_that_takes_the_bytes_is_a_stream(write):
    own = Own()
    write(own)
    assert list(loads(own.got)) == ["a", "b"]


# ---- other carriers
def test_pipes_and_queues_of_multiprocessing_say_how_they_carry_a_message(write, read):
    receiving, sending = multiprocessing.Pipe(duplex=False)
    with receiving, sending:
        with pytest.raises(TypeError, match=r"write conn\.send_bytes\(dumps\(obj\)\)"):
            write(sending)
        with pytest.raises(TypeError, match=r"write loads\(conn\.recv_bytes\(\)\)"):
            read(receiving)
    with pytest.raises(TypeError, match=r"write queue\.put\(dumps\(obj\)\)"):
        write(queue.Queue())
    with pytest.raises(TypeError, match=r"write loads\(queue\.get\(\)\)"):
        read(queue.Queue())


def test_a_socket_that_does_not_block_is_refused_before_a_byte_is_read_or_written(write, read):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(MESSAGE[:100])
        ours.setblocking(False)
        with pytest.raises(BlockingIOError, match=r"does not block; .*sock\.settimeout\(30\)"):
            read(ours)
        with pytest.raises(BlockingIOError, match="does not block"):
            write(ours)
        assert len(ours.recv(1000)) == 100
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


def test_text_files_say_how_to_open_them(tmp_path, write, read):
    (tmp_path / "w").write_bytes(MESSAGE)
    with (tmp_path / "w").open(encoding="latin-1") as file:
        with pytest.raises(TypeError, match=r"gives text, .*; open it with mode 'rb'"):
            read(file)
        assert file.tell() == 0
    with (
        (tmp_path / "new").open("w", encoding="utf-8") as file,
        pytest.raises(TypeError, match="open it with mode 'wb'"),
    ):
        write(file)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file, pytest.raises(TypeError, match="'wb'"):
        write(file)
    assert (tmp_path / "new").read_bytes() == b""


def test_paths_and_bytes_say_which_function_takes_them(tmp_path, write, read):
    for path in str(tmp_path / "w"), tmp_path / "w", bytes(tmp_path / "w"):
        with pytest.raises(TypeError, match=r"dump\(\): got the path .*; write save\(path, obj\)"):
            write(path)
    with pytest.raises(TypeError, match=r"got bytes, a message in memory, .*dumps_into\(obj, buffer\)"):
        write(MESSAGE)
    if read is READERS["iter_load"]:
        with pytest.raises(
            TypeError, match=r"got bytearray, a message in memory, .*io\.BytesIO\(messages\) for several"
        ):
            read(bytearray(MESSAGE))
    if read not in (load, iter_load):
        with pytest.raises(TypeError, match=r"got the path .*; write open\(path, 'rb'\)"):
            read(tmp_path / "w")


def test_dump_and_save_with_their_arguments_in_the_other_order_say_so(tmp_path):
    with pytest.raises(TypeError, match=r"got dict, .*; write dump\(obj, file\), or save\(path, obj\)"):
        dump(tmp_path / "w", OBJECT)
    with pytest.raises(TypeError, match=r"got dict, .*; write dump\(obj, file\), or save\(path, obj\)"):
        dump(io.BytesIO(), OBJECT)
    with pytest.raises(TypeError, match=r"save\(\): got dict for the path, .*; write save\(path, obj\)"):
        save(OBJECT, tmp_path / "w")


# ---- messages stay short, whatever was given
WRONG_PLACES = {
    "iter_load": iter_load,
    "load": load,
    "dump": lambda given: dump(OBJECT, given),
    "save": lambda given: save(OBJECT, given),
    "encoding": lambda given: dumps(OBJECT, encoding=given),
    "compression": lambda given: dumps(OBJECT, compression=given),
    "metadata": lambda given: dumps(OBJECT, metadata=given),
    "metadata key": lambda given: dumps(OBJECT, metadata={given: 1}),
    "name": lambda given: dumps({given: OBJECT["a"]}),
    "object": dumps,
    "two messages": lambda given: loads(given + given),
    "end for iter_load": lambda given: iter_load(given[1:]),
    "end for inspect": lambda given: inspect(given[1:]),
    "Codec": Codec,
    "schema": lambda given: Codec({"a": ((given,),)}),
}


@pytest.mark.parametrize("call", WRONG_PLACES.values(), ids=WRONG_PLACES)
def test_a_message_that_was_given_in_the_wrong_place_is_not_printed(call):
    with pytest.raises((TypeError, ValueError)) as raised:
        call(LARGE)
    assert 20 < len(str(raised.value)) < 500


# ---- several messages where one was expected
def test_several_messages_say_how_to_read_them_all(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(MESSAGE + MESSAGE)
    for take in load, inspect, verify, lambda p: load(p, mmap=False):
        with pytest.raises(FormatError, match=rf"ends at byte {len(MESSAGE)}, .*use iter_load\(open\(path, 'rb'\)\)"):
            take(path)
    with path.open("rb") as file:
        assert len(list(iter_load(file))) == 2
    live = {name: array.copy() for name, array in OBJECT.items()}
    for take in loads, inspect, Codec(OBJECT).loads, lambda buffer: load_into(live, buffer):
        advice = rf"pass buffer\[:{len(MESSAGE)}\], or of several messages, use iter_load\(io\.BytesIO\(buffer\)\)"
        with pytest.raises(FormatError, match=advice):
            take(MESSAGE + MESSAGE)
        take((MESSAGE + MESSAGE)[: len(MESSAGE)])


# ---- what comes with the object
def test_metadata_comes_with_the_object_where_it_is_asked_for(tmp_path):
    save(tmp_path / "w.msg", OBJECT, metadata={"step": 7})
    for found in (
        loads(MESSAGE, metadata=True),
        Codec(OBJECT).loads(MESSAGE, metadata=True),
        load(tmp_path / "w.msg", metadata=True),
        load(tmp_path / "w.msg", metadata=True, copy=True),
        load(io.BytesIO(MESSAGE), metadata=True),
        *iter_load(io.BytesIO(MESSAGE), metadata=True),
    ):
        obj, metadata = found
        assert (list(obj), metadata) == (["a", "b"], {"step": 7})
    plain = dumps(OBJECT)
    loads(plain, metadata=True)[1]["mine"] = 1
    assert loads(plain, metadata=True)[1] == {}


def test_inspect_takes_bytes_as_a_message_and_never_opens_a_file_that_they_name(tmp_path):
    save(tmp_path / "w.msg", OBJECT)
    for call in inspect, verify:
        with pytest.raises(FormatError, match=r"expected a message; of a path in bytes, write os\.fsdecode\(path\)"):
            call(bytes(tmp_path / "w.msg"))
        for given in b"x" * 9999, b"\0", b"", b".":
            with pytest.raises(FormatError, match=r"not a sparknet message|truncated"):
                call(given)
