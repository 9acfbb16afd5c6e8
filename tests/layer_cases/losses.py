"""Layers that compare a net's output with what it should be."""

import numpy as np

from layer_cases.case import Case, spread
from layer_cases.dense import sigmoid, softmax

SCORES, LABELS = spread(4, 3), np.float32([0, 2, 1, 2])
MAPS, LABEL_MAPS = spread(2, 3, 1, 2), np.float32([[[0, 2]], [[1, 0]]])
PAIRS = [spread(4, 2), spread(4, 2, seed=3)]
TARGETS = np.float32([[0, 1, 1], [1, 0, 0.25], [0, 0, 1], [1, 1, 1]])
PROBABILITIES = np.float32([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25], [0.125, 0.625, 0.25], [0.25, 0.5, 0.25]])
GAIN = np.float32([[2, 0.5, 0], [0.25, 1, 0.5], [0, 0, 1]])


def of_labels(values, labels):
    """Return the value of each row at its label."""
    return np.take_along_axis(values, labels.astype(int)[:, None], 1)


def margins(x, labels):
    """Return how far each score is beyond the margin of 1, at the label below and elsewhere above."""
    sign = np.where(np.arange(x.shape[1]) == labels[:, None], -1, 1)
    return np.maximum(0, 1 + sign * x)


def contrast(a, b, same, legacy=False):
    """Return the mean of half the squared distances, or of what others lack to the margin of 1."""
    squares = np.square(a - b).sum(1)
    lacking = np.maximum(0, 1 - squares) if legacy else np.square(np.maximum(0, 1 - np.sqrt(squares)))
    return np.where(same == 1, squares, lacking).mean() / 2


def cross_entropy(x, t):
    """Return the cross entropy of each number's sigmoid with its target."""
    return -(t * np.log(sigmoid(x)) + (1 - t) * np.log(1 - sigmoid(x)))


def kept(x, labels, ignored):
    """Return the mean of -log(softmax) over the labels that are not ignored."""
    losses = -np.log(of_labels(softmax(x), labels))[labels[:, None] != ignored]
    return losses.mean()


CASES = [
    Case("Accuracy", [SCORES, LABELS], lambda x, y: (x.argmax(1) == y).mean(), constant=[1]),
    Case(
        "ContrastiveLoss",
        [*PAIRS, np.float32([1, 0, 0, 1])],
        contrast,
        constant=[2],
    ),
    Case(
        "ContrastiveLoss",
        [*PAIRS, np.float32([1, 0, 0, 1])],
        lambda a, b, same: contrast(a, b, same, legacy=True),
        "contrastive_loss_param { legacy_version: true }",
        constant=[2],
    ),
    Case("EuclideanLoss", PAIRS, lambda a, b: np.square(a - b).sum(1).mean() / 2),
    Case("HingeLoss", [SCORES, LABELS], lambda x, y: margins(x, y).sum(1).mean(), constant=[1]),
    Case(
        "HingeLoss",
        [SCORES, LABELS],
        lambda x, y: np.square(margins(x, y)).sum(1).mean(),
        "hinge_loss_param { norm: L2 }",
        constant=[1],
    ),
    Case(
        "InfogainLoss",
        [SCORES, LABELS, GAIN],
        lambda x, y, gain: -(gain[y.astype(int)] * np.log(softmax(x))).sum(1).mean(),
        constant=[1, 2],
    ),
    Case(
        "MultinomialLogisticLoss",
        [PROBABILITIES, LABELS],
        lambda p, y: -np.log(of_labels(p, y)).mean(),
        constant=[1],
    ),
    Case(
        "SigmoidCrossEntropyLoss",
        [SCORES, TARGETS],
        lambda x, t: cross_entropy(x, t).sum(1).mean(),
        constant=[1],
    ),
    Case(
        "SigmoidCrossEntropyLoss",
        [SCORES, TARGETS],
        lambda x, t: cross_entropy(x, t)[t != 1].mean(),
        "loss_param { ignore_label: 1 normalization: VALID }",
        constant=[1],
    ),
    Case("SoftmaxWithLoss", [SCORES, LABELS], lambda x, y: -np.log(of_labels(softmax(x), y)).mean(), constant=[1]),
    Case(
        "SoftmaxWithLoss",
        [MAPS, LABEL_MAPS],
        lambda x, y: -np.log(of_labels(softmax(x), y)).sum() / 2,
        "loss_param { normalization: BATCH_SIZE }",
        constant=[1],
    ),
    Case(
        "SoftmaxWithLoss",
        [SCORES, LABELS],
        lambda x, y: kept(x, y, 2),
        "loss_param { ignore_label: 2 }",
        constant=[1],
    ),
]
