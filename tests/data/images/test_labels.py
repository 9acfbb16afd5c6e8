"""Label files, and which label an image has by its path."""

import pytest

from sparknet import DataError
from sparknet.data.images.labels import label_of, parse_labels


def test_a_label_file_has_a_name_and_a_number_on_each_line():
    assert parse_labels(["a b.jpg 3\n", "", "./c.jpg\t4", "d.jpg   -1 "], "x") == {
        "a b.jpg": 3,
        "c.jpg": 4,
        "d.jpg": -1,
    }
    with pytest.raises(DataError, match=r"train.txt, line 2: got 'b.jpg', expected a name and a whole number"):
        parse_labels(["a.jpg 1", "b.jpg"], "train.txt")
    with pytest.raises(DataError, match=r"line 1: got 'a.jpg 1.5', expected"):
        parse_labels(["a.jpg 1.5"], "train.txt")
    with pytest.raises(DataError, match="line 3: 'a' has the label 2, and 1 on an earlier line"):
        parse_labels(["a 1", "a 1", "a 2"], "train.txt")


def test_a_mark_of_the_byte_order_is_no_part_of_a_name():
    assert parse_labels(["\ufeffa.jpg 1", "b.jpg 2"], "train.txt") == {"a.jpg": 1, "b.jpg": 2}
    assert parse_labels(["\ufeff", "a.jpg 1"], "train.txt") == {"a.jpg": 1}


def test_a_label_is_found_by_path_then_by_its_longest_end_then_by_folder():
    labels = {"cat": 1, "x.png": 2, "cat/x.png": 3, "file:/data/cat/x.png": 4}
    for name, label in [("file:/data/cat/x.png", 4), ("s3://b/cat/x.png", 3), ("/dog/x.png", 2), ("/cat/y.png", 1)]:
        assert label_of(name, labels) == label
    assert label_of("hdfs://host/val.tar/x.png", labels) == 2
    assert label_of("cat.tar/7.png", labels) == 1
    with pytest.raises(
        DataError, match=r"image '/d/7.png' has no label: .* '7.png', nor its folder .* 4 names .*'cat'"
    ):
        label_of("/d/7.png", labels)
