"""Tar files of images: what is in them comes out, and what no tar file should have is refused in little time and memory."""

import io
import logging
import shutil
import subprocess
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limited import run_limited

from sparknet import DataError
from sparknet.data.images.tars import MAX_IMAGE, images_of_tar


def tar_of(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


MEMBERS = [(f"n01/{i}.JPEG", bytes([i]) * (500 * i)) for i in range(1, 6)]
TAR = tar_of(MEMBERS)


def test_a_tar_gives_its_images_in_order_and_nothing_else():
    links = io.BytesIO(
        tar_of([("./a.PNG", b"1"), ("readme.txt", b"2"), ("x" * 120 + ".jpg", b"3"), ("dir.png/b.jpg", b"")])
    )
    assert list(images_of_tar(links, "t.tar")) == [
        ("t.tar/a.PNG", b"1"),
        (f"t.tar/{'x' * 120}.jpg", b"3"),
        ("t.tar/dir.png/b.jpg", b""),
    ]
    assert list(images_of_tar(io.BytesIO(TAR), "t")) == [(f"t/{name}", data) for name, data in MEMBERS]


def test_a_tar_on_disk_is_read_with_one_image_in_memory(tmp_path):
    path = tmp_path / "large.tar"
    members = [*((f"{i}.txt", b"") for i in range(5000)), *((f"{i}.jpg", bytes(1 << 20)) for i in range(20))]
    path.write_bytes(tar_of(members))
    with path.open("rb") as file:
        tracemalloc.start()
        lengths = [len(data) for _, data in images_of_tar(file, "large.tar")]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert lengths == [1 << 20] * 20
    assert peak < 3 << 20  # an image, what is being read of the next one, and no header of those before


def tar_of_kind(kind, name):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "elsewhere.png"
        tar.addfile(info)
    return file


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_place_of_an_image_is_refused_and_others_are_left_out(kind):
    with pytest.raises(
        DataError, match=r"^tar file 't': the image 'b.png' is a link to 'elsewhere.png' .*--hard-deref"
    ):
        list(images_of_tar(tar_of_kind(kind, "b.png"), "t"))
    assert list(images_of_tar(tar_of_kind(kind, "readme.txt"), "t")) == []
    assert list(images_of_tar(tar_of_kind(tarfile.DIRTYPE, "a.png"), "t")) == []


def test_tar_makes_a_file_without_links_as_the_message_says(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    (tmp_path / "b.png").hardlink_to(tmp_path / "a.png")
    (tmp_path / "c.png").symlink_to("a.png")
    options = ["--dereference", "--hard-dereference"]
    subprocess.run([shutil.which("tar"), *options, "-cf", "t.tar", "a.png", "b.png", "c.png"], cwd=tmp_path, check=True)
    with (tmp_path / "t.tar").open("rb") as file:
        assert [contents for _, contents in images_of_tar(file, "t")] == [b"1"] * 3


@pytest.mark.parametrize("length", [0, 100, 512, 900, *range(1024, len(TAR.rstrip(b"\0")), 512)])
def test_a_truncated_tar_is_refused_and_gives_only_whole_images_before(length):
    seen = []
    with pytest.raises(DataError, match="tar file 't' is damaged"):
        seen.extend(images_of_tar(io.BytesIO(TAR[:length]), "t"))
    assert seen == [(f"t/{name}", data) for name, data in MEMBERS][: len(seen)]


def test_a_damaged_header_between_images_is_refused_although_tarfile_takes_it_for_the_end():
    place = TAR.index(b"n01/4.JPEG")
    damaged = TAR[:place] + b"n0?" + TAR[place + 3 :]
    with tarfile.open(fileobj=io.BytesIO(damaged)) as tar:
        assert len(tar.getnames()) == 3  # two images are lost, without a word
    with pytest.raises(
        DataError, match=r"tar file 't' is damaged or truncated after 'n01/3.JPEG'; is the copy complete"
    ):
        list(images_of_tar(io.BytesIO(damaged), "t"))


@given(st.integers(0, len(TAR) - 1), st.binary(min_size=1, max_size=40))
def test_any_damage_to_a_tar_is_a_data_error_or_gives_images(place, noise):
    damaged = TAR[:place] + noise + TAR[place + len(noise) :]
    try:
        images = list(images_of_tar(io.BytesIO(damaged), "t"))
    except DataError:
        return
    assert all(isinstance(data, bytes) for _, data in images)


# ---- what a stranger's tar file may say
def header(name=b"a.png", size=b"%011o\0" % 0, kind=b"0"):
    """A header block with these fields, its checksum right."""
    block = bytearray(name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size + b"%011o\0" % 0)
    block += b" " * 8 + kind + bytes(100) + b"ustar  \0"
    block += bytes(512 - len(block))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def number(value):
    """A size as GNU tar writes what octal digits cannot: 12 bytes, negative ones too."""
    return (value % (1 << 96)).to_bytes(12, "big") if value < 0 else bytes([128]) + value.to_bytes(11, "big")


END = bytes(1024)
SAID = """
file = open(sys.argv[1], "rb")
try:
    print([len(data) for _, data in images_of_tar(file, "t")])
except DataError as error:
    print("DataError:", error)
"""


def said(path, data):
    """What reading it says, in a process of bounded memory and time."""
    path.write_bytes(data)
    before = "from sparknet import DataError; from sparknet.data.images.tars import images_of_tar"
    done = run_limited(SAID, path, before=before, memory=64 << 20)
    assert not done.returncode, done.stderr
    assert "MemoryError" not in done.stdout
    return done.stdout


# Newer versions of tarfile refuse sizes below zero themselves, in words of their own: what is said behind the place is not tested.
@pytest.mark.parametrize("size", [-512, -1024, -1, -(1 << 70)])
def test_a_size_below_zero_is_damage(size):
    data = header(b"first.png") + header(b"b.png", number(size)) + header(b"c.png") + END
    with pytest.raises(DataError, match=r"tar file 't' is damaged (or truncated )?after 'first.png'"):
        list(images_of_tar(io.BytesIO(data), "t"))


@pytest.mark.parametrize("kind", [b"L", b"x", b"g"])
def test_a_number_without_end_in_a_header_is_refused_before_it_is_parsed(tmp_path, kind):
    """Older versions of tarfile begin anew at each digit (CVE-2024-6232): at these for hours."""
    body = b"1" * (1 << 19)
    data = header(b"pax", b"%011o\0" % len(body), kind) + body + header(b"c.png") + END
    assert "before its first member: its headers have a number of 256 digits or more" in said(tmp_path / "a.tar", data)


def test_a_name_that_no_file_has_is_refused(tmp_path):
    """A label is looked for by each end of it: of so many folders, in gigabytes of text."""
    path = b"a/" * 2500 + b"c.png"
    body = b"%d path=%s\n" % (len(path) + 11, path)
    data = header(b"pax", b"%011o\0" % len(body), b"x") + body + bytes(-len(body) % 512) + header(b"c.png") + END
    assert "has a name of 5005 characters, expected at most 4096" in said(tmp_path / "a.tar", data)


def test_an_image_may_have_as_many_digits_as_it_likes():
    body = b"1" * 1024
    data = header(b"c.png", b"%011o\0" % len(body)) + body + END
    assert list(images_of_tar(io.BytesIO(data), "t")) == [("t/c.png", body)]


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_so_it_is_of_a_long_name(kind):
    data = header(b"b.png", number(-1024), kind) + header(b"c.png") + bytes(1 << 20) + END
    with pytest.raises(DataError, match=r"tar file 't' is damaged (or truncated )?before its first member"):
        list(images_of_tar(io.BytesIO(data), "t"))


def test_a_member_of_minus_512_bytes_does_not_loop(tmp_path):
    text = said(tmp_path / "t", header() + header(b"b.png", number(-512)) + END)
    assert text.startswith("DataError: tar file 't' is damaged ")
    assert "after 'a.png'" in text


@pytest.mark.parametrize("count", [2000, 20_000])
def test_names_that_announce_names_are_damage(tmp_path, count):
    long = header(b"././@LongLink", b"%011o\0" % 5, b"L") + b"a.png".ljust(512, b"\0")
    assert "DataError: tar file 't' is damaged" in said(tmp_path / "t", long * count + header() + END)
    assert said(tmp_path / "t", long + header(b"x") + END) == "[0]\n"


@pytest.mark.parametrize("kind", [b"L", b"x", b"g"])
@pytest.mark.parametrize("size", [20 << 30, 1 << 60])
def test_a_header_that_promises_gigabytes_is_damage(tmp_path, kind, size):
    assert "ask for more than 1048576 bytes" in said(tmp_path / "t", header(b"n", number(size), kind) + bytes(1024))


def test_a_large_image_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "t"
    path.write_bytes(header(b"large.png", number(20 << 30)))
    with path.open("r+b") as file:
        file.truncate((20 << 30) + 2048)  # it has them: zeros that take no place on the disk
        with pytest.raises(
            DataError, match=f"the image 'large.png' has 21474836480 bytes, expected at most {MAX_IMAGE}"
        ):
            list(images_of_tar(file, "t"))
    path.write_bytes(header(b"large.txt", number(20 << 30)) + bytes(512))
    with path.open("r+b") as file:
        file.truncate((20 << 30) + 512)
        file.seek(0, 2)
        file.write(header(b"small.png") + END)
        assert list(images_of_tar(file, "t")) == [("t/small.png", b"")]


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_fifo_or_device_in_place_of_an_image_is_refused(kind):
    with pytest.raises(DataError, match=r"the image 'b.png' is a FIFO, a device or the like .*, expected a file"):
        list(images_of_tar(tar_of_kind(kind, "b.png"), "t"))
    assert list(images_of_tar(tar_of_kind(kind, "readme.txt"), "t")) == []


def test_a_name_that_is_not_utf8_is_told_once_and_its_image_is_there(caplog):
    data = header(b"caf\xe9.png") + header(b"th\xe9.png") + header("grün.png".encode()) + END
    with caplog.at_level(logging.WARNING):
        images = list(images_of_tar(io.BytesIO(data), "t"))
    assert [name for name, _ in images] == ["t/caf\ufffd.png", "t/th\ufffd.png", "t/grün.png"]
    [record] = caplog.records
    assert "tar file 't': names are not UTF-8, 'caf\ufffd.png' is the first" in record.getMessage()


@given(
    st.lists(
        st.tuples(st.sampled_from([b"0", b"1", b"2", b"L", b"K", b"S", b"V", b"g", b"x"]), st.binary(max_size=12)),
        max_size=6,
    )
)
def test_any_sequence_of_headers_is_a_data_error_or_gives_images(headers):
    data = b"".join(header(b"a.png", size.ljust(12, b"\0"), kind) for kind, size in headers) + END
    try:
        images = list(images_of_tar(io.BytesIO(data), "t"))
    except DataError:
        return
    assert all(isinstance(data, bytes) for _, data in images)
