"""The fingerprint of packed data: equal for equal minibatches in equal order, and for nothing else."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparknet.data import Field, pack
from sparknet.data.fingerprint import fingerprint
from sparknet.data.preprocess import Scale

FIELDS = [Field("x", (2,), "float32"), Field("y", (), "int64")]
ROWS = np.arange(22.0).reshape(11, 2)


def packed(rows=ROWS, labels=range(11), batch_size=3, **options):
    return pack({"x": rows, "y": list(labels)}, FIELDS, batch_size, **options)


@given(st.integers(0, 10), st.integers(0, 1), st.sampled_from([1e-6, -0.0, np.nan, 1.0]))
def test_any_changed_value_changes_it(row, column, value):
    changed = np.float32(ROWS)
    changed[row, column] = value
    same = changed.tobytes() == np.float32(ROWS).tobytes()
    assert (fingerprint(packed(changed)) == fingerprint(packed())) == same


def test_order_and_sizes_of_minibatches_and_names_change_it():
    others = [
        packed(ROWS[::-1], range(10, -1, -1)),
        packed(labels=range(1, 12)),
        packed(batch_size=4),
        packed(shuffle=1),
        replace(packed(), batches=[packed().batches[i] for i in (1, 0, 2, 3)]),
        pack({"x": ROWS, "z": list(range(11))}, [FIELDS[0], Field("z", (), "int64")], 3),
        pack({"x": ROWS, "y": list(range(11))}, [FIELDS[0], Field("y", (), "int32")], 3),
    ]
    assert len({fingerprint(each) for each in [packed(), *others]}) == 8


def test_how_minibatches_are_used_does_not_change_it():
    first = packed()
    for change in ({"preprocessor": Scale("x", 2.0)}, {"ragged": "drop"}, {"ragged": "pad", "padding": {"y": -1}}):
        assert fingerprint(replace(first, **change)) == fingerprint(first)


def test_a_data_set_of_another_kind_has_none():
    class Mine:
        num_batches = 1

    assert fingerprint(Mine()) is None
