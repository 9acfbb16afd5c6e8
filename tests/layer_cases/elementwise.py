"""Layers that take each number by itself, and those that combine blobs number by number."""

import numpy as np

from layer_cases.case import Case, spread

X, Y = spread(2, 3, 2), spread(2, 3, 2, seed=1)
PER_CHANNEL = spread(3, seed=2)


def dropped(top, x):
    """Return what Dropout leaves of x: nothing, or the number divided by the probability to be left."""
    return np.where(top == 0, 0, x / (1 - 0.25))


def columns(values):
    """Return numbers per channel, to be combined with X."""
    return values[None, :, None]


CASES = [
    Case("AbsVal", [X], np.abs),
    Case("BNLL", [X], lambda x: np.log1p(np.exp(x))),
    Case("Clip", [X], lambda x: np.clip(x, -0.5, 0.375), "clip_param { min: -0.5 max: 0.375 }"),
    Case("Dropout", [X], dropped, "dropout_param { dropout_ratio: 0.25 }", random=True),
    Case("Dropout", [X], lambda x: x, "phase: TEST"),
    Case("ELU", [X], lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)), "elu_param { alpha: 0.5 }"),
    Case("Exp", [X], np.exp),
    Case("Exp", [X], lambda x: 2 ** (0.5 + 3 * x), "exp_param { base: 2 scale: 3 shift: 0.5 }"),
    Case("Log", [X], lambda x: np.log(2 + x), "log_param { shift: 2 }"),
    Case("Log", [X], lambda x: np.log2(2 + 0.5 * x), "log_param { base: 2 scale: 0.5 shift: 2 }"),
    Case("Power", [X], lambda x: (2 + 0.5 * x) ** 1.5, "power_param { power: 1.5 scale: 0.5 shift: 2 }"),
    Case("Power", [X], lambda x: 3 * x + 1, "power_param { scale: 3 shift: 1 }"),
    Case("PReLU", [X], lambda x, a: np.where(x > 0, x, columns(a) * x), weights=[PER_CHANNEL]),
    Case(
        "PReLU",
        [X],
        lambda x, a: np.where(x > 0, x, a * x),
        "prelu_param { channel_shared: true }",
        weights=[np.float32(0.5)],
    ),
    Case("Python", [X], np.square, 'python_param { module: "layer_cases.python" layer: "Square" }'),
    Case("ReLU", [X], lambda x: np.maximum(x, 0)),
    Case("ReLU", [X], lambda x: np.where(x > 0, x, 0.25 * x), "relu_param { negative_slope: 0.25 }"),
    Case("Sigmoid", [X], lambda x: 1 / (1 + np.exp(-x))),
    Case("Swish", [X], lambda x: x / (1 + np.exp(-2 * x)), "swish_param { beta: 2 }"),
    Case("TanH", [X], np.tanh),
    Case("Threshold", [X], lambda x: x > 0.25, "threshold_param { threshold: 0.25 }"),
    # two inputs, or an input and weights
    Case("Bias", [X], lambda x, b: x + columns(b), weights=[PER_CHANNEL]),
    Case("Bias", [X, PER_CHANNEL], lambda x, b: x + columns(b)),
    Case("Scale", [X], lambda x, a: x * columns(a), weights=[PER_CHANNEL]),
    Case("Scale", [X, PER_CHANNEL], lambda x, a: x * columns(a)),
    Case(
        "Scale",
        [X],
        lambda x, a, b: x * columns(a) + columns(b),
        "scale_param { bias_term: true }",
        weights=[PER_CHANNEL, PER_CHANNEL[::-1].copy()],
    ),
    Case("Eltwise", [X, Y], np.add),
    Case("Eltwise", [X, Y], lambda x, y: 2 * x - y, "eltwise_param { coeff: 2 coeff: -1 }"),
    Case("Eltwise", [X, Y, X], lambda x, y, z: x * y * z, "eltwise_param { operation: PROD }"),
    Case("Eltwise", [X, Y + np.float32(0.0625)], np.maximum, "eltwise_param { operation: MAX }"),
]
