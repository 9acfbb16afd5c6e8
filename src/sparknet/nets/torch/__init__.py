"""TorchNet: modules of torch in the rounds of averaging, with any optimizer and scheduler. The home of ``torch`` beside its backend.

Nothing imports torch before a net is made. Where to look:

- ``net`` is the net. It puts together ``optimizing`` (the solver step: parts of a minibatch, clipping), ``schedule`` (the scheduler's
  place), ``batches`` (inputs, targets, outputs, the loss) and ``compiling`` (torch.compile).
- ``layers`` finds the tensors of a module and names them, and says which modules cannot be used. ``tensors`` moves numbers between
  tensors and NDArrays, ``history`` does so for an optimizer's state.
- ``factory`` makes nets, and tries one on the driver. ``metrics`` has functions for ``metrics=``.
- ``runtime`` imports torch, and holds what would change bits: the number of threads and the random numbers.
"""

from sparknet.nets.torch.factory import TorchFactory
from sparknet.nets.torch.metrics import accuracy
from sparknet.nets.torch.net import TorchNet
from sparknet.nets.torch.runtime import step_seed

__all__ = ["TorchFactory", "TorchNet", "accuracy", "step_seed"]
