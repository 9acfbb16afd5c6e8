"""Checkpoints: the position of a training after a round, in a directory or an object store, whole or not at all.

The next round needs the weights, the solver states, the rule's state and the steps of each worker, nothing else: the order of the
minibatches and every random choice follow from the seed and the steps. So a training that goes on from a checkpoint has the bits
of one that was never broken off. This room knows nothing of how to train.
"""

from sparknet.checkpoint.directory import Checkpoint
from sparknet.checkpoint.position import Position
from sparknet.checkpoint.writer import Writer

__all__ = ["Checkpoint", "Position", "Writer"]
