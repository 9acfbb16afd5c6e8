"""No text from a file reaches a terminal as anything but text: names, metadata, paths, notes and errors, in every command."""

import logging
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sparknet
from sparknet.cli import main
from sparknet.formats import FileInfo, take_layers, write
from sparknet.nets import MLP
from sparknet.report import collected_log
from sparknet.serialization.visible import say, visible

EVIL = "\x1b[2J\x07\x9b31m\r\u202egnp\u2028é"
SHOWN = r"\x1b[2J\x07\x9b31m\r\u202egnp\u2028é"


def is_plain(text):
    return all(line.isprintable() for line in text.split("\n"))


@given(st.text())
@example("\udce9\x00\x7f\u200b")
def test_a_visible_text_is_printable_and_a_printable_one_stays(text):
    assert visible(text).isprintable()
    assert visible(visible(text)) == visible(text)
    visible(text).encode()
    if text.isprintable():
        assert visible(text) is text


def test_lines_are_printed_as_lines(capsys):
    say("a\nb", EVIL)
    say()
    say("err", file=sys.stderr)
    captured = capsys.readouterr()
    assert captured.out == f"a\\nb\n{SHOWN}\n"
    assert captured.err == "err\n"


def run(capsys, *arguments):
    code = main([*map(str, arguments)])
    captured = capsys.readouterr()
    assert is_plain(captured.out), captured.out
    assert is_plain(captured.err), captured.err
    return code, captured.out, captured.err


ARRAYS = {f"{EVIL}/0": np.ones(2, "float32")}


@pytest.mark.parametrize("suffix", ["sparknet", "npz", "safetensors", "caffemodel", "caffemodel.h5"])
def test_inspect_shows_names_and_metadata_as_text(capsys, tmp_path, suffix):
    metadata = (
        {EVIL: EVIL} if suffix in ("sparknet", "safetensors") else {"name": EVIL} if suffix == "caffemodel" else None
    )
    write(tmp_path / f"w.{suffix}", ARRAYS, metadata=metadata)
    code, out, _ = run(capsys, "inspect", tmp_path / f"w.{suffix}")
    assert code == 0
    assert SHOWN in out
    assert run(capsys, "inspect", "--json", tmp_path / f"w.{suffix}")[0] == 0


def test_inspect_shows_a_prototxt_as_text(capsys, tmp_path):
    (tmp_path / "net").write_text(
        f'name: "{EVIL}" layer {{ name: "{EVIL}" type: "{EVIL}" }}'.replace("\u2028", ""), newline=""
    )
    code, out, _ = run(capsys, "inspect", tmp_path / "net")
    assert code == 0
    assert out.count(r"\x1b[2J\x07\x9b31m\r\u202egnp") == 3


def test_convert_shows_what_it_left_out_as_text(capsys, tmp_path):
    sparknet.save(tmp_path / "w.sparknet", {"a": np.ones(2)}, metadata={EVIL: 1})
    code, out, _ = run(capsys, "convert", tmp_path / "w.sparknet", tmp_path / f"{EVIL}.npz")
    assert code == 0
    assert out.count(SHOWN) == 2


@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_errors_show_names_and_paths_as_text(capsys, tmp_path, command):
    more = [tmp_path / "x.npz"] if command == "convert" else []
    path = tmp_path / f"{EVIL}.npz"
    assert run(capsys, command, path, *more)[0] == 2
    path.write_bytes(b"PK\x03\x04")
    assert run(capsys, command, path, *more)[0] == 2
    write(path, ARRAYS)
    path.write_bytes(path.read_bytes().replace(b"<f4", b"\x1b[2"))
    assert run(capsys, command, path, *more)[0] == 2


def test_train_shows_layers_and_errors_as_text(capsys, tmp_path):
    options = ["--master", "none", "--rounds", "1", "--tau", "1", "--hidden", "8", "--out", tmp_path / "out"]
    weights = MLP((1, 28, 28), 10, (8,)).get_weights()
    both = {name: list(arrays) for name, arrays in weights.items()} | {EVIL: [np.ones(1, "float32")]}
    sparknet.save(tmp_path / f"{EVIL}.sparknet", sparknet.WeightCollection(both))
    code, out, _ = run(capsys, "train", *options, "--weights", tmp_path / f"{EVIL}.sparknet")
    assert code == 0
    assert out.count(SHOWN) == 2
    assert run(capsys, "train", *options, "--data", f"idx:{tmp_path}/{EVIL}")[0] == 2


def test_what_the_library_notes_is_shown_as_text_where_the_command_fails(capsys):
    def failing():
        with collected_log("sparknet.nets.caffe"):
            logging.getLogger("sparknet.nets.caffe").warning("layer %s", EVIL)
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert capsys.readouterr().out == f"layer {SHOWN}\n"


def test_what_was_taken_from_a_file_is_a_line_of_text_each(tmp_path):
    write(tmp_path / "w.npz", {"ip/0": np.ones(2, "float32"), "a\nnew: b/0": np.ones(2, "float32")})
    taken = take_layers(sparknet.WeightCollection({"ip": [np.zeros(2, "float32")]}), tmp_path / "w.npz")
    assert str(taken).splitlines() == ["taken: ip", r"skipped, not in this net: a\nnew: b"]


def test_a_table_has_a_line_for_each_entry():
    info = FileInfo("net", "prototxt", (), 0, 0, 9, {"a\nb": "c\nd"}, (("x\ny", "z"),))
    assert str(info).splitlines() == ["prototxt of a net, 1 layers, 9 bytes", r"  x\ny  z", r"  a\nb: 'c\nd'"]
