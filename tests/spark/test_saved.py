"""Saved data sets: minibatches and manifest belong together, and what does not is refused by the name of its file."""

import copy
import json
import os
import re
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import ClusterError, DataError, Field, FormatError, NDArray, dumps, inspect
from sparknet.clusters.spark.packed.manifest import FORMAT, Manifest
from sparknet.data.layout import Layout
from sparknet.spark import load_packed, pack

pytestmark = pytest.mark.spark

FIELDS = [Field("x", (2,)), Field("label", (), "int64")]
MADE = Manifest(tuple(FIELDS), Layout(50, 4, 3), {"ragged": "pad", "padding": {"label": -1}})
OLD = {
    "format": FORMAT,
    "fields": [["x", [2], "float32"], ["label", [], "int64"]],
    "examples": 50,
    "batch_size": 4,
    "shards": 3,
    "ragged": None,
    "padding": None,
}


def batch(rows):
    return {"x": NDArray(np.zeros((rows, 2), "f4")), "label": NDArray(np.arange(rows))}


def rewrite(path, content):
    """Write a file of Hadoop's, without the checksum file beside it."""
    (path.parent / f".{path.name}.crc").unlink(missing_ok=True)
    path.chmod(0o600)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


# ---- the manifest, without Spark
def test_what_is_written_is_read_and_every_text_has_an_identity_of_its_own():
    text, manifest = MADE.written()
    assert Manifest.parsed(text) == manifest
    assert text != MADE.written()[0]
    number, message = manifest.signed((12, dumps(batch(2))))
    assert manifest.checked((number, message)) == (12, message)
    assert inspect(message).metadata == {"data_set": manifest.digest}


