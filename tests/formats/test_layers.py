"""Fine-tuning: which layers a net takes from a file, in every format."""

from functools import partial

import numpy as np
import pytest

import sparknet
from sparknet import NDArray, SchemaError, WeightCollection
from sparknet.formats import read, take_layers, write
from sparknet.nets import MLP

RNG = np.random.default_rng(3)
NET = WeightCollection({"conv1": [np.zeros((2, 1, 3, 3), "f4"), np.zeros(2, "f4")], "ip": [np.zeros((3, 8), "f4")]})
FILE = WeightCollection(
    {
        "conv1": [RNG.normal(size=(2, 1, 3, 3)).astype("f4"), RNG.normal(size=2).astype("f4")],
        "fc8": [np.ones((4, 3), "f4")],
    }
)


@pytest.mark.parametrize("suffix", [".sparknet", ".msg", ".npz", ".safetensors", ".caffemodel", ".caffemodel.h5"])
def test_layers_are_taken_by_name_from_any_format(tmp_path, suffix):
    write(tmp_path / f"w{suffix}", FILE)
    got = take_layers(NET, tmp_path / f"w{suffix}")
    assert got.weights == WeightCollection({"conv1": FILE["conv1"], "ip": NET["ip"]})
    assert (got.taken, got.skipped, got.new, got.rounded) == (("conv1",), ("fc8",), ("ip",), ())
    assert str(got) == "taken: conv1\nskipped, not in this net: fc8\nnew, not in the file: ip"
    got.weights["ip"][0][...] = 7  # its own memory, writable
    assert float(NET["ip"][0].to_host().max()) == 0


def test_a_layer_of_another_shape_is_an_error_that_says_how_to_go_on(tmp_path):
    write(tmp_path / "w.npz", WeightCollection({"conv1": FILE["conv1"], "ip": [np.ones((4, 8), "f4")]}))
    with pytest.raises(SchemaError) as raised:
        take_layers(NET, tmp_path / "w.npz")
    expected = (
        "w.npz': layer 'ip' has arrays of the shapes [(4, 8)]; this net needs [(3, 8)]. A layer of another shape needs "
        "another name: rename it in the net, and it is learned from scratch"
    )
    assert expected in str(raised.value)
    assert (raised.value.layer, raised.value.got, raised.value.expected) == ("ip", [(4, 8)], [(3, 8)])


@pytest.mark.parametrize("arrays", [[], [np.zeros((3, 8), "f4"), np.zeros(3, "f4")]])
def test_another_number_of_arrays_is_another_shape(tmp_path, wire, arrays):
    data = wire.new("conv1", *map(wire.blob, map(NDArray.to_host, FILE["conv1"]))) + wire.new(
        "ip", *map(wire.blob, arrays)
    )
    (tmp_path / "w.caffemodel").write_bytes(data)
    with pytest.raises(SchemaError, match=r"layer 'ip' has arrays of the shapes .*; this net needs \[\(3, 8\)\]"):
        take_layers(NET, tmp_path / "w.caffemodel")


def test_files_of_2014_fit_nets_of_today(tmp_path, wire):
    weight, bias = RNG.normal(size=(1, 1, 3, 8)).astype("f4"), RNG.normal(size=(1, 1, 1, 3)).astype("f4")
    (tmp_path / "w.caffemodel").write_bytes(wire.v1("ip", wire.blob(weight, old=True), wire.blob(bias, old=True)))
    net = WeightCollection({"ip": [np.zeros((3, 8), "f4"), np.zeros(3, "f4")]})
    assert take_layers(net, tmp_path / "w.caffemodel").weights == WeightCollection(
        {"ip": [weight[0, 0], bias[0, 0, 0]]}
    )


