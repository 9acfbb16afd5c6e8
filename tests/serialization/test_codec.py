"""Codec: the messages are those of dumps, and nothing else than its schema passes."""

import io
import itertools

import numpy as np
import pytest
from fuzz.oracles import is_refused
from hypothesis import given
from strategies import messages_of, some

from sparknet import FormatError, NDArray, SchemaError, WeightCollection, dump_parts, dumps, iter_load, loads
from sparknet.files import regular
from sparknet.serialization import Codec, inspect
from sparknet.serialization.message import plans

WEIGHTS = WeightCollection(
    {"conv": [np.arange(6, dtype="float32").reshape(2, 3), np.ones(2)], "relu": [], "ip": [np.eye(3)]}
)


@given(messages_of())
def test_its_messages_are_those_of_dumps(obj):
    codec, message = Codec(obj), dumps(obj)
    buffer = bytearray(codec.nbytes + 3)
    assert codec.nbytes == len(message)
    assert codec.dumps(obj) == message
    assert b"".join(codec.dump_parts(obj)) == message
    assert codec.dumps_into(obj, buffer) == len(message)
    assert buffer == message + bytes(3)
    stream = io.BytesIO()
    assert codec.dump(obj, stream) == len(message)
    assert stream.getvalue() == message


@given(messages_of())
def test_it_reads_the_messages_of_dumps(obj):
    message = dumps(obj)
    assert dumps(Codec(obj).loads(message, verify=True)) == message


@pytest.mark.parametrize("options", [{"checksum": False}, {"metadata": {"epoch": 3}}])
def test_checksums_and_metadata_are_those_it_was_made_with(options):
    codec = Codec(WEIGHTS, **options)
    for factor in 1, 2:
        assert codec.dumps(WEIGHTS * factor) == dumps(WEIGHTS * factor, **options)


def test_checksums_and_metadata_are_no_part_of_the_schema():
    codec = Codec(WEIGHTS)
    for options in {"checksum": False}, {"metadata": {"epoch": 3}}, {}:
        assert codec.loads(dumps(WEIGHTS, **options)) == WEIGHTS


def test_a_schema_will_do_for_an_example():
    codec = Codec(WEIGHTS.schema())
    assert codec.dumps(WEIGHTS) == dumps(WEIGHTS)
    assert Codec({}).dumps({}) == dumps({})
    with pytest.raises(ValueError, match=r"dtype 'object' of layer 'a'.*one of: bool, int8"):
        Codec({"a": (((3,), "object"),)})


def test_it_keeps_no_array_of_its_example():
    array = np.zeros(10)
    codec = Codec({"a": array})
    array[:] = 7
    assert codec.loads(codec.dumps({"a": np.ones(10)}))["a"].to_host().tolist() == [1] * 10


OTHERS = [
    ({"a": np.zeros(3)}, "kind 'mapping', expected one of kind 'weights'"),
    (WEIGHTS.astype("float64"), "'conv.0.' is float64 of shape .2, 3., expected float32"),
    (WeightCollection({**WEIGHTS, "ip": [np.eye(4)]}), "'ip.0.' is float64 of shape .4, 4., expected .* .3, 3."),
    (WeightCollection({"conv": WEIGHTS["conv"]}), r"got 1 names, expected \d+; number 2 is missing, expected '\w+'"),
]


@pytest.mark.parametrize(("other", "text"), OTHERS)
def test_what_is_of_another_schema_is_refused_in_both_directions(other, text):
    codec, buffer = Codec(WEIGHTS), bytearray(10_000)
    stream = io.BytesIO()
    for who, call in {
        "dumps": lambda: codec.dumps(other),
        "dump_parts": lambda: codec.dump_parts(other),
        "dumps_into": lambda: codec.dumps_into(other, buffer),
        "dump": lambda: codec.dump(other, stream),
        "loads": lambda: codec.loads(dumps(other)),
        "load_into": lambda: codec.load_into(other, dumps(WEIGHTS)),
    }.items():
        with pytest.raises(SchemaError, match=rf"Codec\.{who}\(\): .*{text}"):
            call()
    live = WEIGHTS.copy()
    with pytest.raises(SchemaError, match=r"Codec\.load_into"):
        codec.load_into(live, dumps(other))
    assert live == WEIGHTS
    assert not any(buffer)
    assert not stream.getvalue()


def test_it_receives_into_live_arrays():
    codec, live = Codec(WEIGHTS), WEIGHTS * 0.0
    for source in bytes, io.BytesIO:
        codec.load_into(live, source(codec.dumps(WEIGHTS + 1.0)))
        assert live == WEIGHTS + 1.0


def test_every_change_of_one_byte_is_detected():
    codec = Codec({"a": np.arange(5, dtype="float32"), "b": np.ones(2)})
    message = codec.dumps({"a": np.arange(5, dtype="float32"), "b": np.zeros(2)})
    for position, change in some(itertools.product(range(len(message)), (1, 0x80, 0xFF))):
        changed = bytearray(message)
        changed[position] ^= change
        assert is_refused(message, changed)  # by each way to read, a codec's among them


# ---- the plans that every function finds again


