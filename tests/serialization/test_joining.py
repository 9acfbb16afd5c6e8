"""Small tensors encoded and decoded together have the bytes and values of each alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import FormatError, dumps, inspect, loads
from sparknet.serialization.payload import joining
from sparknet.serialization.payload.codes import CHUNK

LOSSY = ["bfloat16", "float16", "int8"]
RNG = np.random.default_rng(0)


def payloads(obj, encoding):
    message = dumps(obj, encoding=encoding)
    return [message[t.offset : t.offset + t.stored_nbytes] for t in inspect(message).tensors]


@st.composite
def tensors(draw):
    """Tensors about the lengths of a block and of what is small, of both types, in any memory and byte order."""
    lengths = st.sampled_from([0, 1, 2, 255, 256, 257, 511, 600, 1 << 14, (1 << 14) + 1])
    made = []
    for _ in range(draw(st.integers(1, 12))):
        dtype = draw(st.sampled_from(["<f4", "<f4", "<f4", "<f8", ">f4", "<i4"]))
        values = RNG.normal(size=draw(lengths) * 2).astype(dtype) * draw(st.sampled_from([1, 0, 1e-30, 1e4]))
        made.append(draw(st.sampled_from([values[::2], values[: len(values) // 2], values.reshape(2, -1).T])))
    return {str(i): array for i, array in enumerate(made)}


@given(tensors(), st.sampled_from(LOSSY))
def test_together_they_are_what_each_is_alone(obj, encoding):
    together = payloads(obj, encoding)
    assert together == [payloads({"": array}, encoding)[0] for array in obj.values()]
    found = loads(dumps(obj, encoding=encoding))
    for name, array in obj.items():
        alone = loads(dumps({name: array}, encoding=encoding))[name]
        assert found[name].shape == array.shape
        assert found[name].to_host().tobytes() == alone.to_host().tobytes()


@pytest.mark.parametrize("encoding", LOSSY)
def test_more_than_a_chunk_of_them_takes_several_groups(encoding):
    obj = {str(i): RNG.normal(size=300).astype("f4") for i in range(2 * CHUNK // 300)}
    assert payloads(obj, encoding) == [payloads({"": array}, encoding)[0] for array in obj.values()]


@pytest.mark.parametrize(("encoding", "value"), [("float16", 1e6), ("int8", np.inf)])
def test_an_element_that_cannot_be_held_is_named_by_its_tensor_and_place(encoding, value):
    obj = {f"w{i}": np.ones((3, 100), "f4") for i in range(9)}
    obj["w5"][1, 7] = value
    with pytest.raises(ValueError, match=rf"tensor 'w5' holds {value}.* at \(1, 7\), which the encoding '{encoding}'"):
        dumps(obj, encoding=encoding)


def test_a_damaged_tensor_among_others_is_named():
    obj = {f"w{i}": np.ones(300, "f4") for i in range(9)}
    message = bytearray(dumps(obj, encoding="int8", checksum=False))
    at = inspect(bytes(message)).tensors[5].offset
    message[at + 8 + 20] = 0x80  # behind two scales: -128
    with pytest.raises(FormatError, match=r"tensor 'w5' .* a code is -128"):
        loads(bytes(message))


@pytest.mark.parametrize("encoding", LOSSY)
def test_each_owns_its_memory_and_is_written_as_the_wish_says(encoding):
    message = dumps({"a": np.ones(5, "f4"), "b": np.ones(5, "f4")}, encoding=encoding)
    views, copies = loads(message), loads(message, copy=True)
    assert [array.unwrap().flags.writeable for array in views.values()] == [False, False]
    copies["a"] += 1
    assert (copies["b"].tolist(), loads(message)["a"].tolist()) == ([1.0] * 5, [1.0] * 5)
    assert all(array.unwrap().flags.owndata for array in copies.values())


def test_what_is_joined_is_small():
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "encode_into", lambda *args: calls.append(args) or -1)
        dumps({str(i): np.ones(100, "f4") for i in range(100)}, encoding="bfloat16")
    assert len(calls) == 1
