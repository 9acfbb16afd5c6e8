"""Layers that slide over images: convolutions, pooling, local normalization, crops."""

import numpy as np

from layer_cases.case import Case, spread

X = spread(1, 2, 4, 4)
SMALL = spread(2, 2, 2, 3)
KERNELS, BIAS = spread(4, 2, 2, 2, seed=1), spread(4, seed=2)


def padded(x, pad, value=0.0):
    """Return x with ``pad`` rows and columns around."""
    return np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], constant_values=value)


def windows(x, kernel, stride=1, dilation=1):
    """Return the windows of x; shape (n, c, rows, columns, kernel, kernel)."""
    reach = dilation * (kernel - 1) + 1
    found = np.lib.stride_tricks.sliding_window_view(x, (reach, reach), (2, 3))
    return found[:, :, ::stride, ::stride, ::dilation, ::dilation]


def convolved(x, w, b=0.0, pad=0, stride=1, dilation=1):
    """Return the convolution of images of shape (n, c, h, w) with kernels of shape (o, c, k, k)."""
    found = windows(padded(x, pad), w.shape[2], stride, dilation)
    return np.einsum("nchwij,ocij->nohw", found, w) + np.reshape(b, (1, -1, 1, 1))


def grouped(x, w, b):
    """Return the convolution in two groups of channels."""
    halves = [convolved(x[:, i : i + 1], w[2 * i : 2 * i + 2], b[2 * i : 2 * i + 2]) for i in range(2)]
    return np.concatenate(halves, 1)


def deconvolved(x, w, b=0.0, stride=1):
    """Return the sum of kernels of shape (c, o, k, k), each times one number of x and at its place."""
    (height, width), kernel = x.shape[2:], w.shape[2]
    top = np.zeros((len(x), w.shape[1], stride * (height - 1) + kernel, stride * (width - 1) + kernel))
    for row in range(height):
        for column in range(width):
            place = top[:, :, row * stride : row * stride + kernel, column * stride : column * stride + kernel]
            place += np.einsum("nc,coij->noij", x[:, :, row, column], w)
    return top + np.reshape(b, (1, -1, 1, 1))


def columns(x, kernel, pad):
    """Return each window as a column."""
    found = windows(padded(x, pad), kernel)
    n, c, height, width = found.shape[:4]
    return found.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kernel * kernel, height, width)


def across_channels(x, size=3, alpha=0.5, beta=0.75, k=2.0):
    """Return x divided by the squares of the channels around."""
    squares = np.pad(np.square(x), [(0, 0), (size // 2, size // 2), (0, 0), (0, 0)])
    sums = np.lib.stride_tricks.sliding_window_view(squares, size, 1).sum(-1)
    return x / (k + alpha / size * sums) ** beta


def within_channel(x, size=3, alpha=0.5, beta=0.75):
    """Return x divided by the squares around, with zeros beyond the edges."""
    return x / (1 + alpha * windows(padded(np.square(x), size // 2), size).mean((4, 5))) ** beta


def averages(x):
    """Return means of 3 x 3 windows, a step of 2 apart, one of zeros around: each is divided by 9."""
    return windows(padded(x, 1), 3, 2).mean((4, 5))


def pyramid(x):
    """Return the maxima of the image and of its quarters, a row per image."""
    quarters = windows(x, 2, 2).max((4, 5))
    return np.concatenate([x.max((2, 3)), quarters.reshape(len(x), -1)], 1)


CASES = [
    Case(
        "Convolution",
        [X],
        lambda x, w, b: convolved(x, w, b, pad=1, stride=2),
        "convolution_param { num_output: 4 kernel_size: 2 pad: 1 stride: 2 }",
        weights=[KERNELS, BIAS],
    ),
    Case(
        "Convolution",
        [X],
        lambda x, w: convolved(x, w, dilation=2),
        "convolution_param { num_output: 4 kernel_size: 2 dilation: 2 bias_term: false }",
        weights=[KERNELS],
    ),
    Case(
        "Convolution",
        [X],
        grouped,
        "convolution_param { num_output: 4 kernel_size: 2 group: 2 }",
        weights=[KERNELS[:, :1].copy(), BIAS],
    ),
    Case("Crop", [X, SMALL[:1]], lambda x, _: x[:, :, 1:3, 1:4], "crop_param { offset: 1 }", constant=[1]),
    Case(
        "Deconvolution",
        [SMALL],
        lambda x, w, b: deconvolved(x, w, b, 2),
        "convolution_param { num_output: 3 kernel_size: 3 stride: 2 }",
        weights=[spread(2, 3, 3, 3, seed=1, step=0.03125), BIAS[:3].copy()],
    ),
    Case("Im2col", [X], lambda x: columns(x, 3, 1), "convolution_param { kernel_size: 3 pad: 1 }"),
    Case("LRN", [SMALL], across_channels, "lrn_param { local_size: 3 alpha: 0.5 k: 2 }"),
    Case("LRN", [SMALL], within_channel, "lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL }"),
    Case(
        "Pooling",
        [X],
        lambda x: windows(padded(x, 1, -np.inf), 2, 2).max((4, 5)),
        "pooling_param { pool: MAX kernel_size: 2 stride: 2 pad: 1 }",
    ),
    Case("Pooling", [X], averages, "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR }"),
    Case("Pooling", [X], lambda x: x.max((2, 3), keepdims=True), "pooling_param { global_pooling: true }"),
    Case("SPP", [X], pyramid, "spp_param { pyramid_height: 2 }"),
]