@given(messages_of(), messages_of(), messages_of())
def test_messages_do_not_depend_on_what_was_written_and_read_before(first, second, third):
    def fresh(obj):
        plans._written.clear()
        plans._read.clear()
        return dumps(obj)

    expected = [fresh(obj) for obj in (first, second, third)]
    plans._written.clear()
    plans._read.clear()
    for _ in range(2):
        assert [dumps(obj) for obj in (first, second, third)] == expected
        assert [dumps(loads(message, verify=True)) for message in expected] == expected


def test_metadata_that_is_equal_is_not_written_alike():
    array = np.zeros(1)
    for value in 1, True, 1.0, 0.0, -0.0:
        found = inspect(dumps(array, metadata={"a": value})).metadata["a"]
        assert (type(found), str(found)) == (type(value), str(value))


def test_each_message_is_compared_with_its_own_checksums():
    messages = [dumps({"a": np.full(9, value)}) for value in (1.0, 2.0)]
    assert len({message[:60] for message in messages}) == 1  # the same header up to the checksums
    for message in messages * 2:
        loads(message, verify=True)
        assert inspect(message, verify=True).tensors[0].checksum == inspect(message).tensors[0].checksum
    mixed = messages[0][:-72] + messages[1][-72:]
    with pytest.raises(FormatError, match="damaged"):
        loads(mixed)


def test_a_header_whose_checksums_are_not_last_is_read_with_those_it_has(forge):
    sums = {value: inspect(dumps({"a": np.full(2, value, "float32")})).tensors[0].checksum for value in (1, 2)}
    messages = []
    for value in 1, 2:
        columns = {"checksums": sums[value].to_bytes(4, "little"), "dim_width": 1, "dims": b"\x02"}
        message = bytearray(forge(first=columns))
        message[-8:] = np.full(2, value, "<f4").tobytes()
        messages.append(message)
    for message, value in zip(messages * 2, (1, 2, 1, 2), strict=True):
        assert loads(message, verify=True)["a"].to_host().tolist() == [value, value]
        assert inspect(message, verify=True).tensors[0].checksum == sums[value]


@pytest.mark.parametrize("options", [{"metadata": {"x": b"1"}}, {"compression": "lz4"}])
def test_plans_of_messages_that_are_never_the_same_again_are_not_kept(options):
    plans._read.clear()
    plans._written.clear()
    loads(dumps({"a": np.zeros(99)}, **options))
    assert len(plans._read) == len(plans._written) == 0


def test_a_plan_that_takes_much_memory_is_not_kept(forge):
    plans._read.clear()
    promise = forge(sizes=(), dims=np.array([2**46], "<u8").tobytes(), dim_width=8)  # float32: 65,537 payloads
    with pytest.raises(FormatError, match="an array 32 of 131074 pads"):
        loads(promise)
    loads(dumps({str(n): np.zeros(0) for n in range(plans._KEPT + 1)}))
    loads(dumps({"a" * plans._KEPT_HEADER: np.zeros(1)}))
    assert len(plans._read) == 0


def test_it_reads_what_inflates_to_what_its_schema_says_without_a_limit(monkeypatch):
    monkeypatch.setattr(regular, "FREE", 1000)
    monkeypatch.setattr(regular, "FACTOR", 1)
    array = np.zeros(10**5)
    message = dumps(array, compression="lz4")
    with pytest.raises(FormatError, match="Pass max_bytes=800000"):
        loads(message)
    assert Codec(array).loads(message, copy=True, device="cpu").shape == (10**5,)


@pytest.mark.parametrize(
    "tensor",
    [((3,), 5), ("float32", (3,)), ((-1,), "float32"), ((2.0,), "float32"), ((2**64,), "float32"), (3,), "ab"],
)
def test_a_schema_that_describes_no_tensor_is_refused(tensor):
    with pytest.raises(ValueError, match=r"Codec\(\): got .* in layer 'a', expected a pair of a tuple of lengths and"):
        Codec({"a": (tensor,)})


@pytest.mark.parametrize(("name", "layer"), [("b", 5), ("b", None), (1, (((3,), "float32"),))])
def test_a_schema_of_other_than_names_and_layers_is_refused(name, layer):
    with pytest.raises(
        ValueError, match=rf"Codec\(\): got .* for layer {name!r}, expected names and tuples, as Weight"
    ):
        Codec({"a": (((3,), "float32"),), name: layer})


@pytest.mark.parametrize("checksum", [True, False])
def test_a_plan_is_found_again_and_few_are_kept(checksum):
    plans._read.clear()
    plans._written.clear()
    for length in range(1, 40):
        for fill in np.zeros, np.ones:
            loads(dumps({"a": fill(length)}, checksum=checksum))
        assert len(plans._read) == len(plans._written) == min(length, 8)


def test_the_arrays_of_a_stream_are_right_whatever_plans_there_are():
    stream = io.BytesIO(b"".join(dumps({"a": np.full(3, float(i))}) for i in range(20)))
    assert [float(found["a"][0]) for found in iter_load(stream)] == list(range(20))


def test_parts_of_a_plan_that_was_found_again_share_memory():
    for _ in range(2):
        array = np.ones(1000)
        assert np.shares_memory(np.frombuffer(dump_parts(NDArray(array))[-1], "uint8"), array)


def test_metadata_that_was_handed_out_is_the_callers_own():
    message = dumps(np.zeros(1), metadata={"a": [1, {"b": 2}]})
    inspect(message).metadata["a"][1]["b"] = 7
    assert inspect(message).metadata == {"a": [1, {"b": 2}]}
