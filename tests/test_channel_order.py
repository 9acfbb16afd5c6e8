"""The order of the channels that `sparknet train` gives a net: told in a line, changed by --bgr."""

import numpy as np
import pytest

from sparknet.cli import main
from sparknet.formats import write
from sparknet.nets import MLP

FAST = ["--master", "none", "--rounds", "1", "--tau", "2", "--batch-size", "4", "--hidden", "3"]
NOTE = "nets of Caffe's model zoo were trained on B, G, R: give --bgr if this is one"


@pytest.fixture
def cifar(tmp_path):
    """Return a function that writes CIFAR-10 files with the channels in an order, and returns the value of --data."""

    def written(order):
        rng = np.random.default_rng(0)
        folder = tmp_path / f"cifar{order}"
        folder.mkdir()
        for name in ("data_batch_1", "test_batch"):
            images = rng.integers(0, 256, (16, 3, 32, 32), np.uint8)[:, ::order].reshape(16, -1)
            (folder / f"{name}.bin").write_bytes(
                np.hstack([np.arange(16, dtype=np.uint8)[:, None] % 10, images]).tobytes()
            )
        return f"cifar10:{folder}"

    return written


@pytest.fixture
def train(tmp_path, capsys):
    """Return a function that runs the command and returns exit code, printed lines, errors and the weights' bytes."""

    def trained(data, *options):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        code = main(["train", *FAST, "--data", data, "--out", str(out), *options])
        captured = capsys.readouterr()
        weights = (out / "weights.sparknet").read_bytes() if out.exists() else b""
        return code, captured.out.splitlines(), captured.err, weights

    return trained


@pytest.fixture
def caffemodel(tmp_path):
    path = tmp_path / "old.caffemodel"
    write(path, MLP((3, 32, 32), 10, (3,), seed=1).get_weights())
    return path


def test_bgr_trains_the_bits_of_images_that_are_stored_so(cifar, train):
    data = cifar(1)
    _, lines, _, swapped = train(data, "--bgr")
    assert lines[1].startswith(
        "data: uint8 R, G, B 0..255 -> B, G, R (--bgr) -> x 0.00390625 (as --net mlp has it) -> 0.."
    )
    assert swapped == train(cifar(-1))[3]
    assert swapped != train(data)[3]


def test_weights_of_caffe_on_colors_bring_one_line_about_the_order(cifar, train, caffemodel):
    data = cifar(1)
    _, lines, _, _ = train(data, "--weights", str(caffemodel))
    assert sum(NOTE in line for line in lines) == 1
    assert any(line.startswith("data: uint8 R, G, B 0..255 -> ") for line in lines)
    assert not any(NOTE in line for line in train(data, "--weights", str(caffemodel), "--bgr")[1])


def test_weights_of_other_programs_bring_none(cifar, train, tmp_path):
    path = tmp_path / "old.npz"
    write(path, MLP((3, 32, 32), 10, (3,), seed=1).get_weights())
    code, lines, _, _ = train(cifar(1), "--weights", str(path))
    assert (code, any(NOTE in line for line in lines)) == (0, False)


def test_bgr_of_gray_images_is_refused(train):
    code, lines, err, _ = train("mnist", "--bgr")
    assert (code, lines) == (2, [])
    assert "--bgr: the images of --data mnist are gray; expected channels R, G, B. Leave --bgr out" in err
