"""A prototxt is told from its text, whatever its fields are."""

import hypothesis
import pytest
from hypothesis import strategies as st

from sparknet.formats.outline import outline

NET = """# LeNet
name: "Le" 'Net'   # in two pieces
layer { name: "data" type: "Input" top: "data" input_param { shape: { dim: [1, 3] } } }
layers < name: 'old' type: CONVOLUTION convolution_param { num_output: 2 weight_filler { type: "xavier" } } >
layers { layer { name: "oldest" type: "conv" }; }
layer { # a comment with { in it
  source_class: "of a fork" name: "a \\" } #" type: "B", bottom: "c" }
"""


def test_a_net_has_a_name_and_layers_of_all_generations():
    found = outline(NET)
    assert (found.kind, found.fields) == ("net", {"name": "Le"})
    assert found.layers == (("data", "Input"), ("old", "CONVOLUTION"), ("oldest", "conv"), ('a \\" } #', "B"))


def test_a_solver_has_fields_and_maybe_a_net():
    found = outline('net_param { layer { name: "x" } } base_lr: .1 stepvalue: 1 stepvalue: 2 type: "Adam"')
    assert found == ("solver", {"base_lr": ".1", "stepvalue": "2", "type": "Adam"}, ())


@pytest.mark.parametrize(
    "text",
    ["", "Dear reader,", "a: b", 'name: "x" }', "layer {", '{"layer": 1}', "net", "layer {{}}", 'layer { name: "x" >'],
)
def test_other_texts_are_none(text):
    assert outline(text) is None


@hypothesis.given(st.text(alphabet="ab:{}<>[]\"'#\\\n, layer net"))
def test_any_text_is_told_in_time(text):
    assert outline(text) is None or outline(text).kind in ("net", "solver")
