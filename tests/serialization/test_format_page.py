"""What docs/reference/format_v1.md says in tables is what the code does and what the golden messages are."""

import re
from pathlib import Path

from sparknet.serialization.message import header, layout
from sparknet.serialization.payload import codes, dtypes
from sparknet.serialization.reader import header_reading
from sparknet.serialization.writer import planning

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "reference" / "format_v1.md").read_text(encoding="utf-8")


def section(title):
    """Return what stands under a heading."""
    return re.search(rf"^#+ {title}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


def test_the_message_shown_byte_by_byte_is_the_golden_one():
    text = section("One message, byte by byte")
    name = re.search(r"tests/serialization/golden/(\w+\.msg)", text)[1]
    shown = b""
    for offset, cell in re.findall(r"^\| (\d+) \| (.+?) \|", text, re.MULTILINE):
        assert int(offset) == len(shown)
        spelled = re.sub(r"and (\d+) bytes `00`", lambda found: f"`{'00' * int(found[1])}`", cell)
        shown += bytes.fromhex("".join(re.findall(r"`(.+?)`", spelled)))
    assert shown == (HERE / "golden" / name).read_bytes()


def test_the_page_has_all_element_types():
    shown = re.findall(r"`([0-9a-f]{2})` \| (\w+)", section("Element types"))
    assert {int(code, 16): name for code, name in shown} == dtypes.NAMES
    assert len(shown) == len(dtypes.NAMES)


def test_the_page_has_all_encodings():
    rows = re.findall(r"^\| `([0-9a-f]{2})` \| (\w+) \|", section("Encodings"), re.MULTILINE)
    assert {int(code, 16): name for code, name in rows} == codes.NAMES


def test_the_page_has_all_keys_of_the_header_in_their_order():
    keys = re.findall(r"^\| `(\w+)` \|", section("The header"), re.MULTILINE)
    whole = header.Header(
        *("weights", ["a"], [1], b"\x42", [(3,)], [0], {"epoch": 3}),
        encodings=b"\1",
        compression="zstd",
        stored_sizes=[1],
    )
    assert keys == list(header_reading._unpack(planning.encode_header(whole)))
    assert set(keys) == header_reading._KEYS


def test_the_page_has_the_limits():
    limits = dict(re.findall(r"^\| ([a-z].+?) \| (.+?) \|", section("Limits"), re.MULTILINE))
    assert limits["header"].startswith(f"{layout.MAX_HEADER >> 20} MiB")
    assert limits["tensors in a message, and names"] == f"{layout.MAX_TENSORS:,}"
    assert limits["axes of one tensor"] == str(header.MAX_NDIM)
    assert limits["axes of all tensors together"] == f"{layout.MAX_DIMS:,}"
    assert limits["bytes of all tensors"] == "2⁴⁸"
    assert layout.MAX_PAYLOAD == 2**48
    assert f"{layout.MAX_BIN:,} bytes (2³² - 64)" in section("A message")
