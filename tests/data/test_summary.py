"""The text of a preprocessor: equal for what does the same, in any process; another one for what does not."""

import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sparknet import NDArray
from sparknet.data import ImageDecoder
from sparknet.data.preprocess import Compose, Decode, LabelMap, Resize, Scale, SubtractMean
from sparknet.data.preprocess.summary import summary


class Own:
    def __init__(self, **held):
        self.__dict__.update(held)


@dataclass
class Kept:
    names: frozenset
    path: Path


class Ring:
    def __init__(self):
        self.itself = self


def steps():
    return [
        None,
        Scale("data", 0.5),
        Scale("data", np.float32(0.25)),
        Compose(Scale("data", 0.5), Compose(Resize("data", 4, 4))),
        Decode("data", ImageDecoder(4, 4)),
        LabelMap("label", {i: i for i in range(1000)}),
        LabelMap("label", {i: 999 - i for i in range(1000)}),
        SubtractMean("data", np.arange(100.0)),
        SubtractMean("data", np.arange(100.0)[::-1]),
        SubtractMean("data", [104, 117, 123]),
        Own(a=b"abc", step=Scale("data", 2)),
        Own(a=b"abd", step=len),
        Own(step=partial(min, 1)),
        Own(step=partial(min, 2)),
        Own(odd=np.array([None] * 9)),
        Kept(frozenset("abcdefgh"), Path("mean")),
        Ring(),
    ]


def test_equal_steps_have_equal_texts_and_others_another():
    texts = [summary(step) for step in steps()]
    assert texts == [summary(step) for step in steps()]
    assert len(set(texts)) == len(texts)
    assert max(map(len, texts)) < 300


def test_where_an_array_is_does_not_matter():
    mean = np.arange(100.0)
    assert summary(SubtractMean("data", NDArray(mean))) == summary(SubtractMean("data", mean))


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_has_the_same_text(seed):
    there = "print(summary(frozenset('abcdefgh')), summary(frozenset(map(str, range(99)))))"
    code = f"from sparknet.data.preprocess.summary import summary; {there}"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == f"{summary(frozenset('abcdefgh'))} {summary(frozenset(map(str, range(99))))}"


class Refuses:
    """An array that its library does not give to numpy, as a tensor of torch that has a gradient."""

    def __init__(self):
        self.size = 3

    def __array__(self, *_, **__):
        raise RuntimeError


def test_what_is_no_array_for_numpy_and_what_is_a_class_are_named():
    assert summary(partial(max, Refuses())).endswith("args=[Refuses(size=3)], keywords={})")
    assert "args=[NDArray]" in summary(partial(max, NDArray))


def test_a_long_text_is_shown_as_a_digest():
    one, other = (summary(partial(max, "x" * 1000 + end)) for end in "ab")
    assert one != other
    assert "1001 characters" in one
    assert len(one) < 100
