"""load_into: one message into arrays that are there, whole or with an error that says how far it came."""

import io
import os
import socket
import sys
import threading
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from strategies import messages_of

import sparknet
from sparknet import FormatError, NDArray, SchemaError, StreamEnd, WeightCollection, dump, dumps, nd, save
from sparknet.backends import register_backend, registry
from sparknet.backends.adapt import adapt
from sparknet.serialization import inspect, load_into

RNG = np.random.default_rng(0)
# small and large, of every memory order; a bool and an empty one among them
OBJECT = {
    "small": np.arange(7, dtype="int16"),
    "flags": np.array([True, False, True]),
    "large": RNG.standard_normal((700, 500)),
    "empty": np.zeros((0, 3), "float32"),
    "scalar": np.array(2.5),
    "many flags": RNG.integers(0, 2, 400_000).astype(bool),
    "after": np.arange(5, dtype="uint8"),
}


class Trickle(io.RawIOBase):
    """Gives a few thousand bytes at a time at most, as a pipe may."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, target):
        return self.data.readinto(target[:4099])


class Read:
    """Has ``read`` alone."""

    def __init__(self, data):
        self.read = io.BytesIO(data).read


SOURCES = {"memory": bytes, "bytearray": bytearray, "file": io.BytesIO, "raw file": Trickle, "read alone": Read}


@pytest.fixture(params=SOURCES)
def source(request):
    return SOURCES[request.param]


def blank(obj):
    """Live arrays of the same schema, all bits set where that is a value."""
    if isinstance(obj, WeightCollection):
        return obj.map(blank)
    if isinstance(obj, dict):
        return {name: blank(array) for name, array in obj.items()}
    host = np.asarray(obj)
    return NDArray(np.ones(host.shape, host.dtype))


def same(live, obj):
    return all(np.array_equal(np.asarray(live[name]), array, equal_nan=False) for name, array in obj.items())


@given(messages_of())
def test_live_arrays_become_the_object(obj):
    message = dumps(obj)
    for source in bytes, io.BytesIO:
        live = blank(obj)
        load_into(live, source(message))
        assert dumps(live) == message


def test_every_source_will_do(source):
    live = blank(OBJECT)
    load_into(live, source(dumps(OBJECT)))
    assert same(live, OBJECT)


@pytest.mark.parametrize("layout", ["fortran", "steps", "big-endian", "unaligned"])
def test_live_arrays_may_lie_in_memory_as_they_like(source, layout):
    value = RNG.standard_normal((900, 400)).astype("float32")
    live = {
        "fortran": np.zeros((900, 400), "float32", order="F"),
        "steps": np.zeros((900, 800), "float32")[:, ::-2],
        "big-endian": np.zeros((900, 400), ">f4"),
        "unaligned": np.zeros(4 * 900 * 400 + 1, "uint8")[1:].view("float32").reshape(900, 400),
    }[layout]
    load_into({"a": live}, source(dumps({"a": value})))
    assert np.array_equal(live, value)


def test_arrays_of_numpy_are_written_where_they_are(source):
    live = {name: np.asarray(array).copy() for name, array in blank(OBJECT).items()}
    addresses = {name: array.__array_interface__["data"] for name, array in live.items()}
    load_into(live, source(dumps(OBJECT)))
    assert same(live, OBJECT)
    assert {name: array.__array_interface__["data"] for name, array in live.items()} == addresses


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"a": np.zeros(3)}, "'a' is float64 of shape .3,., expected float32 of shape .3,."),
        ({"a": np.zeros(4, "float32")}, "'a' is float32 of shape .4,., expected float32 of shape .3,."),
        ({"b": np.zeros(3, "float32")}, "got 1 names, expected 1; number 1 is 'b', expected 'a'"),
        (WeightCollection({"a": [np.zeros(3, "float32")]}), "kind 'weights', expected one of kind 'mapping'"),
        (np.zeros(3, "float32"), "kind 'array'"),
    ],
)
def test_a_message_that_does_not_fit_writes_nothing(source, other, text):
    live = {"a": np.full(3, 7, "float32")}
    with pytest.raises(SchemaError, match=f"load_into.*{text}"):
        load_into(live, source(dumps(other)))
    assert live["a"].tolist() == [7, 7, 7]


def test_layers_of_another_number_of_arrays_do_not_fit():
    live = WeightCollection({"a": [np.ones(2), np.ones(2)], "b": []})
    with pytest.raises(SchemaError, match="layer 'a' has 1 arrays, expected 2"):
        load_into(live, dumps(WeightCollection({"a": [np.ones(2)], "b": [np.ones(2)]})))


def test_a_read_only_array_is_refused_before_anything_is_read():
    live = {"a": np.ones(3), "b": np.ones(3)}
    live["b"].flags.writeable = False
    stream = io.BytesIO(dumps({"a": np.zeros(3), "b": np.zeros(3)}))
    with pytest.raises(ValueError, match=r"'b' is read-only.*make a copy"):
        load_into(live, stream)
    assert stream.tell() == 0
    assert live["a"].tolist() == [1, 1, 1]


def test_names_in_another_order_say_that_their_order_counts(source):
    live = {"a": np.ones(3), "b": np.ones(3)}
    with pytest.raises(SchemaError, match=r"names expected, in another order, .*: number 1 is 'b', expected 'a'"):
        load_into(live, source(dumps({"b": np.zeros(3), "a": np.zeros(3)})))
    assert live["a"].tolist() == [1, 1, 1]


def test_a_scalar_of_numpy_is_no_place_to_write_to():
    with pytest.raises(ValueError, match=r"'loss' is read-only, .*; make a copy first, np\.array\(x\)"):
        load_into({"loss": np.float32(1)}, dumps({"loss": np.float32(2)}))


def test_of_a_stream_nothing_is_read_behind_the_message():
    stream = io.BytesIO(dumps(OBJECT) + b"the caller's own")
    load_into(blank(OBJECT), stream)
    assert stream.read() == b"the caller's own"


def positions(message):
    """Bytes of the head, of gaps and payloads, of small and of large tensors."""
    offsets = [(tensor.offset, tensor.nbytes) for tensor in inspect(message).tensors]
    ends = [start + size for start, size in offsets]
    middles = [start + size // 2 for start, size in offsets if size]
    return sorted(
        {0, 1, 15, 40, *(start - 1 for start, _ in offsets), *middles, *(end - 1 for end in ends)} - {len(message)}
    )


def test_a_truncated_message_is_refused(source):
    message = dumps(OBJECT)
    for length in positions(message):
        is_end = not length and source not in (bytes, bytearray)
        with pytest.raises(StreamEnd if is_end else FormatError, match=r"truncated|not a sparknet|has ended"):
            load_into(blank(OBJECT), source(message[:length]))


def test_a_changed_byte_is_refused(source):
    message = bytearray(dumps(OBJECT))
    for position in positions(message):
        message[position] ^= 0x40
        with pytest.raises(FormatError):
            load_into(blank(OBJECT), source(message))
        message[position] ^= 0x40


def test_damaged_memory_changes_no_array():
    message = bytearray(dumps(OBJECT))
    message[-1] ^= 1
    live = blank(OBJECT)
    before = dumps(live)
    with pytest.raises(FormatError, match=r"'after'.*damaged"):
        load_into(live, message)
    assert dumps(live) == before


def test_a_damaged_stream_changes_what_came_before_the_damage_alone():
    message = bytearray(dumps(OBJECT))
    message[inspect(message).tensors[3].offset - 70] ^= 1  # at the end of "large"
    live = blank(OBJECT)
    with pytest.raises(FormatError, match=r"'large'.*damaged"):
        load_into(live, io.BytesIO(message))
    assert np.array_equal(live["small"].to_host(), OBJECT["small"])
    assert np.asarray(live["after"]).tolist() == [1] * 5


def test_a_live_array_never_holds_a_bool_that_is_neither_0_nor_1(forge):
    message = bytearray(forge(sizes=(2,), dtypes=b"\x10"))
    message[-1] = 0xFF
    large = bytearray(dumps({"a": np.zeros(400_000, bool)}, checksum=False))
    large[-1] = 2
    for damaged, live in (message, np.ones(2, bool)), (large, np.ones(400_000, bool)):
        for source in bytes, io.BytesIO:
            for verified in None, False:
                with pytest.raises(FormatError, match="neither 0 nor 1"):
                    load_into({"a": live}, source(damaged), verify=verified)
            assert live.view("uint8").max() == 1


def test_verify_is_as_for_loads(source):
    bare = dumps({"a": np.ones(3)}, checksum=False)
    live = {"a": np.zeros(3)}
    load_into(live, source(bare))
    assert live["a"].tolist() == [1, 1, 1]
    with pytest.raises(FormatError, match="carries no checksums"):
        load_into(live, source(bare), verify=True)
    damaged = bytearray(dumps({"a": np.zeros(3)}))
    damaged[-1] ^= 1
    load_into(live, source(damaged), verify=False)
    assert live["a"][2] != 0


def test_a_single_array_is_received(source):
    live = np.zeros((2, 3))
    load_into(live, source(dumps(np.ones((2, 3)))))
    assert live.sum() == 6


def test_what_is_no_source_is_refused():
    with pytest.raises(TypeError, match="got int, expected a socket or a file object with readinto or read"):
        load_into({"a": np.zeros(1)}, 7)


@pytest.fixture
def device(monkeypatch):
    """A device whose arrays the host cannot look into."""
    for name in ("REGISTRY", "BY_DEVICE", "_LOADED", "_BY_TYPE"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    host = array_api_strict.Device("CPU_DEVICE")
    strict = adapt(
        "strict",
        array_api_strict,
        type(array_api_strict.ones(1)),
        lambda array: np.asarray(array.to_device(host)),
        device=lambda name: host if name == "cpu" else array_api_strict.Device(name),
        device_of=lambda array: "cpu" if array.device == host else array.device._device,
    )
    monkeypatch.setitem(sys.modules, "strict_backend", SimpleNamespace(BACKEND=strict))
    register_backend("strict", "strict_backend:BACKEND")
    return "strict:device1"


def test_arrays_on_another_device_are_received_too(device, source):
    large = RNG.standard_normal(200_000)
    live = {"a": nd.zeros(3, device=device), "b": nd.zeros(200_000, device=device)}
    load_into(live, source(dumps({"a": np.arange(3.0), "b": large})))
    assert live["a"].device == device
    assert live["a"].to_host().tolist() == [0, 1, 2]
    assert np.array_equal(live["b"].to_host(), large)


@pytest.mark.gpu
def test_arrays_on_a_gpu_are_received_too(source):
    large = RNG.standard_normal(200_000)
    live = {"a": nd.zeros(3, device="cuda:0"), "b": nd.zeros(200_000, device="cuda:0")}
    load_into(live, source(dumps({"a": np.arange(3.0), "b": large})))
    assert live["b"].device == "cuda:0"
    assert np.array_equal(live["b"].to_host(), large)


@pytest.mark.parametrize("blocking", [None, 30.0])
def test_messages_travel_over_a_socket_into_live_arrays(blocking):
    here, there = socket.socketpair()
    live = blank(OBJECT)
    with here, there:
        here.settimeout(blocking)
        there.settimeout(blocking)
        sending = threading.Thread(target=lambda: [dump(OBJECT, here) for _ in range(3)])
        sending.start()
        for _ in range(3):
            load_into(live, there)
        sending.join()
    assert same(live, OBJECT)


def test_a_peer_that_hangs_up_leaves_a_truncated_message():
    here, there = socket.socketpair()
    with there:
        with here:
            here.sendall(dumps(OBJECT)[:300])
        with pytest.raises(FormatError, match="truncated message: it ends at byte"):
            load_into(blank(OBJECT), there)


def test_messages_travel_through_a_pipe_into_live_arrays(tmp_path):
    source, sink = os.pipe()
    live = blank(OBJECT)
    with os.fdopen(source, "rb", buffering=0) as reading, os.fdopen(sink, "wb", buffering=0) as writing:
        sending = threading.Thread(target=dump, args=(OBJECT, writing))
        sending.start()
        load_into(live, reading)
        sending.join()
    assert same(live, OBJECT)
    save(tmp_path / "o.msg", OBJECT)
    live = blank(OBJECT)
    with (tmp_path / "o.msg").open("rb") as file:
        load_into(live, file)
    assert same(live, OBJECT)


def test_it_is_exported():
    assert sparknet.serialization.load_into is load_into
