"""Packing and sampling: nothing lost, nothing twice, images and labels together."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sparknet import DataError, Field, WeightCollection
from sparknet.data import pack
from sparknet.data.layout import check_shards, shard_length, split_positions
from sparknet.data.preprocess import Compose, Crop, Mirror, Scale
from sparknet.worker import Task, train_round

FIELDS = [Field("image", (2,), "int64"), Field("label", (), "int64")]


def packed(n, batch_size, shuffle=None):
    labels = np.arange(n)
    return pack({"image": np.stack([labels, -labels], 1), "label": labels}, FIELDS, batch_size, shuffle=shuffle)


def test_a_printed_data_set_says_its_size_and_shows_no_pixels():
    data = pack({"image": np.zeros((1234, 2), np.uint8), "label": np.zeros(1234)}, FIELDS, 100)
    nbytes = sum(array.nbytes for batch in data.batches for array in batch.values())
    assert repr(data) == f"<Dataset: 1,234 examples in 13 minibatches of 100, {nbytes:,} bytes>"


@given(st.integers(1, 60), st.integers(1, 20), st.none() | st.integers(0, 5))
def test_packing_keeps_every_example_once_with_images_and_labels_aligned(n, batch_size, shuffle):
    data = packed(n, batch_size, shuffle)
    labels = np.concatenate([b["label"].to_host() for b in data.batches])
    images = np.concatenate([b["image"].to_host() for b in data.batches])
    assert sorted(labels.tolist()) == list(range(n))
    assert images.tolist() == np.stack([labels, -labels], 1).tolist()
    assert [len(b["label"]) for b in data.batches[:-1]] == [batch_size] * (data.num_batches - 1)
    assert data.count() == n


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 6))
def test_shards_are_disjoint_cover_everything_and_differ_by_at_most_one(n, batch_size, workers):
    data = packed(n, batch_size)
    shards = [data.shard(k, workers) for k in range(workers)]
    lengths = [len(s) for s in shards]
    assert lengths == [shard_length(data.num_batches, k, workers) for k in range(workers)]
    assert max(lengths) - min(lengths) <= 1
    assert sorted(id(b) for s in shards for b in s) == sorted(id(b) for b in data.batches)


def test_rows_and_columns_pack_alike():
    rows = [([i, -i], i) for i in range(7)]
    for a, b in zip(pack(rows, FIELDS, 3, shuffle=4).batches, packed(7, 3, 4).batches, strict=True):
        assert a["image"].to_host().tobytes() == b["image"].to_host().tobytes()


def test_a_shuffle_depends_on_its_seed_alone():
    order = [packed(50, 50, seed).batches[0]["label"].to_host().tolist() for seed in (1, 1, 2, None)]
    assert order[0] == order[1] != order[2]
    assert order[3] == list(range(50))


def test_shuffle_and_its_seed_have_names_of_their_own():
    def labels(**options):
        data = pack({"image": np.zeros((9, 2)), "label": np.arange(9)}, FIELDS, 4, **options)
        return [label for batch in data.batches for label in batch["label"].to_host().tolist()]

    assert labels(shuffle=True, seed=7) == labels(shuffle=np.True_, seed=np.int64(7)) == labels(shuffle=7)
    assert labels(shuffle=True) == labels(shuffle=True, seed=0) == labels(shuffle=0) != labels(shuffle=1)
    assert labels(shuffle=False, seed=7) == labels(shuffle=False) == labels(shuffle=None) == labels() == [*range(9)]
    with pytest.raises(
        DataError, match=r"seed: got seed=3 and shuffle=7, which is a seed too; expected shuffle=True, seed=3"
    ):
        labels(shuffle=7, seed=3)
    with pytest.raises(DataError, match=r"seed: got seed=3 without shuffle; expected shuffle=True, seed=3"):
        labels(seed=3)
    for seed in (-1, 1.0, True, "7"):
        with pytest.raises(DataError, match=r"seed: got .*, expected a whole number of at least 0"):
            labels(shuffle=True, seed=seed)


def test_the_number_of_examples_has_the_name_that_it_has_on_spark():
    assert packed(7, 3).num_examples == packed(7, 3).count() == 7


def test_mistakes_in_packing_are_named():
    with pytest.raises(DataError, match="batch_size: got 0, expected a whole number of at least 1"):
        packed(3, 0)
    with pytest.raises(DataError, match="no rows"):
        pack([], FIELDS, 2)
    with pytest.raises(DataError, match="no column 'label'; it has 'image'"):
        pack({"image": [[1, 2]]}, FIELDS, 2)
    with pytest.raises(DataError, match="shuffle: got -1, expected a whole number of at least 0"):
        packed(3, 2, -1)
    image = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(DataError, match=r"got a value of shape \(8, 8, 3\)"):  # never reshaped by guess
        pack({"image": image}, [Field("image", (3, 8, 8), "uint8")], 2)
    with pytest.raises(DataError, match=r"same first length"):
        pack({"image": [[1, 2]], "label": [1, 2]}, FIELDS, 2)
    with pytest.raises(DataError, match="column 'label' is a int"):
        pack({"image": [[1, 2]], "label": 1}, FIELDS, 2)
    for fields in ("data", ["data"], Field("data"), None):
        with pytest.raises(DataError, match=r"fields: got .*, expected a list such as \[Field"):
            pack([[1, 2]], fields, 2)
    for preprocessor in ("x", [Scale("image", 2)], Scale, lambda batch: batch):
        with pytest.raises(DataError, match=r"preprocessor: got .*, expected one such as Scale"):
            pack({"image": [[1, 2]], "label": [1]}, FIELDS, 2, preprocessor)
    with pytest.raises(DataError, match=r"a row has 3 values, expected 2: .* need names"):
        pack([("key", [1, 2], 1)], FIELDS, 2)
    with pytest.raises(DataError, match="9 workers for 3 minibatches of 2 examples"):
        check_shards(3, 9, 2)


# ---- columns by other names
def test_columns_of_other_names_are_mapped_to_the_fields():
    images, labels = [[1, 2], [3, 4]], [5, 6]
    mapping = {"image": "pixels", "label": "y"}
    by_column = pack({"pixels": images, "y": labels, "image": "of no use"}, FIELDS, 2, columns=mapping)
    by_row = pack([{"pixels": i, "y": y} for i, y in zip(images, labels, strict=True)], FIELDS, 2, columns=mapping)
    for data in (by_column, by_row):
        assert {name: a.to_host().tolist() for name, a in data.batches[0].items()} == {"image": images, "label": labels}


def test_one_column_may_feed_two_fields():
    fields = [Field("data", (2,)), Field("target", (2,))]
    (batch,) = pack({"x": [[1, 2]]}, fields, 1, columns={"data": "x", "target": "x"}).batches
    assert batch["data"].to_host().tolist() == batch["target"].to_host().tolist() == [[1, 2]]


def test_fields_that_contradict_each_other_or_their_columns_are_refused():
    with pytest.raises(DataError, match="got the field 'label' twice; expected one Field for each input"):
        pack([], [*FIELDS, FIELDS[1]], 2)
    with pytest.raises(DataError, match="got no field"):
        pack([], [], 2)
    with pytest.raises(DataError, match="columns: got 'lable'; expected names of fields: 'image', 'label'"):
        pack([], FIELDS, 2, columns={"lable": "y"})


# ---- parting a set in two
@given(n=st.integers(2, 60), batch_size=st.integers(1, 20), fraction=st.floats(0.05, 0.95), seed=st.integers(0, 2**40))
def test_a_split_is_exact_disjoint_and_whole_and_keeps_the_order(n, batch_size, fraction, seed):
    assume(0 < round(n * fraction) < n)
    parts = packed(n, batch_size).train_test_split(fraction, seed)
    labels = [np.concatenate([b["label"].to_host() for b in part.batches]).tolist() for part in parts]
    assert len(labels[1]) == round(n * fraction)
    assert sorted(labels[0] + labels[1]) == list(range(n))
    assert [sorted(part) for part in labels] == labels
    for part in parts:
        assert [len(b["label"]) for b in part.batches[:-1]] == [batch_size] * (part.num_batches - 1)
        assert all(b["image"].to_host()[:, 0].tolist() == b["label"].to_host().tolist() for b in part.batches)


def test_a_split_depends_on_its_seed():
    tests = [packed(40, 40).train_test_split(0.5, seed)[1].batches[0]["label"].to_host().tolist() for seed in (1, 1, 2)]
    assert tests[0] == tests[1] != tests[2]


def test_share_and_seed_of_a_split_have_the_names_of_scikit_learn_too_and_the_former_one():
    def tests(*args, **options):
        return packed(40, 40).train_test_split(*args, **options)[1].batches[0]["label"].to_host().tolist()

    expected = tests(0.3, 7)
    assert (
        tests(test_size=0.3, seed=7) == tests(test_size=0.3, random_state=7) == tests(0.3, random_state=7) == expected
    )
    assert tests(fraction=0.3, seed=7) == expected != tests(test_size=0.3) == tests(0.3, 0)
    with pytest.raises(
        DataError, match=r"train_test_split\(\): got test_size=0.3 and fraction=0.3, which are the same"
    ):
        tests(0.3, fraction=0.3)
    with pytest.raises(DataError, match=r"train_test_split\(\): got seed=1 and random_state=2, which are the same"):
        tests(0.3, 1, random_state=2)
    with pytest.raises(DataError, match="None of 40 examples leaves a set empty; expected a share between 0 and 1"):
        tests()


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, 0.001, 0.999])
def test_a_split_that_leaves_a_set_empty_is_refused(fraction):
    with pytest.raises(DataError, match="of 10 examples leaves a set empty; expected a share between 0 and 1"):
        packed(10, 2).train_test_split(fraction)


def test_a_split_needs_a_seed_that_is_one():
    with pytest.raises(DataError, match="seed: got -1, expected a whole number"):
        packed(10, 2).train_test_split(0.5, -1)


@pytest.mark.parametrize("fraction", [float("nan"), float("inf"), 0, 1, -0.5, "half", None])
def test_a_share_that_leaves_a_set_empty_or_is_no_number_is_refused(fraction):
    with pytest.raises(DataError, match=r"expected a share between 0 and 1"):
        split_positions(10, fraction, 0)


# ---- fed to a loop of one's own
IMAGES = np.random.default_rng(2).integers(0, 256, (23, 3, 6, 6), np.uint8)
STEPS = Compose(Crop("data", 4, 4), Mirror("data"), Scale("data", 0.5))


class Seen:
    """A net that keeps the batches that it is given."""

    def __init__(self):
        self.batches, self.iteration = [], 0

    def get_weights(self):
        return WeightCollection({})

    def get_state(self):
        return {}

    def set_weights(self, weights):
        pass

    def set_state(self, state):
        pass

    def step(self, batch):
        self.batches.append(batch["data"].to_host().copy())
        return 0.0


@given(
    batch_size=st.integers(1, 24),
    workers=st.integers(1, 3),
    epochs=st.integers(0, 3),
    seed=st.integers(0, 5),
)
def test_a_feed_gives_the_minibatches_that_a_worker_would_train_on(batch_size, workers, epochs, seed):
    data = pack({"data": IMAGES}, [Field("data", (3, 6, 6), "uint8")], batch_size, STEPS)
    assume(workers <= data.num_batches)
    worker, net = workers - 1, Seen()
    shard = data.shard(worker, workers)
    task = Task(worker=worker, num_batches=len(shard), first_step=0, tau=epochs * len(shard), seed=seed)
    train_round(net, shard, task, net.get_weights(), {}, STEPS)
    with data.feed(epochs=epochs, seed=seed, worker=worker, workers=workers) as batches:
        fed = [batch["data"].to_host() for batch in batches]
    assert [a.tobytes() for a in fed] == [a.tobytes() for a in net.batches]
    assert len(fed) == epochs * len(shard)


def test_a_feed_for_testing_is_in_order_and_one_without_an_end_goes_on():
    data = pack({"data": IMAGES}, [Field("data", (3, 6, 6), "uint8")], 5, STEPS)
    with data.feed(train=False, epochs=2) as batches:
        whole = np.concatenate([batch["data"].to_host() for batch in batches])
    assert np.array_equal(whole, np.concatenate([IMAGES, IMAGES])[:, :, 1:5, 1:5] * np.float32(0.5))
    with data.feed(epochs=None) as batches:
        assert len(list(islice(batches, 17))) == 17
    with pytest.raises(DataError, match="feed\\(\\): got epochs=-1, expected a whole number of at least 0, or None"):
        data.feed(epochs=-1)
    for worker, workers in ((2, 2), (-1, 2), (0, 0), (0.5, 1)):
        with pytest.raises(
            DataError, match=r"got worker=.* of workers=.*, expected a whole number from 0 to workers - 1"
        ):
            data.feed(worker=worker, workers=workers)
    with pytest.raises(DataError, match="9 workers for 5 minibatches"):
        data.feed(workers=9, train=False)


# ---- short minibatches
@given(n=st.integers(1, 40), batch_size=st.integers(1, 12), shuffle=st.none() | st.integers(0, 3))
def test_dropping_leaves_the_whole_minibatches_of_the_same_packing(n, batch_size, shuffle):
    assume(n >= batch_size)
    labels = {"image": np.zeros((n, 2), int), "label": np.arange(n)}
    kept = pack(labels, FIELDS, batch_size, shuffle=shuffle, ragged="drop")
    every = packed(n, batch_size, shuffle)
    assert (kept.count(), kept.num_batches) == (n - n % batch_size, n // batch_size)
    for ours, theirs in zip(kept.batches, every.batches, strict=False):
        assert ours["label"].to_host().tolist() == theirs["label"].to_host().tolist()


def test_what_is_dropped_is_logged_and_a_set_of_nothing_refused(caplog):
    columns = {"image": np.zeros((7, 2), int), "label": np.arange(7)}
    pack(columns, FIELDS, 3, ragged="drop")
    assert caplog.messages == [
        "pack(): 1 of 7 examples are left out: they make no whole minibatch of 3 (ragged='drop')"
    ]
    pack(columns, FIELDS, 7, ragged="drop")
    assert len(caplog.messages) == 1
    with pytest.raises(DataError, match=r"ragged='drop' leaves out all 7 examples, which make no whole minibatch of 8"):
        pack(columns, FIELDS, 8, ragged="drop")


def test_both_parts_of_a_split_keep_the_choice():
    columns = {"image": np.zeros((25, 2), int), "label": np.arange(25)}
    train, test = pack(columns, FIELDS, 4, ragged="drop").train_test_split(0.3, seed=1)
    assert (train.count(), test.count()) == (16, 4)  # 24 in all: 17 and 7 before
    padded = pack(columns, FIELDS, 4, ragged="pad", padding={"label": -1})
    assert [(part.ragged, part.padding) for part in padded.train_test_split(0.3)] == [("pad", {"label": -1})] * 2


def test_a_feed_pads_short_minibatches_and_asks_with_what():
    columns = {"image": np.ones((5, 2), int), "label": np.arange(5)}
    with pack(columns, FIELDS, 4, ragged="pad", padding={"label": -1}).feed(train=False) as batches:
        assert [batch["label"].to_host().tolist() for batch in batches] == [[0, 1, 2, 3], [4, -1, -1, -1]]
    with pytest.raises(DataError, match=r"feed\(\): ragged='pad' does not say what with"):
        pack(columns, FIELDS, 4, ragged="pad").feed()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"ragged": "cut"}, "ragged='cut', expected one of 'drop', 'pad', 'reshape'"),
        ({"padding": {"label": 0}}, r"padding={'label': 0} with ragged=None; expected ragged='pad'"),
        ({"ragged": "drop", "padding": {}}, "with ragged='drop'; expected ragged='pad'"),
        ({"ragged": "pad", "padding": {"y": 0}}, "padding for 'y'; expected names of fields: 'image', 'label'"),
    ],
)
def test_choices_that_are_none_are_refused(options, match):
    with pytest.raises(DataError, match=match):
        pack({"image": np.ones((5, 2), int), "label": np.arange(5)}, FIELDS, 4, **options)
