"""Checkpoints: where a training stands after a round, in a directory, whole or not at all.

Weights, solver states and the steps that each worker has taken are all that the next round starts from: the order of the
minibatches and every random choice follow from the seed and those steps. So a training that goes on from a checkpoint has
the bits of one that was never broken off. Nothing here knows how to train.
"""

from sparknet.checkpoint.directory import Checkpoint
from sparknet.checkpoint.position import Position

__all__ = ["Checkpoint", "Position"]
