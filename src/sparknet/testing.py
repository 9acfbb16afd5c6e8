"""check_net: the contract of the Net protocol as a test that anyone runs over his own net.

Each law is a function here, and its docstring says the law. A net that breaks one is refused with that sentence and what was seen. The
laws are those that rounds rely on: a net kept from an earlier round is only a cache, and all clusters give the same bits.
"""

import math
import pickle
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from sparknet import nd
from sparknet.clusters import LocalCluster
from sparknet.data.dataset import Dataset
from sparknet.errors import NetError, SchemaError, SparknetError
from sparknet.ndarray import NDArray
from sparknet.nets.base import Batch, Net, NetFactory, SolverState
from sparknet.serialization import dumps, loads
from sparknet.training import averaged_sgd
from sparknet.weights import WeightCollection
from sparknet.weights.schema import check_averageable
from sparknet.worker import left_in

__all__ = ["check_net"]

_STEPS = 4


def check_net(factory: NetFactory, data: Dataset) -> None:
    """Raise a NetError that names the first law of the Net protocol that the factory's nets break.

    Parameters
    ----------
    factory
        The factory, as for :func:`sparknet.averaged_sgd`.
    data
        Packed by :func:`sparknet.data.pack`, with two whole minibatches at least, on which the net can take a few steps.

    Raises
    ------
    NetError
        A law does not hold, or the net raised an error while it was tried. The message begins with the law; the field ``law`` is its name.

    Notes
    -----
    A dozen nets are made, and each takes a few steps. Nothing is written, and no process is started.

    Examples
    --------
    >>> from sparknet import Field
    >>> from sparknet.data import pack
    >>> from sparknet.nets import MLP
    >>> data = pack(
    ...     {"data": [[0.0], [1.0]] * 4, "label": [0, 1] * 4}, [Field("data", (1,)), Field("label", (), "int64")], 2
    ... )
    >>> check_net(MLP.factory((1,), classes=2), data)
    """
    (batches,) = data.map_shards(
        lambda shard: [dict(batch) for _, batch in zip(range(_STEPS), shard, strict=False)], workers=1
    )
    if len(batches) < 2:
        msg = f"check_net(): got data of {len(batches)} minibatches, expected two at least"
        raise NetError(msg, got=len(batches), expected=2)
    for law in _LAWS:
        said, name = " ".join((law.__doc__ or "").split()), law.__name__.lstrip("_")
        try:
            seen = law(factory, batches, data)
        except Exception as error:  # a net of someone else's may raise anything
            msg = f"check_net(): {said} {type(error).__name__}: {error}"
            raise NetError(msg, law=name) from error
        if seen:
            msg = f"check_net(): {said} {seen}"
            raise NetError(msg, law=name)


# ---- the laws: each returns what is wrong, "" if nothing is
def _has_the_methods(factory: NetFactory, _batches: list[Batch], _data: Dataset) -> str:
    """A factory(seed=...) makes a Net: it has all methods of the protocol."""
    net = factory(seed=0)
    names = ("iteration", "get_weights", "set_weights", "step", "forward", "get_state", "set_state")
    missing = [name for name in names if not hasattr(net, name)]
    return f"{type(net).__name__} has no {', '.join(missing)}." if missing else ""


def _same_seed_same_weights(factory: NetFactory, _batches: list[Batch], _data: Dataset) -> str:
    """The initial weights depend on the seed alone."""
    return _differ("weights", factory(seed=3).get_weights(), factory(seed=3).get_weights())


def _factory_is_pickled(factory: NetFactory, _batches: list[Batch], _data: Dataset) -> str:
    """A factory can be pickled, and makes the same nets afterwards."""
    again = pickle.loads(_pickled(factory))  # noqa: S301 - pickled on the line itself
    return _differ("weights", factory(seed=3).get_weights(), again(seed=3).get_weights())


def _weights_can_be_averaged(factory: NetFactory, _batches: list[Batch], _data: Dataset) -> str:
    """get_weights() returns a WeightCollection of real numbers."""
    weights: Any = factory(seed=0).get_weights()
    if not isinstance(weights, WeightCollection):
        return f"It returned {type(weights).__name__}."
    check_averageable(weights, "get_weights()")
    return "" if weights.arrays() else "It has no arrays."


def _state_can_be_averaged(factory: NetFactory, batches: list[Batch], _data: Dataset) -> str:
    """get_state() returns NDArrays of real numbers, and the iteration among them, an int64 without axes."""
    net = _stepped(factory, batches)
    state = net.get_state()
    wrong = [name for name, array in state.items() if not isinstance(array, NDArray)]
    if wrong:
        return f"{wrong[0]!r} is {type(state[wrong[0]]).__name__}."
    check_averageable({name: [array] for name, array in state.items()}, "get_state()")
    count = state.get("iteration")
    if count is None or count.shape != () or str(count.dtype) != "int64":
        return f"iteration is {count!r}."
    taken = len(batches)
    return "" if int(count.to_host()) == net.iteration == taken else f"{taken} steps counted as {count!r}."


