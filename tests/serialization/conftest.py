"""A forger of messages: a header of the test's choice in a frame that is right."""

import msgpack
import pytest

from sparknet.serialization.message import layout

HONEST = {"kind": "mapping", "names": "a", "dtypes": b"\x42", "ndims": b"\x01", "dim_width": 1, "dims": b"\x02"}


@pytest.fixture
def forge():
    """forge(sizes, **columns): HONEST with these columns instead (None: left out), and zero payloads of these sizes.

    ``first``: columns that come before the others.
    """

    def make(sizes=(8,), raw=None, count=None, first=None, **columns):
        header = {key: value for key, value in ((first or {}) | HONEST | columns).items() if value is not None}
        header = msgpack.packb(header) if raw is None else raw
        plan = layout.lay_out(len(header), list(sizes))
        body = b"".join(gap + bytes(size) for gap, size in zip(plan.gaps, plan.lengths, strict=True))
        return layout.head(header, len(plan.lengths) if count is None else count) + body

    return make
