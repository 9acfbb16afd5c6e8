"""A fresh CaffeNet with the weights and the state of another goes on as that one would: same bits."""

import pathlib

import numpy as np
import pytest

from sparknet import NDArray, NetError, SchemaError
from sparknet.nets.caffe import CaffeNet, state
from sparknet.nets.caffe.schedule import steps_passed

pytestmark = pytest.mark.caffe

SOLVERS = {
    "SGD": {},
    "Nesterov": {},
    "Adam": {"momentum2": 0.99, "delta": 1e-6, "base_lr": 0.005},
    "AdaDelta": {"momentum": 0.95, "delta": 1e-6, "base_lr": 1.0},
    "AdaGrad": {"momentum": 0.0},
    "RMSProp": {"momentum": 0.0, "rms_decay": 0.9, "base_lr": 0.005},
}
POLICIES = {
    "fixed": {},
    "step": {"gamma": 0.5, "stepsize": 7},
    "exp": {"gamma": 0.97},
    "inv": {"gamma": 0.1, "power": 0.75},
    "multistep": {"gamma": 0.5, "stepvalue": [3, 10, 10, 11, 25]},
    "poly": {"power": 1.5, "max_iter": 40},
    "sigmoid": {"gamma": 0.2, "stepsize": 12},
}
CHOICES = [(kind, "step") for kind in SOLVERS] + [("SGD", policy) for policy in POLICIES if policy != "step"]


def overrides(kind, policy):
    return {"type": kind, **SOLVERS[kind], "lr_policy": policy, **POLICIES[policy]}


@pytest.mark.parametrize(("kind", "policy"), CHOICES)
@pytest.mark.parametrize("at", [0, 3, 10, 11, 12])
def test_a_fresh_net_goes_on_bit_for_bit(tiny, kind, policy, at):
    factory = CaffeNet.factory(tiny.solver, solver_overrides=overrides(kind, policy))
    first = factory(seed=1)
    for batch in tiny.batches[:at]:
        first.step(batch)
    second = factory(seed=2)
    second.step(tiny.batch())  # a history of its own, to be forgotten
    second.set_weights(first.get_weights())
    second.set_state(first.get_state())
    assert second.iteration == at
    rest = tiny.batches[at:30]
    assert [first.step(batch) for batch in rest] == [second.step(batch) for batch in rest]
    assert first.get_weights() == second.get_weights()
    assert bits(first.get_state()) == bits(second.get_state())


def bits(state):
    return {name: array.to_host().tobytes() for name, array in state.items()}


@pytest.mark.parametrize(("kind", "per_array"), [("SGD", 1), ("RMSProp", 1), ("Adam", 2), ("AdaDelta", 2)])
def test_the_state_is_the_iteration_and_the_history(tiny, kind, per_array):
    net = CaffeNet(tiny.solver, solver_overrides=overrides(kind, "step"))
    net.step(tiny.batch())
    got = net.get_state()
    arrays = [a for blobs in net.get_weights().values() for a in blobs] * per_array
    assert list(got) == ["iteration", *(f"history/{i}" for i in range(len(arrays)))]
    assert (got["iteration"].shape, got["iteration"].dtype, int(got["iteration"])) == ((), np.int64, 1)
    assert [got[f"history/{i}"].shape for i in range(len(arrays))] == [a.shape for a in arrays]


def test_the_state_is_a_copy_and_travels_as_a_message(tiny):
    from sparknet import dumps, loads

    net = CaffeNet(tiny.solver, seed=1)
    net.step(tiny.batch())
    got = net.get_state()
    kept, message = bits(got), dumps(got)
    net.step(tiny.batch())
    assert bits(got) == kept
    fresh = CaffeNet(tiny.solver)
    fresh.set_state(loads(message))
    assert bits(fresh.get_state()) == kept


def test_setting_a_state_leaves_weights_alone(tiny):
    net, other = CaffeNet(tiny.solver, seed=1), CaffeNet(tiny.solver, seed=2)
    other.step(tiny.batch())
    before = net.get_weights()
    net.set_state(other.get_state())
    assert net.get_weights() == before


