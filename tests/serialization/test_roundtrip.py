"""loads(dumps(x)) is x, bit for bit, whatever its kind, dtype, shape and memory order."""

import sys

import numpy as np
import pytest
from hypothesis import example, given
from strategies import NUMPY_DTYPES, arrays, mappings, messages_of, metadata, weight_collections

import sparknet
from sparknet import NDArray, WeightCollection, dump_parts, dumps, dumps_into, loads
from sparknet.serialization import inspect


def bits(array):
    """What an array is: dtype, shape and bytes in C order, little-endian."""
    host = array.to_host() if isinstance(array, NDArray) else array
    return host.dtype.name, host.shape, host.astype(host.dtype.newbyteorder("<")).tobytes()


@given(arrays())
@example(np.array(-0.0))
@example(np.zeros((3, 0, 2), "complex64"))
@example(np.array([0x7FF0000000000001, 0xFFF8000000000123], "uint64").view("float64"))  # NaN payloads
@example(np.arange(5, dtype=">i2")[::-2])
def test_an_array_comes_back_bit_for_bit(array):
    message = dumps(array)
    for copy in False, True:
        back = loads(message, copy=copy, verify=True)
        assert type(back) is NDArray
        assert bits(back) == bits(array)


@given(weight_collections())
@example(WeightCollection({}))
@example(WeightCollection({"": []}))
@example(WeightCollection({"a": [], "": [], "b": [np.ones(2)]}))
def test_weights_come_back_bit_for_bit(weights):
    back = loads(dumps(weights))
    assert type(back) is WeightCollection
    assert {name: len(arrays) for name, arrays in back.items()} == {n: len(arrays) for n, arrays in weights.items()}
    assert list(back) == list(weights)
    assert [bits(a) for a in back.arrays()] == [bits(a) for a in weights.arrays()]


@given(mappings())
@example({})
@example({"": NDArray([1])})
def test_a_mapping_comes_back_with_its_order(mapping):
    back = loads(dumps(mapping))
    assert type(back) is dict
    assert list(back) == list(mapping)
    assert [bits(a) for a in back.values()] == [bits(a) for a in mapping.values()]


@given(arrays())
def test_the_bytes_do_not_depend_on_memory_order(array):
    plain = np.array(array, array.dtype.newbyteorder("="), order="C", copy=True)
    assert dumps(array) == dumps(plain)


@given(messages_of())
def test_every_way_out_gives_the_same_bytes(obj):
    message = dumps(obj)
    assert b"".join(dump_parts(obj)) == message
    buffer = bytearray(b"\xee" * (len(message) + 9))
    odd = memoryview(buffer)[3:-2]
    assert dumps_into(obj, odd) == len(message)
    assert bytes(buffer) == b"\xee" * 3 + message + b"\xee" * 6


@pytest.mark.parametrize("dtype", [np.dtype("float32"), np.dtype(">f4"), np.dtype("complex128"), np.dtype("bool")])
@pytest.mark.parametrize("order", ["C", "F", "steps"])
def test_large_tensors_are_written_in_blocks(dtype, order):
    array = np.random.default_rng(1).integers(0, 2, (3, 700, 401)).astype(dtype)
    array = array[:, ::-1, ::2] if order == "steps" else np.asarray(array, order=order)
    message = dumps({"x": array, "tail": np.ones(3)})
    buffer = np.empty(len(message), np.uint8)
    dumps_into({"x": array, "tail": np.ones(3)}, buffer)
    assert buffer.tobytes() == message
    assert bits(loads(message, verify=True)["x"]) == bits(array)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_the_types_of_ml_dtypes_come_back(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, name))[::2]
    back = loads(dumps(array), verify=True).to_host()
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


def test_without_ml_dtypes_the_error_names_the_package(monkeypatch):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    from sparknet.serialization.payload import dtypes

    message = dumps(np.zeros(2, ml_dtypes.bfloat16))
    dtypes.dtype_of.cache_clear()
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(sparknet.MissingDependency, match="pip install ml_dtypes"):
        loads(message)
    assert inspect(message, verify=True).tensors[0].dtype == "bfloat16"


@given(metadata)
def test_metadata_comes_back(values):
    assert inspect(dumps(np.zeros(1), metadata=values)).metadata == values


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"a": (1, 2)}, r"metadata\['a'\]: got tuple, .*; write list\(x\)"),
        ({"a": np.float32(1)}, r"got float32, .*; write float\(x\)"),
        ({"a": np.int64(1)}, r"got int64, .*; write int\(x\)"),
        ({"a": np.ones(2)}, r"got ndarray, .*; write x\.tolist\(\)"),
        ({"a": [2**64]}, r"metadata\['a'\]\[0\]: the integer"),
        ({"a": {1: 2}}, r"the key 1 is not a str; write str\(key\)"),
        ({"a": [[[[[1]]]]]}, "deeper than 4"),
        ({"a": [0] * 1025}, "more than 1024"),
    ],
)
def test_metadata_that_could_not_be_read_back_is_refused(values, text):
    with pytest.raises(ValueError, match=text):
        dumps(np.zeros(1), metadata=values)


@pytest.mark.parametrize(
    ("obj", "error", "text"),
    [
        ({"a\0b": np.zeros(1)}, ValueError, "NUL"),
        ({"\ud800": np.zeros(1)}, ValueError, "surrogates"),
        ({1: np.zeros(1)}, TypeError, "names in a mapping are str; got 1"),
        ({"a": [1, 2]}, TypeError, "'a' is a list"),
        ([1, 2], TypeError, "got a list"),
        (np.array([object()]), TypeError, "dtype object cannot be serialized"),
        ({"a": np.ones(1), "b": np.array(["x"])}, TypeError, "tensor 'b': dtype <U1 cannot be serialized"),
        (np.zeros(2, "i4,f4"), TypeError, "cannot be serialized"),
        (np.zeros(2, "datetime64[s]"), TypeError, "cannot be serialized"),
        (np.zeros(2, "U3"), TypeError, "cannot be serialized"),
        (np.zeros(2, "longdouble"), TypeError, "cannot be serialized"),
        (np.ma.masked_array([1, 2]), TypeError, "MaskedArray"),
    ],
)
def test_what_has_no_place_in_a_message_is_refused(obj, error, text):
    with pytest.raises(error, match=text):
        dumps(obj)


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_views_share_memory_and_are_read_only_and_copies_do_neither(dtype):
    message = np.frombuffer(bytearray(dumps(np.ones((2, 3), dtype))), np.uint8)
    view = loads(message).to_host()
    copy = loads(message, copy=True).to_host()
    assert np.shares_memory(view, message)
    assert not view.flags.writeable
    assert copy.flags.writeable
    assert copy.flags.owndata


def test_parts_share_memory_with_the_tensors():
    tensors = {"a": np.ones((300, 500)), "b": np.arange(7, dtype="int8"), "c": np.float32([[2.0]])}
    parts = [np.frombuffer(part, np.uint8) for part in dump_parts(tensors)]
    for array in tensors.values():
        assert any(part.size == array.nbytes and np.shares_memory(part, array) for part in parts)


def test_a_buffer_that_is_too_small_is_left_alone():
    buffer = bytearray(133)
    with pytest.raises(ValueError, match="a buffer of 133 bytes; the message needs 134 writable bytes"):
        dumps_into(np.arange(3, dtype="int16"), buffer)
    assert not any(buffer)
    with pytest.raises(ValueError, match="read-only"):
        dumps_into(np.arange(3, dtype="int16"), bytes(200))
