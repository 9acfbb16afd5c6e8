"""Lines of a prototxt: found behind comments, texts and blocks of every notation. No Caffe is needed."""

import pytest

from sparknet.nets.caffe.lines import line_of

NET = """name: "net"  # layer { scale: 9 }
layer { name: "layer { scale: 8 }" type: 'Data' top: "data"
  include { phase: TRAIN }
  transform_param <
    mirror: true scale: 0.5
  >
}
layer {
  name: "other"
  power_param { scale: 2 }
}
layers { layer { name: "v0" type: "data"
  scale: 3 } }
"""


@pytest.mark.parametrize(
    ("layer", "field", "line"),
    [
        (0, "scale", 5),
        (0, "phase", 3),
        (0, "crop_size", None),
        (1, "scale", 10),
        (2, "scale", 13),
        (3, "scale", None),
    ],
)
def test_a_field_is_found_in_its_own_layer(layer, field, line):
    assert line_of(NET, layer, field) == line


def test_a_net_inside_a_solver_is_counted_by_itself():
    solver = f"base_lr: 1\ntest_net_param {{ layer {{ }} }}\nnet_param {{\n{NET}}}"
    assert line_of(solver, 0, "scale", "net_param") == 8
    assert line_of(solver, 0, "scale", "train_net_param") is None
