"""Layers that mix numbers: products with matrices, normalizations over axes, recurrent layers."""

import numpy as np

from layer_cases.case import Case, spread

X = spread(2, 3, 2, 2)
ROWS = spread(3, 4)
BIAS = spread(2, seed=4)
INDICES = np.array([2, 0, 2], np.float32)
STATISTICS = [spread(3, seed=5), np.float32([4, 2, 6]), np.float32([2])]
SEQUENCE, GOES_ON = spread(3, 2, 2), np.float32([[0, 0], [1, 1], [1, 0]])
LSTM = [spread(4 * 2, 2, seed=6), spread(4 * 2, seed=7), spread(4 * 2, 2, seed=8)]
RNN = [spread(2, 2, seed=6), spread(2, seed=7), spread(2, 2, seed=8), spread(2, 2, seed=9), spread(2, seed=10)]
GATES, CELLS = spread(1, 2, 4 * 2), spread(1, 2, 2, seed=1)


def normed(x, axes, eps=0.0):
    """Return x with mean 0 and variance 1 over axes."""
    x = x - x.mean(axes, keepdims=True)
    return x / np.sqrt(np.square(x).mean(axes, keepdims=True) + eps)


def by_statistics(x, mean, variance, count):
    """Return x normalized by sums of means and variances over ``count`` batches."""
    return (x - mean[:, None, None] / count) / np.sqrt(variance[:, None, None] / count + 1e-5)


def softmax(x, axis=1):
    """Return probabilities along an axis."""
    x = np.exp(x)
    return x / x.sum(axis, keepdims=True)


def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def lstm_unit(cells, gates, on):
    """Return the cells and the output of a step; gates in the order input, forget, output, candidate."""
    i, f, o, g = np.split(gates, 4, -1)
    cells = on[..., None] * sigmoid(f) * cells + sigmoid(i) * np.tanh(g)
    return [cells, sigmoid(o) * np.tanh(cells)]


def lstm(x, on, of_x, bias, of_h):
    """Return the outputs of all steps."""
    outputs, cells, h = [], np.zeros((2, 2)), np.zeros((2, 2))
    for step, goes_on in zip(x, on, strict=True):
        gates = step @ of_x.T + bias + (goes_on[:, None] * h) @ of_h.T
        cells, h = lstm_unit(cells, gates, goes_on)
        outputs.append(h)
    return np.stack(outputs)


def rnn(x, on, of_x, bias, of_h, to_output, output_bias):
    """Return the outputs of all steps."""
    outputs, h = [], np.zeros((2, 2))
    for step, goes_on in zip(x, on, strict=True):
        h = np.tanh(step @ of_x.T + bias + (goes_on[:, None] * h) @ of_h.T)
        outputs.append(np.tanh(h @ to_output.T + output_bias))
    return np.stack(outputs)


CASES = [
    Case("BatchNorm", [X], lambda x, *_: normed(x, (0, 2, 3), 1e-5), weights=STATISTICS, constant_weights=[0, 1, 2]),
    Case(
        "BatchNorm",
        [X],
        by_statistics,
        "batch_norm_param { use_global_stats: true }",
        weights=STATISTICS,
        constant_weights=[0, 1, 2],
    ),
    Case(
        "Embed",
        [INDICES],
        lambda rows, table, bias: table[rows.astype(int)] + bias,
        "embed_param { input_dim: 4 num_output: 2 }",
        weights=[spread(4, 2), BIAS],
        constant=[0],
    ),
    Case(
        "InnerProduct",
        [ROWS],
        lambda x, w, b: x @ w.T + b,
        "inner_product_param { num_output: 2 }",
        weights=[spread(2, 4, seed=1), BIAS],
    ),
    Case(
        "InnerProduct",
        [ROWS],
        lambda x, w: x @ w,
        "inner_product_param { num_output: 2 transpose: true bias_term: false }",
        weights=[spread(4, 2, seed=1)],
    ),
    Case(
        "LSTM",
        [SEQUENCE, GOES_ON],
        lstm,
        "recurrent_param { num_output: 2 }",
        weights=LSTM,
        constant=[1],
    ),
    Case("LSTMUnit", [CELLS, GATES, np.float32([[1, 0]])], lstm_unit, constant=[2], tops=2),
    Case("MVN", [X], lambda x: normed(x, (2, 3))),
    Case("MVN", [X], lambda x: normed(x, (1, 2, 3)), "mvn_param { across_channels: true }"),
    Case("MVN", [X], lambda x: x - x.mean((2, 3), keepdims=True), "mvn_param { normalize_variance: false }"),
    Case("RNN", [SEQUENCE, GOES_ON], rnn, "recurrent_param { num_output: 2 }", weights=RNN, constant=[1]),
    Case("Softmax", [X], softmax),
    Case("Softmax", [X], lambda x: softmax(x, 3), "softmax_param { axis: 3 }"),
]
