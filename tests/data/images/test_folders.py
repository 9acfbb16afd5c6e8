"""Strange things in a folder of images: each is an error or told once, and none makes a walk longer than the folder is."""

import os

import pytest

from sparknet import DataError
from sparknet.data.images.folders import check_folders

IMAGES = (".png", ".jpg")


@pytest.fixture
def tree(tmp_path):
    """Two folders of images, and a third one beside them."""
    for name in ("tree/a/1.png", "tree/b/2.PNG", "beside/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path / "tree"


def check(*paths, encoding="utf-8"):
    return check_folders([str(path) for path in paths], IMAGES, encoding)


def test_nothing_is_said_of_a_folder_of_files(tree):
    (tree / "grün.jpg").write_bytes(b"")
    (tree / "readme.txt").write_bytes(b"")
    assert check(tree) == check(tree / "a", tree / "b" / "2.PNG") == check(tree / "none") == []


@pytest.mark.parametrize("target", ["..", ".", "../../tree", "../b"])
def test_a_link_to_a_folder_above_is_refused_through_others_too(tree, target):
    (tree / "a" / "up").symlink_to(target)
    (tree / "b" / "to a").symlink_to("../a")
    with pytest.raises(DataError, match=r"leads by a link to '.*', a folder that it is in: .* remove the link"):
        check(tree)


def test_many_links_to_the_same_folders_are_iteration_hint_once(tree):
    for depth in range(30):  # 2**30 paths
        for name in "ab":
            folder = tree / f"level{depth}"
            folder.mkdir(exist_ok=True)
            (folder / name).symlink_to(f"../level{depth + 1}")
    (tree / "level30").mkdir()
    [said] = check(tree)
    assert said.startswith("links lead to what is in the folder itself (60), such as ")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["FIFO", "device"])
def test_what_is_no_file_and_is_called_like_an_image_is_refused(tree, make):
    make(tree / "a" / "note.txt")
    make(tree / "a" / "_x.png")
    assert not [said for said in check(tree) if "note" in said]
    make(tree / "a" / "x.PNG")
    for path in (tree, tree / "a" / "x.PNG"):
        with pytest.raises(DataError, match=r"a/x.PNG' is a (FIFO \(a pipe\)|device), expected a file"):
            check(path)


def test_links_are_told_by_where_they_lead(tree):
    (tree / "a" / "out.png").symlink_to("../../beside/3.png")
    (tree / "b" / "outside").symlink_to("../../beside")
    (tree / "a" / "again.png").symlink_to("1.png")
    (tree / "a" / "gone.png").symlink_to("nothing.png")
    (tree / "a" / "self.png").symlink_to("self.png")
    (tree / "a" / "gone.txt").symlink_to("nothing.txt")
    out, again, gone = sorted(check(tree), key=lambda said: "nowhere" in said or ("itself" in said) / 2)
    assert out.startswith("links lead out of the folder (2), such as ")
    assert again == (
        f"links lead to what is in the folder itself (1), such as '{tree}/a/again.png' to '{tree}/a/1.png': it is read more "
        "than once"
    )
    assert gone.startswith("links lead nowhere (2), such as ")
    assert check(tree / "b") == [
        f"links lead out of the folder (1), such as '{tree}/b/outside' to '{tree.parent}/beside': what is there is read too"
    ]


def test_names_that_java_cannot_read_are_told(tree):
    with open(os.fsencode(tree) + b"/caf\xe9.png", "wb"), (tree / "grün.png").open("wb"):  # noqa: PTH123
        pass
    [said] = check(tree)
    assert said == (
        f"names are not in utf-8, in which Java reads names here (1), such as '{tree}/caf\\udce9.png': what is called so is left "
        "out; rename it"
    )
    assert "names are not in ascii, in which Java reads names here (2)" in check(tree, encoding="ascii")[0]


def test_a_folder_that_must_not_be_read_is_left_to_spark(tree, monkeypatch):
    def closed(folder):
        raise PermissionError(folder)

    monkeypatch.setattr(os, "scandir", closed)
    assert check(tree) == []