def _step_returns_the_loss(factory: NetFactory, batches: list[Batch], _data: Dataset) -> str:
    """step() returns the loss as a float, and changes the weights."""
    net = factory(seed=0)
    before = net.get_weights().copy()
    loss = net.step(batches[0])
    if type(loss) is not float or not math.isfinite(loss):
        return f"It returned {loss!r}."
    return "The weights stayed the same." if before == net.get_weights() else ""


def _copies_are_returned(factory: NetFactory, batches: list[Batch], _data: Dataset) -> str:
    """get_weights() and get_state() return copies: a later step does not change them, nor do writes to them change the net. lend() has the same."""
    net = _stepped(factory, batches)
    weights, state = net.get_weights(), net.get_state()
    lent = left_in(net, lend=True)
    if wrong := _differ("weights", weights, lent[0]) or _differ_state(state, lent[1]):
        return f"Lent: {wrong}"
    kept, kept_state = weights.copy(), _copied(state)
    net.step(batches[0])
    wrong = _differ("weights", kept, weights) or _differ_state(kept_state, state)
    if wrong:
        return f"After a step: {wrong}"
    now = net.get_weights()
    for array in weights.arrays():
        array[...] = 0
    return _differ("weights", now, net.get_weights())


def _steps_are_deterministic(factory: NetFactory, batches: list[Batch], _data: Dataset) -> str:
    """Two nets of one seed take the same steps, bit for bit."""
    one, two = _stepped(factory, batches), _stepped(factory, batches)
    return _differ("weights", one.get_weights(), two.get_weights()) or _differ_state(one.get_state(), two.get_state())


def _weights_and_state_are_all(factory: NetFactory, batches: list[Batch], _data: Dataset) -> str:
    """A net that gets weights and state from another one goes on like it, bit for bit, whatever it did before."""
    one, two = factory(seed=1), _stepped(factory, batches)
    one.step(batches[0])
    two.set_weights(loads(dumps(one.get_weights())))  # read-only, as they arrive
    two.set_state(_sent(one.get_state()))
    wrong = _differ("weights", one.get_weights(), two.get_weights())
    wrong = wrong or _differ_state(one.get_state(), two.get_state())
    for net in (one, two):
        _reseed(net)
    for batch in batches:
        if not wrong and one.step(batch) != two.step(batch):
            wrong = f"At iteration {one.iteration} the losses differ."
    return wrong or _differ("weights", one.get_weights(), two.get_weights())


def _states_are_replaced(factory: NetFactory, batches: list[Batch], _data: Dataset) -> str:
    """set_state() with the state of a new net makes the solver new: nothing of its history is left."""
    net, new = _stepped(factory, batches), factory(seed=0)
    net.set_state(new.get_state())
    net.set_weights(new.get_weights())
    for each in (net, new):
        _reseed(each)
        each.step(batches[1])
    return _differ("weights", new.get_weights(), net.get_weights())


def _other_weights_are_refused(factory: NetFactory, _batches: list[Batch], _data: Dataset) -> str:
    """set_weights() refuses other names and shapes with a SchemaError, and the net is as before."""
    net = factory(seed=0)
    before = net.get_weights()
    layers = dict(before.items())
    first = next(iter(layers))
    grown = [nd.concat([nd.reshape(a, (-1,)), nd.ones((1,), dtype=a.dtype)]) for a in map(_on_host, layers[first])]
    for what, wrong in (
        ("another name", {f"{name}_": list(arrays) for name, arrays in layers.items()}),
        ("another shape", {**layers, first: grown}),
    ):
        try:
            net.set_weights(WeightCollection(wrong))
        except SchemaError:
            pass
        else:
            return f"It took weights with {what}."
    return _differ("weights", before, net.get_weights())


def _forward_changes_nothing(factory: NetFactory, batches: list[Batch], _data: Dataset) -> str:
    """forward() returns NDArrays by name, the same each time, and changes neither weights nor state."""
    net = _stepped(factory, batches)
    weights, state = net.get_weights(), net.get_state()
    first, second = net.forward(batches[0]), net.forward(batches[0])
    if not first or not all(isinstance(array, NDArray) for array in first.values()):
        return f"It returned {dict(first)!r:.80}."
    wrong = _differ_state(first, second)
    return wrong or _differ("weights", weights, net.get_weights()) or _differ_state(state, net.get_state())


def _minibatches_stay(factory: NetFactory, batches: list[Batch], _data: Dataset) -> str:
    """step() and forward() do not write to a minibatch: it is used again."""
    net, kept = factory(seed=0), _copied(batches[0])
    net.step(batches[0])
    net.forward(batches[0])
    return _differ_state(kept, batches[0])


