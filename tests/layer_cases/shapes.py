"""Layers that move numbers: into another shape, together, apart, a part of them; and sums over axes."""

import numpy as np

from layer_cases.case import Case, spread

X, Y = spread(2, 4, 3), spread(2, 4, 3, seed=1)
ROWS = np.array([1, 0, 1], np.float32)
CHOSEN = np.array([0, 1, 1], np.float32)
THREE = spread(3, 2, seed=3)


def flat(x):
    """Return the rows of x with one axis after the batch's."""
    return x.reshape(len(x), -1)


CASES = [
    Case("ArgMax", [X], lambda x: flat(x).argmax(1)[:, None, None]),
    Case("ArgMax", [X], lambda x: x.argmax(1)[:, None], "argmax_param { axis: 1 }"),
    Case("BatchReindex", [X, ROWS], lambda x, rows: x[rows.astype(int)], constant=[1]),
    Case("Concat", [X, Y], lambda x, y: np.concatenate([x, y], 1)),
    Case("Concat", [X, Y], lambda x, y: np.concatenate([x, y], 2), "concat_param { axis: -1 }"),
    Case("Filter", [THREE, CHOSEN], lambda x, chosen: x[chosen != 0], constant=[1]),
    Case("Flatten", [X], flat),
    Case("Flatten", [X], lambda x: x.reshape(-1, 3), "flatten_param { axis: 0 end_axis: 1 }"),
    Case("Reduction", [X], np.sum),
    Case("Reduction", [X], lambda x: 2 * x.sum(2), "reduction_param { axis: 2 coeff: 2 }"),
    Case("Reduction", [X], lambda x: np.abs(x).sum((1, 2)), "reduction_param { axis: 1 operation: ASUM }"),
    Case("Reduction", [X], lambda x: np.square(x).sum(2), "reduction_param { axis: 2 operation: SUMSQ }"),
    Case("Reduction", [X], lambda x: x.mean((1, 2)), "reduction_param { axis: 1 operation: MEAN }"),
    Case("Reshape", [X], lambda x: x.reshape(2, 2, 6), "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }"),
    Case("Silence", [X], lambda _: [], tops=0),
    Case("Slice", [X], lambda x: [x[:, :2], x[:, 2:]], tops=2),
    Case("Slice", [X], lambda x: [x[..., :1], x[..., 1:]], "slice_param { axis: 2 slice_point: 1 }", tops=2),
    Case("Split", [X], lambda x: [x, x, x], tops=3),
    Case("Tile", [X], lambda x: np.tile(x, (1, 1, 2)), "tile_param { axis: 2 tiles: 2 }"),
]