def test_going_back_in_the_schedule(tiny):
    net = CaffeNet(tiny.solver, solver_overrides=overrides("SGD", "multistep"))
    start, weights = net.get_state(), net.get_weights()
    first = [net.step(batch) for batch in tiny.batches[:15]]
    net.set_weights(weights)
    net.set_state(start)
    assert [net.step(batch) for batch in tiny.batches[:15]] == first


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"iteration": None}, "'iteration' must be a 0-d integer.*got none"),
        ({"iteration": np.int64(-1)}, "got int64"),
        ({"iteration": np.float64(3)}, "got float64"),
        ({"iteration": np.zeros(2, "int64")}, "got int64"),
        ({"iteration": np.int64(2**31)}, "got int64"),
        ({"history/3": None}, "3 history arrays .*this SGD solver needs 4"),
        ({"history/4": np.zeros(2, "float32")}, "another type of solver"),
        ({"history/0": np.zeros((4, 1, 3, 2), "float32")}, r"'history/0' is float32 of shape \(4, 1, 3, 2\)"),
        ({"history/0": np.zeros((4, 1, 3, 3))}, "is float64"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(tiny, change, match):
    net = CaffeNet(tiny.solver)
    net.step(tiny.batch())
    before = bits(net.get_state())
    changed = {**net.get_state(), "history/1": NDArray(np.ones(4, "float32")), **change}
    with pytest.raises(SchemaError, match=match):
        net.set_state({name: NDArray(array) for name, array in changed.items() if array is not None})
    assert bits(net.get_state()) == before


def test_a_poly_schedule_has_an_end(tiny):
    net = CaffeNet(tiny.solver, solver_overrides={"lr_policy": "poly", "power": 0.5, "max_iter": 2})
    for batch in tiny.batches[:3]:
        net.step(batch)
    with pytest.raises(NetError, match="iteration 3 is behind max_iter 2"):
        net.step(tiny.batch())


# ---- Caffes that can do less
class Older:
    """A solver of a Caffe that was built without some of what the project's own has."""

    def __init__(self, solver, hidden):
        self._solver, self._hidden = solver, hidden

    def __getattr__(self, name):
        if name in self._hidden:
            raise AttributeError(name)
        return getattr(self._solver, name)

    @property
    def iter(self):
        return self._solver.iter


def test_an_iteration_that_cannot_be_set_goes_through_a_solverstate(tiny):
    options = overrides("Adam", "multistep")
    nets = [CaffeNet(tiny.solver, seed=1, solver_overrides=options) for _ in range(2)]
    for batch in tiny.batches[:11]:
        nets[0].step(batch)
    nets[1]._solver = Older(nets[1]._solver, {"current_step"})
    nets[1].set_weights(nets[0].get_weights())
    nets[1].set_state(nets[0].get_state())
    rest = tiny.batches[11:30]
    assert [nets[0].step(batch) for batch in rest] == [nets[1].step(batch) for batch in rest]


def test_a_caffe_without_history_says_so(tiny):
    net = CaffeNet(tiny.solver)
    with pytest.raises(NetError, match=r"does not show its solver's history.*nox -s pycaffe"):
        state.get_state(Older(net._solver, {"history"}))


def test_steps_passed_is_what_caffe_counts(tiny, tmp_path):
    import caffe

    options = overrides("SGD", "multistep") | {"stepvalue": [2, 2, 2, 3, 9, 9]}
    net = CaffeNet(tiny.solver, solver_overrides=options)
    text = net._definition.solver + f'net: "{tmp_path / "net"}"\nsnapshot_prefix: "{tmp_path / "s"}"\n'
    (tmp_path / "net").write_text(net._definition.train)
    (tmp_path / "solver").write_text(text)
    solver = caffe.get_solver(str(tmp_path / "solver"))
    for iteration in range(13):
        solver.snapshot()
        message = caffe.proto.caffe_pb2.SolverState()
        message.ParseFromString(pathlib.Path(tmp_path / f"s_iter_{iteration}.solverstate").read_bytes())
        assert (message.iter, message.current_step) == (iteration, steps_passed(net._param, iteration))
        solver.step(1)