def test_a_manifest_of_an_older_version_takes_messages_without_an_identity_and_no_others():
    old = Manifest.parsed(json.dumps(OLD))
    assert old.digest is None
    old.checked((0, dumps(batch(4))))
    with pytest.raises(DataError, match="minibatch 0: it was not saved with this manifest"):
        old.checked(MADE.written()[1].signed((0, dumps(batch(4)))))


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ((-1, dumps(batch(4))), "got a pair of int and bytes"),
        ((None, dumps(batch(4))), "got a pair of NoneType and bytes"),
        ((0, "/etc/passwd"), "got a pair of int and str"),
        ((13, dumps(batch(4))), "minibatch 13: the manifest says that there are 13"),
        ((0, dumps(batch(3))), r"it holds 'x' float32 \(3, 2\), .*; expected 'x' float32 \(4, 2\)"),
        ((12, dumps(batch(4))), r"minibatch 12: it holds .*; expected 'x' float32 \(2, 2\)"),
        ((0, dumps({"x": batch(4)["x"]})), "minibatch 0: it holds"),
        ((0, dumps({**batch(4), "more": np.zeros(4)})), "minibatch 0: it holds"),
        ((0, dumps({**batch(4), "x": np.zeros((4, 2), "i4")})), r"holds 'x' int32 \(4, 2\)"),
        ((0, dumps(np.zeros(4))), "minibatch 0: it holds"),
        ((0, dumps(batch(4))), "minibatch 0: it was not saved with this manifest"),
        (MADE.written()[1].signed((0, dumps(batch(4)))), "it is of another data set, or the manifest was changed"),
        ((0, b"text"), "minibatch 0: "),
    ],
)
def test_a_minibatch_that_is_none_of_the_set_is_refused(item, text):
    with pytest.raises((DataError, FormatError), match=text):
        MADE.written()[1].checked(item)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([10**6, 10**400, -1, "int32"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(["label"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def parsed_or_refused(text):
    """Return whether a text is taken; nothing but a DataError may come, and what is taken can be worked with."""
    try:
        found = Manifest.parsed(text)
    except DataError:
        return False
    assert found.layout.num_batches > 0
    assert found.layout.shards > 0
    written, again = found.written()
    assert Manifest.parsed(written) == again
    return True


@given(value=JSON, place=st.integers(0, 30), gone=st.booleans())
def test_a_changed_value_anywhere_in_a_manifest_is_a_data_error_or_a_right_manifest(value, place, gone):
    facts = copy.deepcopy({**OLD, "padding": {"label": -1}, "ragged": "pad", "identity": "0"})
    places = [(facts, key) for key in facts]
    places += [(each, i) for each in facts["fields"] for i in range(3)]
    places += [(facts["fields"], 0), (facts["padding"], "label"), (facts["fields"][0][1], 0)]
    inside, key = places[place % len(places)]
    if gone:
        del inside[key]
    else:
        inside[key] = value
    parsed_or_refused(json.dumps(facts))


@given(place=st.floats(0, 1, exclude_max=True), text=st.text(max_size=3), cut=st.integers(0, 5))
def test_a_changed_text_is_a_data_error_or_another_manifest_than_the_minibatches_have(place, text, cut):
    written, manifest = MADE.written()
    begin = int(place * len(written))
    changed = written[:begin] + text + written[begin + cut :]
    message = manifest.signed((0, dumps(batch(4))))
    if parsed_or_refused(changed) and changed != written:
        with pytest.raises(DataError, match="minibatch 0: "):
            Manifest.parsed(changed).checked(message)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "7", "[]", "null", '"' + FORMAT + '"', "\ud800", "9" * 5000])
def test_what_is_no_manifest_is_a_data_error(text):
    assert not parsed_or_refused(text)


# ---- on Spark
@pytest.fixture(scope="module")
def sets(spark, tmp_path_factory):
    """Two sets of the same fields and sizes, and one of another version."""
    folder = tmp_path_factory.mktemp("sets")
    for name, first in (("one", 0), ("other", 1000)):
        rows = [(np.full(2, first + i, "f4"), first + i) for i in range(50)]
        packed = pack(spark.sparkContext.parallelize(rows, 3), FIELDS, 4, shards=3)
        packed.save(folder / name)
        if name == "one":
            packed.rdd.saveAsSequenceFile(f"{folder}/old/batches")  # as older versions did
            spark.sparkContext.parallelize([json.dumps(OLD)], 1).saveAsTextFile(f"{folder}/old/manifest")
        packed.unpersist()
    return folder


@pytest.fixture
def copied(sets, tmp_path):
    for name in ("one", "old"):
        shutil.copytree(sets / name, tmp_path / name)
    return tmp_path


def labels(packed):
    try:
        return [n for each in packed.to_local().batches for n in each["label"].to_host().tolist()]
    finally:
        packed.unpersist()


def parts(folder):
    return sorted((folder / "batches").glob("part-*"))


def test_a_shards_file_of_another_set_is_refused_and_one_under_the_name_of_another_is_not(spark, sets, copied):
    mine = parts(copied / "one")
    contents = [path.read_bytes() for path in mine]
    rewrite(mine[0], contents[1])
    rewrite(mine[1], contents[0])
    assert labels(load_packed(spark, copied / "one")) == list(range(50))  # every minibatch has its number
    for number in (0, 2):  # the first minibatch is looked at before any work, the others by the tasks
        rewrite(mine[number], parts(sets / "other")[number].read_bytes())
        with pytest.raises((DataError, ClusterError), match=r"minibatch \d+: it was not saved with this manifest"):
            load_packed(spark, copied / "one")
        rewrite(mine[number], contents[number])


@pytest.mark.parametrize("name", ["one", "old"])
@pytest.mark.parametrize(("shards", "text"), [(3, r"got (examples twice|\d+ of its 16)"), (1, "got examples twice")])
def test_a_shards_file_that_is_there_twice_in_the_place_of_another_is_refused(spark, copied, name, shards, text):
    found = parts(copied / name)
    rewrite(found[1], found[2].read_bytes())  # as many examples: in one shard, their number is still right
    with pytest.raises(ClusterError, match=rf"shard \d {text}"):
        load_packed(spark, copied / name, shards=shards)


def test_a_manifest_of_another_set_is_refused(spark, sets, copied):
    rewrite(copied / "one" / "manifest" / "part-00000", (sets / "other" / "manifest" / "part-00000").read_bytes())
    with pytest.raises(
        DataError, match=r"one/manifest does not fit .*one/batches: minibatch \d+: it was not saved with"
    ):
        load_packed(spark, copied / "one")


def test_a_set_of_an_older_version_is_loaded_and_that_is_said_once(spark, sets, caplog):
    assert labels(load_packed(spark, sets / "old")) == list(range(50))
    (record,) = (each for each in caplog.records if "older sparknet" in each.message)
    assert "old was saved by an older sparknet, and its minibatches carry no identity" in record.message


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"shards": 10**6}, r"says 1000000 shards, and .*batches has files of 3"),
        ({"shards": -1}, "shards is -1, expected a whole number from 1 to"),
        ({"shards": "3"}, "shards is '3', expected a whole number"),
        ({"examples": None}, "examples is None"),
        ({"examples": 10**30}, "examples is 1000"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 5}, r"minibatch 0: it holds 'x' float32 \(4, 2\)"),
        ({"fields": [["x", [2], "int32"], ["label", [], "int64"]]}, r"expected 'x' int32 \(4, 2\)"),
        ({"fields": [["x", [2], "float32"]]}, "minibatch 0: it holds"),
        ({"fields": [["x", [2.5], "float32"]]}, "a field is "),
        ({"fields": [["x", [2], "object"]]}, "got dtype 'object'"),
        ({"ragged": "never"}, "ragged='never'"),
        ({"ragged": "pad", "padding": {"label": "x"}}, "padding of 'label' is 'x', expected a number"),
        ({"padding": [1]}, r"ragged and padding are None and \[1\]"),
    ],
)
def test_a_manifest_that_lies_is_told_by_its_file_before_any_work(spark, copied, changes, text):
    """Of an older version, so that nothing but what it says is wrong."""
    rewrite(copied / "old" / "manifest" / "part-00000", json.dumps({**OLD, **changes}))
    with pytest.raises(DataError, match=rf"load_packed\(\): .*old/manifest .*{text}"):
        load_packed(spark, copied / "old")