def test_other_floating_numbers_are_rounded_and_named_and_integers_refused(tmp_path):
    write(tmp_path / "w.npz", WeightCollection({"ip": [np.full((3, 8), 0.1)]}))
    got = take_layers(NET, tmp_path / "w.npz")
    assert (got.rounded, str(got.weights["ip"][0].dtype)) == (("ip",), "float32")
    assert str(got).endswith("rounded to the net's dtype: ip")
    sparknet.save(tmp_path / "w.msg", WeightCollection({"ip": [np.ones((3, 8), "i4")]}))
    with pytest.raises(SchemaError, match=r"layer 'ip', array 0 is int32; expected floating numbers"):
        take_layers(NET, tmp_path / "w.msg")


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (WeightCollection({"fc8": [np.ones(2, "f4")]}), "has weights for the layers fc8; this net has conv1, ip"),
        ({"conv1.weight": np.ones(2, "f4")}, "holds mapping 'conv1.weight'; expected layers of arrays"),
        (np.ones(2, "f4"), "holds array ''; expected layers of arrays"),
    ],
)
def test_a_file_without_layers_of_the_net_is_refused(tmp_path, obj, text):
    write(tmp_path / "w.sparknet", obj)
    with pytest.raises(SchemaError, match=text):
        take_layers(NET, tmp_path / "w.sparknet")


@pytest.mark.parametrize("suffix", [".solverstate", ".solverstate.h5"])
def test_a_solvers_state_says_where_its_weights_are(tmp_path, suffix):
    state = {"iteration": np.asarray(3), "history/0": np.ones(2, "f4")}
    write(tmp_path / f"a{suffix}", state, metadata={"learned_net": "a_iter_3.caffemodel"})
    with pytest.raises(
        SchemaError, match=r"is a solver's state, .* those that it goes with are in 'a_iter_3\.caffemodel'"
    ):
        take_layers(NET, tmp_path / f"a{suffix}")


def test_arrays_that_a_layer_shares_may_be_missing(tmp_path):
    shared = np.zeros((3, 3), "f4")
    net = WeightCollection({"one": [shared, np.zeros(3, "f4")], "two": [shared, np.zeros(3, "f4")]})
    write(tmp_path / "w.h5", {"one/0": np.ones((3, 3), "f4"), "one/1": np.ones(3, "f4"), "two/1": np.full(3, 2, "f4")})
    got = take_layers(net, tmp_path / "w.h5")
    assert got.taken == ("one", "two")
    write(tmp_path / "w.h5", {"one/0": np.ones((3, 3), "f4"), "two/0": np.ones((3, 3), "f4")})
    with pytest.raises(SchemaError, match=r"layer 'one' has arrays of the shapes"):
        take_layers(net, tmp_path / "w.h5")


def test_layers_are_taken_into_what_an_earlier_call_or_a_file_gave(tmp_path):
    write(tmp_path / "net.npz", NET)
    write(tmp_path / "old.npz", FILE)
    once = take_layers(NET, tmp_path / "old.npz")
    assert take_layers(once, tmp_path / "old.npz").weights == once.weights
    assert take_layers(read(tmp_path / "net.npz"), tmp_path / "old.npz").weights == once.weights


def test_writing_what_has_weights_names_where_they_are(tmp_path):
    write(tmp_path / "old.npz", FILE)
    for given, name in ((take_layers(NET, tmp_path / "old.npz"), "weights"), (read(tmp_path / "old.npz"), "obj")):
        for writing in (sparknet.dumps, partial(write, tmp_path / "new.npz")):
            with pytest.raises(TypeError, match=rf"or a WeightCollection; write x\.{name}$"):
                writing(given)


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (MLP.factory((2,), 2), r"factory\(seed=0\)\.get_weights\(\) are those of a net of a factory"),
        (MLP.factory((2,), 2)(seed=0), r"net\.get_weights\(\) are those of a net"),
        ("net.npz", r"sparknet\.formats\.read\(path\)\.obj is what a file holds"),
    ],
    ids=["factory", "net", "path"],
)
def test_layers_for_what_is_no_weights_are_refused_with_the_way_to_them(tmp_path, net, text):
    with pytest.raises(SchemaError, match=r"take_layers\(\): got .*, expected a WeightCollection: " + text):
        take_layers(net, tmp_path / "unread.npz")
