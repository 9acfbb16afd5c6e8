"""Messages written by earlier versions are read for ever, and this version writes the same bytes."""

import importlib.util
from pathlib import Path

import pytest

from sparknet import dumps, loads
from sparknet.serialization import inspect, verify

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("make_golden", HERE / "make_golden.py")
make_golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_golden)

FILES = sorted(path.stem for path in (HERE / "golden").glob("*.msg"))
FOREIGN = ("bfloat16", "float8")


@pytest.fixture(params=FILES)
def name(request):
    if any(word in request.param for word in FOREIGN):
        pytest.importorskip("ml_dtypes")
    return request.param


def test_a_golden_message_is_what_this_version_writes(name):
    obj, options = make_golden.cases()[name]
    assert dumps(obj, **options) == (HERE / "golden" / f"{name}.msg").read_bytes()


def test_a_golden_message_is_read(name):
    message = (HERE / "golden" / f"{name}.msg").read_bytes()
    options = make_golden.cases()[name][1]
    back = loads(message, verify=options.get("checksum"))
    assert dumps(back, **options) == message
    assert inspect(message).metadata == options.get("metadata", {})


@pytest.mark.parametrize("name", make_golden.encoded_cases())
def test_a_golden_encoded_message_is_read_and_one_that_is_not_compressed_is_what_this_version_writes(name):
    obj, options = make_golden.encoded_cases()[name]
    message = (HERE / "golden" / f"{name}.msg").read_bytes()
    plain = dumps(obj, encoding=options["encoding"])
    assert message == plain or options["compression"]
    back, expected = loads(message, verify=True), loads(plain)
    assert {key: array.to_host().tobytes() for key, array in back.items()} == {
        key: array.to_host().tobytes() for key, array in expected.items()
    }


def test_there_is_a_golden_message_for_every_kind_and_dtype():
    infos = [inspect(HERE / "golden" / f"{name}.msg") for name in FILES]
    assert {info.kind for info in infos} == {"array", "mapping", "weights"}
    assert {t.dtype for info in infos for t in info.tensors} == set(make_golden.DTYPES)


def test_the_bytes_of_one_message_stand_here_too():
    # format_v1.md explains this message byte by byte
    message = (HERE / "golden" / "array_int16.msg").read_bytes()
    assert message == (
        b"\x94\xaasparknet/1\xc6\0\0\0\x43"
        b"\x86\xa4kind\xa5array\xa6dtypes\xc4\x01\x21\xa5ndims\xc4\x01\x02\xa9dim_width\x01\xa4dims\xc4\x02\x02\x03"
        b"\xa9checksums\xc4\x04\x65\xc9\x70\x92"
        b"\xce\xa8\x41\xd2\x72\xdd\0\0\0\x02"
        b"\xc4\x1b" + bytes(27) + b"\xc6\0\0\0\x0c" + bytes(range(12))
    )
    verify(message)
