"""A Python layer for the case of the type Python."""

import caffe
import numpy as np
import pytest

pytestmark = pytest.mark.caffe  # so that sessions without Caffe leave this module alone


class Square(caffe.Layer):
    """Squares its input."""

    def setup(self, bottom, top):
        """Take what comes."""

    def reshape(self, bottom, top):
        """Give the top the shape of the bottom."""
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        """Square."""
        np.square(bottom[0].data, out=top[0].data)

    def backward(self, top, propagate_down, bottom):
        """Multiply by twice the input."""
        if propagate_down[0]:
            bottom[0].diff[...] = 2 * bottom[0].data * top[0].diff
