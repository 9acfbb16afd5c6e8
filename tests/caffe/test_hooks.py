"""Hooks of a net: before_forward, after_forward, before_backward, after_backward, as in newest BVLC Caffe."""

import threading

import caffe
import numpy as np
import pytest

pytestmark = pytest.mark.caffe

# "b" has no gradient to compute, and the hooks are called for it nevertheless.
NET = """layer { name: "a" type: "DummyData" top: "a" dummy_data_param { shape { dim: 2 dim: 3 }
    data_filler { type: "constant" value: 1 } } }
layer { name: "b" type: "Power" bottom: "a" top: "b" power_param { scale: 2 } }
layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" inner_product_param { num_output: 1 } }
layer { name: "d" type: "Reduction" bottom: "c" top: "d" loss_weight: 1 }"""


@pytest.fixture
def net_file(tmp_path):
    """The file of a net of four layers."""
    (tmp_path / "net.prototxt").write_text(NET)
    return str(tmp_path / "net.prototxt")


@pytest.fixture
def net(net_file):
    """A net of four layers."""
    return caffe.Net(net_file, caffe.TRAIN)


def test_hooks_are_called_before_and_after_each_layer_in_its_order(net):
    calls = []
    for name in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, name)(lambda layer, name=name: calls.append((name, layer)))
    net.forward()
    assert calls == [(name, layer) for layer in range(4) for name in ("before_forward", "after_forward")]
    calls.clear()
    net.backward()
    assert calls == [(name, layer) for layer in (3, 2, 1, 0) for name in ("before_backward", "after_backward")]


def test_hooks_are_called_for_the_layers_that_a_part_of_a_net_runs(net):
    calls = []
    net.before_forward(calls.append)
    net.forward(start="b", end="c")
    assert calls == [1, 2]


def test_a_hook_may_change_what_a_layer_reads(net):
    net.params["c"][0].data[...] = 1

    def halve(layer):
        if layer == 2:
            net.blobs["b"].data[...] /= 2

    net.before_forward(halve)
    assert net.forward()["d"] == 2 * 3


def test_hooks_are_called_while_a_solver_steps_in_another_thread(net_file, tmp_path):
    (tmp_path / "solver.prototxt").write_text(f'net: "{net_file}" base_lr: 1 lr_policy: "fixed"')
    solver, calls = caffe.SGDSolver(str(tmp_path / "solver.prototxt")), []
    solver.net.after_backward(calls.append)
    thread = threading.Thread(target=solver.step, args=(2,))
    thread.start()
    thread.join()
    assert calls == [3, 2, 1, 0] * 2


def test_the_exception_of_a_hook_arrives_as_itself_and_the_net_goes_on(net):
    failing = [True]

    def hook(layer):
        if failing and layer == 1:
            raise KeyError(layer)

    net.after_forward(hook)
    with pytest.raises(KeyError):
        net.forward()
    failing.clear()
    assert np.isfinite(net.forward()["d"])


def test_a_hook_may_add_a_hook(net):
    calls = []
    net.before_forward(lambda layer: layer == 0 and net.before_forward(calls.append))
    net.forward()
    net.forward()
    assert calls[:4] == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["before_forward", "after_forward", "before_backward", "after_backward"])
def test_a_hook_that_cannot_be_called_raises_at_once(net, name):
    with pytest.raises(TypeError, match="must be callable with the index of a layer"):
        getattr(net, name)("no function")
