"""TorchNet: a module of torch and its optimizer, behind the Net protocol.

It puts the pieces together: the module's tensors are in :mod:`.layers`, the step in :mod:`.optimizing`, the place of the scheduler in
:mod:`.schedule`, the optimizer's state in :mod:`.history`, the columns of a minibatch in :mod:`.batches`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from sparknet.backends import backend_for_device
from sparknet.data.layout import is_whole
from sparknet.errors import NetError, SchemaError
from sparknet.ndarray import NDArray
from sparknet.nets.base import Batch, SolverState
from sparknet.nets.torch.batches import columns_of, measured, named_outputs, placed, scalar, translated
from sparknet.nets.torch.compiling import check_compile, compiled
from sparknet.nets.torch.factory import TorchFactory, check_options, torchs_device
from sparknet.nets.torch.history import history_of, set_history
from sparknet.nets.torch.layers import check_module, tensors_of
from sparknet.nets.torch.optimizing import Stepping, check_optimizer
from sparknet.nets.torch.runtime import computing, load, seeded, step_seed
from sparknet.nets.torch.schedule import Schedule
from sparknet.nets.torch.tensors import copied, lent
from sparknet.weights import WeightCollection
from sparknet.weights.given import given_weights

__all__ = ["TorchNet"]


class TorchNet:
    """A module that torch trains and runs.

    Parameters
    ----------
    module
        ``module()`` returns a new ``torch.nn.Module``: a class without arguments, a ``functools.partial`` or a function. It is
        called with torch's generators seeded by ``seed``.
    optimizer
        ``optimizer(parameters)`` returns a ``torch.optim.Optimizer``. ``parameters`` is the list of the module's parameters.
    loss
        ``loss(output, *targets)`` returns one number in a tensor, the mean over the minibatch. ``output`` is what the module
        returned, whatever it is.
    scheduler
        ``scheduler(optimizer)`` returns a scheduler, which takes a step after each solver step (not after each epoch).
    metrics
        Name -> ``metric(output, *targets)``, a mean over the minibatch; ``forward`` and evaluations return them beside ``loss``,
        which so is the name of no metric.
    inputs, targets
        Names of the columns that the module, and behind the output the loss, are called with.
    device
        ``"cpu"``, ``"cuda"`` (the GPU that Spark gave the task), or ``"cuda:N"``.
    clip_norm
        Scale the gradients so that their norm over all parameters is at most this. None: leave them.
    accumulate
        Take a minibatch in so many parts, one after the other, and add up their gradients: the memory is that of a part.
    autocast
        ``"bfloat16"``: compute the output and the loss in mixed precision, by ``torch.autocast``. The weights stay as the module
        made them.
    compile
        True, or options of ``torch.compile``: run the module compiled, each shape by itself unless they say ``dynamic``. The last
        bits may differ from those without.
    threads
        Threads of torch on the host. With more than one, the bits depend on their number.
    seed
        Decides the initial weights, and random choices such as dropout in the steps; 0 or more.

    Raises
    ------
    NetError
        The module, the optimizer or the scheduler cannot be used; the message says why.
    MissingDependency
        torch is not installed.

    Notes
    -----
    Weights have a layer for each module, named as in ``state_dict`` without the last part: ``w["conv1"]`` is (weight, bias), a batch
    norm (weight, bias, running_mean, running_var, num_batches_tracked). Buffers travel as weights, and so are averaged. Integers
    are not: rules take those of the first worker (``Median`` the middle ones). A bool travels as uint8. Shared parameters travel
    once, under their first name. :meth:`state_dict` has torch's own names. float16 travels as it is, bfloat16 as float32: it is
    rounded when it enters the module.

    The random numbers of a step follow from :func:`~sparknet.nets.torch.step_seed` of the net's seed and the iteration. The
    scheduler's place follows from the iteration alone, so a new process repeats its steps up to there. Python's and numpy's
    generators are left alone.

    Columns of floating numbers become the dtype of the module's parameters, integers of ``targets`` int64.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from sparknet import nd
    >>> net = TorchNet(
    ...     partial(torch.nn.Linear, 2, 2),
    ...     optimizer=partial(torch.optim.SGD, lr=0.5, momentum=0.9),
    ...     loss=torch.nn.functional.cross_entropy,
    ... )
    >>> batch = {"data": nd.asarray([[0.0, 1.0], [1.0, 0.0]]), "label": nd.asarray([0, 1])}
    >>> losses = [net.step(batch) for _ in range(50)]
    >>> losses[-1] < losses[0] / 5, net.iteration, list(net.get_weights())
    (True, 50, ['weight', 'bias'])
    """

    def __init__(
        self,
        module: Callable[[], Any],
        *,
        optimizer: Callable[[list[Any]], Any],
        loss: Callable[..., Any],
        scheduler: Callable[[Any], Any] | None = None,
        metrics: Mapping[str, Callable[..., Any]] | None = None,
        inputs: Sequence[str] = ("data",),
        targets: Sequence[str] = ("label",),
        device: str | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        autocast: str | None = None,
        compile: bool | Mapping[str, Any] = False,  # noqa: A002 - torch's own word
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        torch = load()
        check_compile(compile)
        check_options(
            {"module": module, "optimizer": optimizer, "loss": loss, "scheduler": scheduler},
            metrics or {},
            {"inputs": inputs, "targets": targets},
            {"accumulate": accumulate, "threads": threads},
            clip_norm,
            autocast,
        )
        self._inputs, self._targets = tuple(inputs), tuple(targets)
        self._device = torch.device(backend_for_device(torchs_device(device)).device.removeprefix("torch:"))
        self._threads = threads
        self.reseed(seed)
        with computing(threads), seeded(seed, self._device):
            with translated("TorchNet: module()", {}):
                made = module()
            check_module(made)
            self._module = made.to(self._device)
        self._tensors = tensors_of(self._module)
        self._parameters = {n: t for n, t in self._tensors.named.items() if isinstance(t, torch.nn.Parameter)}
        self._dtype = next((t.dtype for t in self._parameters.values() if t.is_floating_point()), torch.float32)
        self._names = {id(parameter): name for name, parameter in self._parameters.items()}
        with translated("TorchNet: optimizer(parameters)", {}):
            self._optimizer = optimizer(list(self._module.parameters()))
        check_optimizer(self._optimizer, self._names)
        with translated("TorchNet: scheduler(optimizer)", {}):
            following = None if scheduler is None else scheduler(self._optimizer)
        self._schedule = Schedule(following, self._optimizer)
        with translated("TorchNet: torch.compile(module)", {}):
            call = compiled(self._module, compile)
        self._metrics = {name: placed(name, metric, self._device) for name, metric in (metrics or {}).items()}
        self._stepping = Stepping(
            call,
            placed("loss", loss, self._device),
            self._optimizer,
            list(self._parameters.values()),
            accumulate,
            clip_norm,
            autocast,
            self._device,
        )
        self._iteration = 0

    @classmethod
    def factory(cls, module: Callable[[], Any], **options: Any) -> TorchFactory:
        """Return a picklable ``factory(seed=...)`` that makes this net; arguments as for the class.

        The net is made once here, in host memory, and its optimizer takes one step on gradients of zero. So what cannot work in rounds
        shows on the driver: an optimizer whose state cannot travel, or one that changes its own settings.
        """
        factory = TorchFactory.of(module, options)
        factory.check()
        return factory

    def __reduce__(self) -> NoReturn:
        """Refuse: a net stays in its process."""
        msg = "a TorchNet cannot be pickled; pickle TorchNet.factory(...) and make the net on the worker"
        raise TypeError(msg)

    # ---- what it is
    @property
    def module(self) -> Any:
        """The ``torch.nn.Module`` itself, live."""
        return self._module

    @property
    def optimizer(self) -> Any:
        """The ``torch.optim.Optimizer`` itself, live."""
        return self._optimizer

    @property
    def iteration(self) -> int:
        """Solver steps taken so far."""
        return self._iteration

    def reseed(self, seed: int) -> None:
        """Seed the random numbers of the next steps (dropout, ...); the weights do not change."""
        if not is_whole(seed, 0):
            msg = f"got seed {seed!r}, expected a whole number of 0 or more"
            raise NetError(msg)
        self._seed = int(seed)

    # ---- weights and state
    def get_weights(self) -> WeightCollection:
        """Return a copy of the parameters and buffers: layer -> arrays, in host memory."""
        return self._tensors.weights()

    def set_weights(self, weights: WeightCollection) -> None:
        """Write ``weights`` into the module's own memory; a SchemaError, before the first write, if they do not fit."""
        self._tensors.write(given_weights(weights, "set_weights()"), "set_weights()")

    def state_dict(self) -> dict[str, Any]:
        """Return the module's ``state_dict``: torch's names -> tensors, copies in host memory.

        ``model.load_state_dict`` takes it, and so do ``sparknet.save`` and ``formats.write``, which keep the names.
        """
        return {name: value.detach().cpu().clone() for name, value in self._module.state_dict().items()}

    @property
    def tensor_names(self) -> dict[str, list[Any]]:
        """Name in ``state_dict`` -> layer and number of the array in the weights; tensors that are shared have several names."""
        return self._tensors.places()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Write a ``state_dict`` of tensors or arrays into the module's memory; a SchemaError says which names, shapes or dtypes differ."""
        self._tensors.write(self._tensors.given(state, "load_state_dict()"), "load_state_dict()")

    def get_state(self) -> dict[str, NDArray]:
        """Return a copy of the optimizer's state (``optimizer/<parameter>/<entry>``) and the ``iteration``."""
        return self._state(copied)

    def lend(self) -> tuple[WeightCollection, dict[str, NDArray]]:
        """Let the gradients go; return weights and state, in the host's own tensors where they are, read before the net is used again."""
        self._stepping.drop_gradients()
        return self._tensors.weights(lent), self._state(lent)

    def _state(self, taken: Callable[[Any], NDArray]) -> dict[str, NDArray]:
        self._schedule.check()
        return {
            "iteration": NDArray(np.asarray(self._iteration, np.int64)),
            **history_of(self._optimizer, self._names, taken),
        }

    def set_state(self, state: SolverState) -> None:
        """Copy the optimizer's state and the iteration from ``state``, and put the scheduler to that iteration."""
        if "iteration" not in state:
            msg = f"set_state(): got {', '.join(state) or 'nothing'}, expected 'iteration' too; is the state from another net?"
            raise SchemaError(msg, got=list(state), expected=["iteration"])
        set_history(
            self._optimizer, self._parameters, {name: array for name, array in state.items() if name != "iteration"}
        )
        self._iteration = int(state["iteration"].to_host())
        with translated("set_state()", {}):
            self._schedule.go_to(self._iteration)

    # ---- running
    def step(self, batch: Batch) -> float:
        """Take one solver step on ``batch`` and return its loss before the step.

        Raises
        ------
        DataError
            A column is missing; the net is as before.
        NetError
            The module, the loss, the optimizer or the scheduler refuses the minibatch. The message says what torch said.
        """
        with self._running("step()", batch, step_seed(self._seed, self._iteration), train=True):
            loss = self._stepping.step(*self._columns(batch))
            self._schedule.advance()
        self._iteration += 1
        return loss

    def forward(self, batch: Batch, outputs: Sequence[str] | None = None) -> dict[str, NDArray]:
        """Run the module in its evaluation mode, and return the named outputs, by default ``loss`` and the metrics.

        Parameters
        ----------
        batch
            The inputs; the targets too if ``outputs`` has ``loss`` or a metric.
        outputs
            ``loss``, names of ``metrics``, and the module's own: ``output``, or ``output/0``, ``output/1`` of a tuple, or the keys of
            a dict.

        Returns
        -------
        dict
            Copies in host memory. The loss and the metrics have no axes; they are means over the minibatch.
        """
        return self._forward(batch, outputs, self._stepping.call)

    def _forward(self, batch: Batch, outputs: Sequence[str] | None, call: Callable[..., Any]) -> dict[str, NDArray]:
        """Run ``call``, the module or what was compiled of it."""
        scalars = ["loss", *self._metrics]
        names = scalars if outputs is None else list(outputs)
        with (
            self._running("forward()", batch, 0, train=False),
            load().no_grad(),
        ):
            inputs, targets = self._columns(batch, needs_targets=any(name in scalars for name in names))
            with self._stepping.precision():
                output = call(*inputs)
                found = named_outputs(output)
                if "loss" in names:
                    found["loss"] = scalar(self._stepping.loss(output, *targets))
                asked = {name: metric for name, metric in self._metrics.items() if name in names}
                found.update(measured(asked, output, targets))
            unknown = [name for name in names if name not in found]
            if unknown:
                msg = f"no output {', '.join(map(repr, unknown))}; there are {', '.join(dict.fromkeys([*scalars, *found]))}"
                raise NetError(msg, unknown=unknown)
            return {name: copied(found[name]) for name in names}

    def rehearse(self, batch: Batch, *, train: bool = True) -> None:
        """Raise the error of a step (with ``train=False`` of ``forward``) on the batch, and leave the net as it is.

        The gradients are not computed, and nothing is compiled: both start threads of torch, which a forked worker cannot have. A warning is
        logged for buffers of integers that change, because rules take those of one worker.
        """
        if not train:
            self._forward(batch, None, self._module)
            return
        with (
            self._tensors.buffers_kept(),
            self._running("step()", batch, step_seed(self._seed, self._iteration), train=True),
        ):
            self._stepping.loss_of(*self._columns(batch), self._module)

    def _columns(self, batch: Batch, *, needs_targets: bool = True) -> tuple[list[Any], list[Any]]:
        """Return the inputs and the targets as tensors; integers of targets as int64, which losses of torch take."""
        inputs = columns_of(batch, self._inputs, self._device, self._dtype, "inputs")
        if not needs_targets:
            return inputs, []
        targets = columns_of(batch, self._targets, self._device, self._dtype, "targets")
        is_float = [target.is_floating_point() for target in targets]
        return inputs, [t if floats else t.long() for t, floats in zip(targets, is_float, strict=True)]

    @contextmanager
    def _running(self, what: str, batch: Batch, seed: int, *, train: bool) -> Iterator[None]:
        """Run the block in a mode of the module, with its threads and random numbers; errors begin with ``what``."""
        self._tensors.set_mode(train=train)
        with translated(what, batch), computing(self._threads), seeded(seed, self._device):
            yield
            self._tensors.settle()
