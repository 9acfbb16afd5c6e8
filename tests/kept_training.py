"""A small training with a checkpoint, for the tests of checkpoints."""

import numpy as np

from sparknet import Field, LocalCluster, averaged_sgd
from sparknet.data import pack
from sparknet.data.preprocess import Compose, Crop, Mirror
from sparknet.nets import MLP

RNG = np.random.default_rng(0)
COLUMNS = {"data": RNG.normal(size=(65, 1, 6, 6)), "label": RNG.integers(0, 3, 65)}
FIELDS = [Field("data", (1, 6, 6)), Field("label", (), "int64")]
DATA = pack(COLUMNS, FIELDS, 5, Compose(Crop("data", 5, 5), Mirror("data")))
FACTORY = MLP.factory((1, 5, 5), 3, (4,), learning_rate=0.1, momentum=0.9, weight_decay=0.01)


def start(directory=None, make=FACTORY, data=DATA, **options):
    options = {"cluster": LocalCluster(), "workers": 2, "tau": 3, "rounds": 6, "seed": 7, **options}
    return averaged_sgd(make, data, checkpoint=directory, **options)


def train(directory=None, *args, **options):
    return list(start(directory, *args, **options))


def facts(rounds):
    return [(r.index, r.weights, repr(r.loss), r.steps, r.examples) for r in rounds]  # the loss of no steps is NaN


def names(directory):
    return sorted(path.name for path in directory.iterdir() if path.name != "run.json")
