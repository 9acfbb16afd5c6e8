"""Values that are NaN or infinite are packed as they are, and told once, with the place of the first one."""

import numpy as np
import pytest

from sparknet import Field
from sparknet.data import pack

DATA, LABEL = Field("data", (3,)), Field("label", (), "int64")


def table(*places):
    """Return columns a, b, c of four rows, with these values at (row, column)."""
    columns = {name: [0.5, 1.5, 2.5, 3.5] for name in "abc"}
    for row, name, value in places:
        columns[name][row] = value
    return {**columns, "label": [0, 1, 0, 1]}


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (
            [(2, "b", np.nan)],
            "1 value is not finite, the first one nan in row 2, column 'b'; a net cannot learn from it",
        ),
        (
            [(3, "a", np.nan), (1, "c", -np.inf), (2, "c", np.nan)],
            "3 values are not finite ('c' 2, 'a' 1), the first one -inf in row 1, column 'c'; a net",
        ),
    ],
)
def test_each_column_is_counted_and_the_first_place_named(caplog, places, said):
    data = pack(table(*places), [DATA, LABEL], 2, columns={"data": ["a", "b", "c"]})
    (warning,) = caplog.messages
    assert f"pack(): field 'data': {said}" in warning
    assert warning.endswith("leave such rows out, or fill them, before they are packed")
    assert (~np.isfinite(np.concatenate([b["data"].to_host() for b in data.batches]))).sum() == len(places)


def test_an_array_is_told_by_its_element_and_rows_by_their_number(caplog):
    rows = [([0, 1, 2], 0), ([0, np.nan, np.inf], 1), ([np.nan, 0, 0], 1)]
    pack(rows, [DATA, LABEL], 2, shuffle=3)
    (warning,) = caplog.messages
    assert "field 'data': 3 values are not finite, the first one nan in row 1, element 1;" in warning


def test_finite_values_whole_numbers_and_fields_without_elements_are_no_reason_to_warn(caplog):
    pack(table(), [DATA, LABEL], 2, columns={"data": ["a", "b", "c"]})
    pack([(np.empty(0), 1)], [Field("data", (0,)), LABEL], 2)
    assert not caplog.messages
