"""Messages of protobuf that consist of empty entries: they are counted before they are parsed, since memory holds far more of each."""

import numpy as np
import pytest

from sparknet import FormatError
from sparknet.formats import read
from sparknet.formats.fields import MOST_FIELDS, check_fields

MANY = 5001


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """So many fields are counted in no time, and they are too many for these tests."""
    assert MOST_FIELDS == 1 << 20  # as the page of limits says
    monkeypatch.setattr("sparknet.formats.fields.MOST_FIELDS", MANY - 1)


def bombs(wire):
    """What takes 18 to 68 times its bytes, or longer than its bytes justify, when it is parsed."""
    empty = wire.field(1, b"")
    shape = wire.field(7, wire.field(1, b"\x01" * (8 * MANY)))
    return {
        "layers": wire.field(100, b"") * MANY,
        "layers of 2014": wire.field(2, b"") * MANY,
        "layers of 2013": wire.field(2, empty) * (MANY // 2 + 1),
        "arrays": wire.field(100, wire.field(7, b"") * MANY),
        "pieces of data": wire.field(100, wire.field(7, wire.field(5, b"") * MANY)),
        "shapes": wire.field(100, wire.field(7, wire.field(7, b"") * MANY)),
        "axes, packed": wire.field(100, wire.field(7, shape)),
        "axes": wire.field(100, wire.field(7, wire.field(7, wire.field(1, 1) * MANY))),
        "unknown": wire.field(9, 1) * MANY,
    }


@pytest.mark.parametrize(
    "name",
    [
        "layers",
        "layers of 2014",
        "layers of 2013",
        "arrays",
        "pieces of data",
        "shapes",
        "axes, packed",
        "axes",
        "unknown",
    ],
)
def test_more_fields_than_a_net_has_are_refused_before_they_are_parsed(tmp_path, wire, monkeypatch, name):
    (tmp_path / "w.caffemodel").write_bytes(bombs(wire)[name])
    monkeypatch.setattr("sparknet.formats.blobs.refused", lambda _: pytest.fail("it was parsed"))
    with pytest.raises(FormatError, match=r"w\.caffemodel': it has more than 5000 fields, which no net has"):
        read(tmp_path / "w.caffemodel")


def test_elements_that_are_not_packed_are_no_fields_of_a_net(tmp_path, wire):
    array = np.arange(MANY, dtype="f4")
    (tmp_path / "w.caffemodel").write_bytes(wire.new("ip", wire.unpacked_blob(array), wire.blob(array)))
    found = read(tmp_path / "w.caffemodel").obj
    assert all(np.array_equal(each.to_host(), array) for each in found["ip"])


@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("count", [1, 2, 64, 65, 66, 321, 1000])
@pytest.mark.parametrize("after", [b"", b"\x08\x01", b"\x0d\0\0\0\0", b"\x0d"])
def test_a_run_ends_where_another_field_begins(count, width, after):
    tag = b"\x2d" if width == 4 else b"\x41"
    run = (tag + b"\x2d\x41\x0d\x08" * (width // 4)) * count  # the elements look like tags
    kinds = {"A": {1: "B"}, "B": {}}
    check_fields("A", run + after, kinds)
    many = run + after + b"\x18\x01" * MANY
    if after != b"\x0d":  # it takes what follows for its element
        with pytest.raises(FormatError, match="fields"):
            check_fields("A", many, kinds)


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",
        b"\x0a\xff",
        b"\xff" * 20,
        b"\x0f" * 9,
        b"\x0a\x7f\x0a\x7f",
        b"\x0b\x0c\x0b",
        b"\x0d\0",
        b"\x0a\x02" + b"\x2d\0\0\0\0" * 9,
    ],
)
def test_what_is_no_message_is_left_to_who_parses_it(data):
    check_fields("A", data, {"A": {1: "A"}})
