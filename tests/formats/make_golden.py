"""Write with Caffe what the tests read without it, to golden/. Run by hand, where Caffe is installed.

The tests with Caffe compare what it would write now.
"""

import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("golden")
NET = GOLDEN / "net.prototxt"
SHAPES = {"conv1": [(2, 1, 3, 3), (2,)], "inception_3a/1x1": [(1, 2, 1, 1), (1,)], "ip1": [(3, 4), (3,)]}


def values(shape, start):
    """Float32 elements that count in halves from ``start``: no rounding anywhere."""
    return (start + np.arange(np.prod(shape, dtype=int)) / 2).astype(np.float32).reshape(shape)


def weights():
    """Layer -> arrays that the golden files hold."""
    return {
        name: [values(shape, 10 * i + j) for j, shape in enumerate(shapes)]
        for i, (name, shapes) in enumerate(SHAPES.items())
    }


def mean():
    """The mean image that the golden file holds, (c, h, w)."""
    return values((3, 2, 2), 100)


def old_shape(shape):
    """The four lengths that Caffe of 2014 gave an array: those of biases and matrices come last."""
    return (1,) * (4 - len(shape)) + shape


def main():
    """Write all files."""
    from sparknet.nets.caffe.runtime import load

    caffe = load()
    net = caffe.Net(str(NET), caffe.TEST)
    old = caffe.proto.caffe_pb2.NetParameter(name="golden")
    for name, arrays in weights().items():
        described = old.layers.add(name=name, type="CONVOLUTION" if arrays[0].ndim == 4 else "INNER_PRODUCT")
        for blob, array in zip(net.params[name], arrays, strict=True):
            blob.data[...] = array
            num, channels, height, width = old_shape(array.shape)
            described.blobs.add(num=num, channels=channels, height=height, width=width, data=array.ravel())
    net.save(str(GOLDEN / "net.golden"))
    (GOLDEN / "old.golden").write_bytes(old.SerializeToString())
    image = caffe.io.array_to_blobproto(mean()[np.newaxis])
    (GOLDEN / "mean.golden").write_bytes(image.SerializeToString())


if __name__ == "__main__":
    sys.exit(main())
