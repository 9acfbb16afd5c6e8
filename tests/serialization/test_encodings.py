"""The lossy encodings: nearest value, ties to even, rounded once; int8 within half a scale; bad bytes are told."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import bit_patterns

from sparknet.serialization.payload import narrowing
from sparknet.serialization.payload.codes import BFLOAT16, BLOCK, CHUNK, FLOAT16, INT8, encoded_size
from sparknet.serialization.payload.encodings import decode_into, encode_into, scratch_for
from sparknet.serialization.payload.quantization import LARGEST, SMALLEST

FLOATS = ["float32", "float64"]
INFINITE = {FLOAT16: 0x7C00, BFLOAT16: 0x7F80}
QUIET = {FLOAT16: 0x0200, BFLOAT16: 0x0040}
ALL_BITS = np.arange(1 << 16, dtype="<u2")


def encode(encoding, values):
    """The stored bytes; every value can be held."""
    stored = np.full(encoded_size(encoding, len(values)), 0xEE, np.uint8)
    assert encode_into(encoding, values, stored, scratch_for(len(values))) == -1
    return stored


def decode(encoding, stored, count, dtype="float32"):
    values = np.full(count, 7, dtype)
    assert decode_into(encoding, stored, values, scratch_for(count)) == ""
    return values


def refused(encoding, stored, count, text):
    assert text in decode_into(encoding, stored, np.empty(count, np.float32), scratch_for(count))


def number(encoding, bits):
    """What 16 bits of one of the narrow floats mean, by its definition; exact."""
    fraction_bits, bias = (10, 15) if encoding == FLOAT16 else (7, 127)
    exponent, fraction = (bits & 0x7FFF) >> fraction_bits, bits & ((1 << fraction_bits) - 1)
    whole = fraction + ((1 << fraction_bits) if exponent else 0)
    return (-1) ** (bits >> 15) * Fraction(whole) * Fraction(2) ** (max(exponent, 1) - bias - fraction_bits)


def finite_values(dtype, limit=None):
    """Arrays of finite values of any size: ordinary ones, and any bits."""
    limit = float(np.finfo("float32").max) if limit is None else limit
    shape = st.integers(0, 3 * BLOCK)
    ordinary = hnp.arrays(dtype, shape, elements=st.floats(-limit, limit, width=np.dtype(dtype).itemsize * 8))
    anything = shape.flatmap(lambda size: bit_patterns(dtype, (size,)))
    return ordinary | anything.map(lambda a: np.where(np.abs(a) <= limit, a, 0).astype(dtype))


# ------------------------------------------------------------------------------- float16 and bfloat16


@pytest.mark.parametrize("encoding", [FLOAT16, BFLOAT16])
@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_a_narrow_float_is_the_nearest_and_even_of_two_that_are(encoding, dtype, data):
    limit = float(number(encoding, INFINITE[encoding] - 1))
    values = data.draw(finite_values(dtype, limit))[:20]
    for value, bits in zip(values, encode(encoding, values).view("<u2").tolist(), strict=True):
        exact, sign = Fraction(float(value)), bits & 0x8000
        assert bool(sign) == bool(np.signbit(value))
        distance = abs(number(encoding, bits) - exact)
        for other in {max(bits & 0x7FFF, 1) - 1, (bits & 0x7FFF) + 1}:
            apart = abs(number(encoding, sign | other) - exact)
            assert distance < apart or (distance == apart and bits % 2 == 0)


@pytest.mark.parametrize("encoding", [FLOAT16, BFLOAT16])
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_midpoint_rounds_to_even_and_its_neighbours_do_not(encoding, dtype):
    magnitude = ALL_BITS & 0x7FFF
    lower = ALL_BITS[magnitude < INFINITE[encoding] - 1]
    below, above = (decode(encoding, bits.view(np.uint8), len(bits), "float64") for bits in (lower, lower + 1))
    middle = ((below + above) / 2).astype(dtype)
    assert (middle.astype("float64") * 2 == below + above).all()
    cases = [
        (middle, lower + lower % 2),
        (np.nextafter(middle, np.copysign(np.inf, middle)), lower + 1),
        (np.nextafter(middle, middle.dtype.type(0)), lower),
    ]
    for values, bits in cases:
        assert values.dtype == dtype
        assert (encode(encoding, values).view("<u2") == bits).all()


def test_float16_is_what_numpy_makes_of_it():
    rng = np.random.default_rng(5)
    values = rng.integers(0, 2**32, 1 << 20, np.uint32).view(np.float32)
    values = values[np.abs(values) < 65520]
    assert len(values) > CHUNK
    assert (encode(FLOAT16, values).view("<f2") == values.astype("<f2")).all()


def test_bfloat16_is_what_ml_dtypes_makes_of_it():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = np.arange(1 << 20, dtype=np.uint32) << 12 | np.random.default_rng(5).integers(0, 2, 1 << 20, np.uint32) << 11
    values = bits.view(np.float32)
    values = values[~np.isnan(values)]
    expected = values.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert (encode(BFLOAT16, values).view("<u2") == expected).all()


@pytest.mark.parametrize("flushed", [False, True])
def test_all_bits_decode_to_the_number_they_mean(flushed, monkeypatch):
    monkeypatch.setattr(narrowing, "_flushes_subnormals", lambda: flushed)
    stored = ALL_BITS.view(np.uint8)
    assert (decode(FLOAT16, stored, 1 << 16).view("<u4") == ALL_BITS.view("<f2").astype("<f4").view("<u4")).all()
    assert (decode(BFLOAT16, stored, 1 << 16).view("<u4") == ALL_BITS.astype("<u4") << 16).all()


def test_this_process_does_not_flush_subnormals():
    assert not narrowing._flushes_subnormals()


@pytest.mark.parametrize("encoding", [FLOAT16, BFLOAT16])
@pytest.mark.parametrize("dtype", FLOATS)
def test_what_is_a_narrow_float_comes_back_bit_for_bit(encoding, dtype):
    magnitude = ALL_BITS & 0x7FFF
    bits = ALL_BITS[magnitude <= INFINITE[encoding]]
    values = decode(encoding, bits.view(np.uint8), len(bits), dtype)
    assert (encode(encoding, values).view("<u2") == bits).all()


@pytest.mark.parametrize("encoding", [FLOAT16, BFLOAT16])
@given(st.integers(0, 1), st.integers(1, 2**23 - 1))
@example(0, 1)  # the payload is cut to nothing
@example(1, 2**23 - 1)  # rounding up would carry into the sign
@example(1, 2**22)
def test_nan_stays_nan_quiet_and_with_its_sign(encoding, sign, payload):
    values = np.array([0x3F800000, sign << 31 | 0x7F800000 | payload, 0xFF800000], "<u4").view("<f4")
    one, nan, infinite = encode(encoding, values).view("<u2").tolist()
    quiet = INFINITE[encoding] | QUIET[encoding]
    assert nan & quiet == quiet
    assert nan >> 15 == sign
    assert np.isnan(decode(encoding, np.array([nan], "<u2").view(np.uint8), 1))
    assert number(encoding, one) == 1
    assert infinite == 0x8000 | INFINITE[encoding]


def test_bfloat16_of_a_signalling_float64_nan_is_nan():
    values = np.array([0x7FF0000000000001, 0xFFF0000000000001], "<u8").view("<f8")
    back = decode(BFLOAT16, encode(BFLOAT16, values), 2, "float64")
    assert np.isnan(back).all()
    assert np.signbit(back).tolist() == [False, True]


@pytest.mark.parametrize("value", [3.4e38, np.float32(3.4028235e38), np.float64(1e39), np.float64(1e300)])
def test_bfloat16_beyond_its_range_is_infinite(value):
    assert decode(BFLOAT16, encode(BFLOAT16, np.array([value, -value])), 2).tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("at", [0, 5, CHUNK, CHUNK + 9])
def test_float16_does_not_hold_finite_values_that_would_become_infinite(dtype, at):
    values = np.full(CHUNK + 10, np.inf, dtype)
    values[at] = -65520
    stored = np.empty(2 * len(values), np.uint8)
    assert encode_into(FLOAT16, values, stored, scratch_for(len(values))) == at
    values[at] = np.nextafter(values[at], values.dtype.type(0))
    assert decode(FLOAT16, encode(FLOAT16, values), len(values))[at] == -65504


def test_float64_beyond_float32_is_told_as_finite():
    assert encode_into(FLOAT16, np.array([np.inf, 1e300]), np.empty(4, np.uint8), scratch_for(2)) == 1
    assert encode_into(INT8, np.array([0, 1e300]), np.empty(6, np.uint8), scratch_for(2)) == 1


def test_golden_bytes_of_narrow_floats():
    values = np.float32([1, -2.5, 1 / 3, 65504, 1e-7, -0.0])
    assert encode(FLOAT16, values).tobytes().hex(" ", 2) == "003c 00c1 5535 ff7b 0200 0080"
    assert encode(BFLOAT16, values).tobytes().hex(" ", 2) == "803f 20c0 ab3e 8047 d733 0080"


# ----------------------------------------------------------------------------------------------- int8


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_int8_is_off_by_half_a_scale_at_most(dtype, data):
    values = data.draw(finite_values(dtype))
    within_half_a_scale(values)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("largest", [1e-45, 3e-43, 1.5e-36, 1, 63.5, 127, 3.4028235e38])
def test_int8_is_off_by_half_a_scale_at_most_however_small_or_large(dtype, largest):
    rng = np.random.default_rng(2)
    values = (rng.uniform(-1, 1, 4 * BLOCK + 3) * largest).astype(dtype)
    values[::100] = dtype_largest(dtype, largest)
    within_half_a_scale(values)


def dtype_largest(dtype, largest):
    return min(np.dtype(dtype).type(np.float32(largest)), np.finfo(np.float32).max)


def within_half_a_scale(values):
    stored = encode(INT8, values)
    scales = stored[: -(-len(values) // BLOCK) * 4].view("<f4").astype("float64")
    codes = stored[scales.size * 4 :].view(np.int8)
    back = decode(INT8, stored, len(values), values.dtype)
    assert back.dtype == values.dtype
    assert np.isfinite(back).all()
    assert codes.min(initial=0) >= -127
    scale = np.repeat(scales, BLOCK)[: len(values)]
    # the bound is derived in quantization.py; the 2**-50 are for the float64 arithmetic of this line
    off = np.abs(values.astype("float64") - back)
    assert (off <= scale / 2 * (1 + 2**-13) * (1 + 2**-50)).all()
    for start, scale in zip(range(0, len(values), BLOCK), scales, strict=True):
        peak = np.abs(values[start : start + BLOCK]).max()
        assert scale == 0 if peak == 0 else SMALLEST <= scale <= LARGEST
        if SMALLEST * 128 < peak < LARGEST * 126:  # rounded to float32, then divided and rounded again
            assert abs(scale * 127 / float(peak) - 1) <= 2**-22


def test_the_largest_scale_is_the_largest_of_which_127_are_finite():
    with np.errstate(over="ignore"):
        assert np.isfinite(np.float32(127) * LARGEST)
        assert np.isinf(np.float32(127) * np.nextafter(LARGEST, np.float32(np.inf)))


def test_int8_rounds_half_to_even():
    values = np.float32([127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5])
    assert encode(INT8, values)[4:].view(np.int8).tolist() == [127, 0, 2, 2, 0, -2, -2, 126]


def test_integers_up_to_127_come_back_from_int8():
    values = np.arange(-127, 128, dtype=np.float32)
    assert (decode(INT8, encode(INT8, values), 255) == values).all()


@given(finite_values("float32"), finite_values("float32"))
def test_blocks_of_int8_know_nothing_of_one_another(first, second):
    first = np.resize(first, BLOCK) if len(first) else np.zeros(BLOCK, np.float32)
    both = np.concatenate([first, second])
    back = decode(INT8, encode(INT8, both), len(both))
    assert (back[:BLOCK] == decode(INT8, encode(INT8, first), BLOCK)).all()
    assert (back[BLOCK:] == decode(INT8, encode(INT8, second), len(second))).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 300, 511, 512, CHUNK + 7])
def test_int8_tells_where_the_first_value_is_that_is_not_finite(dtype, value, at):
    values = np.ones(CHUNK + 8, dtype)
    values[[at, -1]] = value
    assert (
        encode_into(INT8, values, np.empty(encoded_size(INT8, len(values)), np.uint8), scratch_for(len(values))) == at
    )


# In numbers of the format's page, not of the module: the neighbours of the smallest and of the largest scale.
BEYOND = [float.fromhex("0x0.fffffep-126"), float.fromhex("0x1.020408p+121")]


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1, -0.0, 1e-39, 3.4e38, *BEYOND])
@pytest.mark.parametrize("at", [0, 1])
def test_a_scale_that_is_never_written_is_refused(scale, at):
    stored = encode(INT8, np.ones(BLOCK + 1, np.float32))
    stored[4 * at : 4 * at + 4] = np.array([scale], "<f4").view(np.uint8)
    refused(INT8, stored, BLOCK + 1, f"a scale is {np.float32(scale)}, expected 0 or a value from")


def test_a_code_of_minus_128_is_refused():
    stored = encode(INT8, np.ones(9, np.float32))
    stored[-1] = 0x80
    refused(INT8, stored, 9, "a code is -128")


@given(st.binary(min_size=8, max_size=2000))
@example(np.float32(2.0**-126).tobytes() + bytes(range(1, 100)))
@example(np.float32(float.fromhex("0x1.020406p+121")).tobytes() + b"\x7f\x81\x00")
def test_any_bytes_of_int8_are_refused_or_finite(stored):
    count = next(n for n in range(len(stored), 0, -1) if encoded_size(INT8, n) <= len(stored))
    values = np.empty(count, np.float32)
    data = np.frombuffer(stored, np.uint8, encoded_size(INT8, count))
    problem = decode_into(INT8, data, values, scratch_for(count))
    scales, codes = data[: len(data) - count].view("<f4"), data[len(data) - count :].view(np.int8)
    plain = (scales.view("<u4") == 0) | ((scales >= 2.0**-126) & (scales <= float.fromhex("0x1.020406p+121")))
    if plain.all() and (codes != -128).all():
        assert problem == ""
        assert values.tobytes() == (codes * np.repeat(scales, BLOCK)[:count]).tobytes()
        assert np.isfinite(values).all()
    else:
        assert problem


def test_int8_is_scales_and_codes_of_one_chunk_and_then_of_the_next():
    values = np.random.default_rng(4).standard_normal(2 * CHUNK + 300, np.float32)
    stored = encode(INT8, values)
    parts = [encode(INT8, values[start : start + CHUNK]) for start in range(0, len(values), CHUNK)]
    assert stored.tobytes() == b"".join(part.tobytes() for part in parts)
    assert [part.size for part in parts] == [CHUNK + 4 * CHUNK // BLOCK] * 2 + [300 + 8]


def test_golden_bytes_of_int8():
    assert (
        encode(INT8, np.float32([1, -2.5, 1 / 3, 0])).tobytes().hex(" ") == "85 42 a1 3c 33 81 11 00"
    )  # 2.5 / 127; 51, -127, 17, 0


# ------------------------------------------------------------------------------------------------ all


@pytest.mark.parametrize("encoding", [FLOAT16, BFLOAT16, INT8])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [0, 1, BLOCK, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 77])
def test_memory_that_is_not_aligned_and_read_only_gives_the_same(encoding, dtype, count):
    values = np.random.default_rng(count).standard_normal(count).astype(dtype)
    stored = encode(encoding, values)
    assert encoded_size(encoding, count) == stored.size
    room = np.empty(values.nbytes + 1, np.uint8)
    odd = room[1:].view(dtype)
    odd[:] = values
    odd.flags.writeable = False
    there = np.empty(stored.size + 1, np.uint8)[1:]
    assert encode_into(encoding, odd, there, scratch_for(count)) == -1
    assert (there == stored).all()
    there.flags.writeable = False
    back = np.empty(values.nbytes + 1, np.uint8)[1:].view(dtype)
    assert decode_into(encoding, there, back, scratch_for(count)) == ""
    assert (back == decode(encoding, stored, count, dtype)).all()