@pytest.mark.parametrize("examples", [49, 51, 20, 10**9])
def test_a_manifest_that_miscounts_is_refused(spark, copied, examples):
    rewrite(copied / "old" / "manifest" / "part-00000", json.dumps({**OLD, "examples": examples}))
    with pytest.raises(ClusterError, match=r"shard \d got \d+ of its|minibatch \d+: (it holds|the manifest says)"):
        load_packed(spark, copied / "old")


def test_minibatches_that_are_no_sequence_files_are_a_cluster_error(spark, copied):
    shutil.rmtree(copied / "one" / "batches")
    with pytest.raises(ClusterError, match="the job failed on the cluster"):
        load_packed(spark, copied / "one")
    (copied / "one" / "batches").mkdir()
    (copied / "one" / "batches" / "part-00000").write_text("text")
    with pytest.raises((ClusterError, DataError), match=r"the job failed on the cluster|has files of"):
        load_packed(spark, copied / "one")


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))  # of 107 bytes at most


STRANGE = {
    "a FIFO (a pipe)": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": bound_socket,
    "a directory": Path.mkdir,
}


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_file_in_the_place_of_one_or_beside_it_is_refused_and_not_waited_for(
    spark, copied, monkeypatch, kind
):
    monkeypatch.chdir(copied)
    for name in ("manifest/part-00000", "batches/part-00001", "batches/.part-00001.crc", "batches/part-00009"):
        file, contents = Path("one", name), None
        if file.exists():
            contents = file.read_bytes()
            file.unlink()
        STRANGE[kind](file)
        with pytest.raises(DataError, match=rf"load_packed\(\): .*one/{name} is {re.escape(kind)}, expected"):
            load_packed(spark, copied / "one")
        file.rmdir() if kind == "a directory" else file.unlink()
        if contents is not None:
            file.write_bytes(contents)
    assert labels(load_packed(spark, copied / "one")) == list(range(50))


def test_folders_that_spark_passes_over_are_no_reason_to_refuse_a_set(spark, copied):
    for name in (".snapshot", "_temporary"):
        (copied / "one" / "batches" / name).mkdir()
    assert labels(load_packed(spark, copied / "one")) == list(range(50))


@pytest.mark.parametrize("folder", ["manifest", "batches"])
def test_a_fifo_in_the_place_of_a_folder_is_refused_and_not_waited_for(spark, copied, folder):
    shutil.rmtree(copied / "one" / folder)
    os.mkfifo(copied / "one" / folder)
    with pytest.raises(DataError, match=rf"load_packed\(\): .*one/{folder} is a FIFO"):
        load_packed(spark, f"file://{copied}/one")


def test_a_set_with_more_shards_than_minibatches_is_saved_and_loaded(spark, tmp_path):
    packed = pack(spark.sparkContext.parallelize([(np.zeros(2, "f4"), 7)], 1), FIELDS, 4, shards=3)
    packed.save(tmp_path / "set")
    packed.unpersist()
    assert labels(load_packed(spark, tmp_path / "set")) == [7]