def _generators_are_left_alone(factory: NetFactory, batches: list[Batch], _data: Dataset) -> str:
    """A net does not use the random generators of Python and numpy that the program shares."""
    with _generators_kept():
        before = random.getstate(), np.random.get_state()  # noqa: NPY002 - the shared one is what is asked about
        _stepped(factory, batches).forward(batches[0])
        after = random.getstate(), np.random.get_state()  # noqa: NPY002
        return "" if repr(before) == repr(after) else "Their states have changed."


def _missing_columns_are_told(factory: NetFactory, batches: list[Batch], _data: Dataset) -> str:
    """A minibatch without a column that the net needs is an error of sparknet."""
    net = factory(seed=0)
    try:
        net.step({"no_such_column": next(iter(batches[0].values()))})
    except SparknetError as error:
        return "" if len(str(error)) > 10 else f"Its message is {str(error)!r}."
    return "The net took it."


def _a_trial_leaves_the_net(factory: NetFactory, batches: list[Batch], _data: Dataset) -> str:
    """rehearse(), if there is one, leaves the net as it is."""
    net = _stepped(factory, batches)
    weights, state = net.get_weights(), net.get_state()
    for train in (True, False):
        getattr(net, "rehearse", lambda _batch, **_: None)(batches[0], train=train)
    return _differ("weights", weights, net.get_weights()) or _differ_state(state, net.get_state())


def _one_worker_is_a_plain_loop(factory: NetFactory, _batches: list[Batch], data: Dataset) -> str:
    """Rounds of one worker are plain steps, bit for bit."""
    net, tau, rounds = factory(seed=5), 2, 2
    for index in range(rounds):
        data.map_shards(partial(_fed, net=net, steps=tau, start=index * tau), workers=1)
    done = list(averaged_sgd(factory, data, cluster=LocalCluster(), workers=1, tau=tau, rounds=rounds, seed=5))
    return _differ("weights", net.get_weights(), done[-1].weights)


# Each may rely on those before it.
_LAWS: Sequence[Callable[[NetFactory, list[Batch], Dataset], str]] = (
    _has_the_methods,
    _weights_can_be_averaged,
    _same_seed_same_weights,
    _factory_is_pickled,
    _minibatches_stay,
    _step_returns_the_loss,
    _state_can_be_averaged,
    _copies_are_returned,
    _steps_are_deterministic,
    _weights_and_state_are_all,
    _states_are_replaced,
    _other_weights_are_refused,
    _forward_changes_nothing,
    _generators_are_left_alone,
    _missing_columns_are_told,
    _a_trial_leaves_the_net,
    _one_worker_is_a_plain_loop,
)


# ---- helpers
def _stepped(factory: NetFactory, batches: Sequence[Batch]) -> Net:
    net = factory(seed=0)
    _reseed(net)
    for batch in batches:
        net.step(batch)
    return net


def _fed(shard: Any, net: Net, steps: int, start: int) -> None:
    with shard.feed(steps, first_step=start, seed=5, net=net) as feed:
        for batch in feed:
            net.step(batch)


def _reseed(net: Any) -> None:
    getattr(net, "reseed", lambda _seed: None)(11)


def _pickled(factory: Any) -> bytes:
    """Return the factory pickled as Spark does, if its pickler is installed with it or alone: it takes functions of the program too."""
    from sparknet.clusters.spark.jobs.running import pickled

    try:
        return pickled("the factory", factory)
    except ImportError:
        pass
    try:
        import cloudpickle
    except ImportError:
        return pickle.dumps(factory)
    return cloudpickle.dumps(factory)  # type: ignore[no-any-return]


def _sent(state: SolverState) -> dict[str, NDArray]:
    return dict(loads(dumps(state)))


def _copied(arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return {name: nd.asarray(array, copy=True) for name, array in arrays.items()}


def _on_host(array: NDArray) -> NDArray:
    return NDArray(array.to_host())


def _differ(what: str, a: WeightCollection, b: WeightCollection) -> str:
    if a.schema() != b.schema():
        return f"The {what} are {b!r:.200}, expected {a!r:.200}."
    layers = (name for name in a if WeightCollection({name: a[name]}) != WeightCollection({name: b[name]}))
    found = next(layers, None)
    return "" if found is None else f"The {what} of layer {found!r} have other bits."


def _differ_state(a: Mapping[str, NDArray], b: Mapping[str, NDArray]) -> str:
    return _differ("arrays", *(WeightCollection({name: [array] for name, array in each.items()}) for each in (a, b)))


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Put the shared generators back after the block."""
    python, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002 - as above
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpys)  # noqa: NPY002
