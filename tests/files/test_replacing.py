"""Files and folders that appear as a whole: of a user's path in tests/serialization/test_files.py, of all others here."""

import os

import pytest

from sparknet.files.replacing import explained, new_folder, whole_file


@pytest.mark.parametrize("synced", [True, False])
def test_a_file_gets_its_name_when_the_block_ends_and_only_then(tmp_path, monkeypatch, synced):
    calls, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(descriptor) or sync(descriptor))
    (tmp_path / "shard").write_bytes(b"before")
    with whole_file(tmp_path / "shard", synced=synced) as file:
        file.write(b"after")
        assert (tmp_path / "shard").read_bytes() == b"before"
    assert (tmp_path / "shard").read_bytes() == b"after"
    assert len(calls) == synced


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_the_file_that_was_there_and_nothing_else(tmp_path, error):
    def fails():
        with whole_file(tmp_path / "shard") as file:
            file.write(b"after")
            raise error

    (tmp_path / "shard").write_bytes(b"before")
    with pytest.raises(type(error)) as caught:
        fails()
    assert caught.value is error
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("shard", b"before")]


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path):
    child = os.fork()
    if not child:
        with whole_file(tmp_path / "shard", synced=False):
            os._exit(0)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 1
    with whole_file(tmp_path / "other", synced=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_folder_gets_its_name_when_the_block_ends_and_is_gone_after_an_error(tmp_path):
    def fails():
        with new_folder(tmp_path / "next", ".unfinished-") as folder:
            (folder / "file").touch()
            raise KeyboardInterrupt

    with new_folder(tmp_path / "round", ".unfinished-") as folder:
        (folder / "file").touch()
        assert [path.name.startswith(".unfinished-") for path in tmp_path.iterdir()] == [True]
    assert (tmp_path / "round" / "file").exists()
    with pytest.raises(KeyboardInterrupt):
        fails()
    assert [path.name for path in tmp_path.iterdir()] == ["round"]


def test_what_the_system_said_is_said_once(tmp_path):
    def fails():
        with explained(tmp_path, "the file is as it was"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space") as caught, explained(tmp_path / "round", "the round is not kept"):
        fails()
    error = caught.value
    assert (error.errno, error.strerror) == (28, "No space left on device; the round is not kept")
    assert error.filename == str(tmp_path / "round")
