"""What is given as a solver, and the files that a prototxt names: found, read, or refused by name."""

import re

import numpy as np
import pytest

import sparknet
from sparknet import NDArray, NetError
from sparknet.data import Field, pack
from sparknet.formats import binaryproto
from sparknet.nets.caffe import CaffeNet

pytestmark = pytest.mark.caffe

SOLVER = 'base_lr: 0.05 lr_policy: "fixed" momentum: 0.9'
FIELDS = [Field("data", (1, 6, 6)), Field("label")]


def one_line(text):
    return " ".join(line for line in text.splitlines() if not line.startswith("#"))


# ---- what is given as a solver
def test_a_text_of_one_line_may_have_any_length(tiny):
    text = f"{SOLVER} net_param {{ {one_line(tiny.net_text)} }}"
    assert len(text) > 255
    assert "\n" not in text
    assert (
        CaffeNet(text, seed=1).get_weights()
        == CaffeNet(text.replace(" net_param", "\nnet_param"), seed=1).get_weights()
    )
    long = f'{SOLVER} net: "{"x" * 5000}.prototxt"'
    with pytest.raises(FileNotFoundError, match=r"no net prototxt \(net: 'xxx.*'\) at 'x{80}\.\.\.x{8}\.prototxt'"):
        CaffeNet(long)


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_solver_is_refused(text):
    with pytest.raises(NetError, match=r"expected the path of a solver prototxt, or its text"):
        CaffeNet(text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a" * 300, r"no solver prototxt at 'a{80}\.\.\.a{17}' \(working folder "),
        ("solver\0.prototxt", r"no solver prototxt at 'solver\\x00\.prototxt'"),
        ("none/solver.prototxt", "no solver prototxt at 'none/solver.prototxt'"),
    ],
)
def test_a_path_that_no_file_has_is_a_missing_file(tmp_path, path, text):
    with pytest.raises(FileNotFoundError, match=text):
        CaffeNet(path)
    with pytest.raises(NetError, match=r"no solver prototxt at"):
        CaffeNet(tmp_path / path)


@pytest.mark.parametrize("path", ["hdfs://host/solver.prototxt", "my:solver.prototxt", "a b: c.prototxt"])
def test_a_path_with_a_colon_is_a_path(path):
    with pytest.raises(FileNotFoundError, match=r"no solver prototxt at "):
        CaffeNet(path)


def test_comments_in_any_encoding_are_read_as_caffe_reads_them(tiny, write, tmp_path, caplog):
    expected = CaffeNet(tiny.solver, seed=1).get_weights()
    path = write(tiny.solver_text.replace("net:", "#"), tiny.net_text)
    net = tmp_path / "net.prototxt"
    net.write_bytes(b"\xef\xbb\xbf" + net.read_bytes())
    assert CaffeNet(path, seed=1).get_weights() == expected
    assert "UTF-8" not in caplog.text
    net.write_bytes("# 数据层\n".encode("gbk") + net.read_bytes()[3:])
    assert CaffeNet(path, seed=1).get_weights() == expected
    assert f"{net} is not UTF-8: read as Latin-1" in caplog.text


def test_a_folder_is_refused_with_what_is_in_it(tiny):
    with pytest.raises(
        NetError, match=r"it is a folder; name a file in it; it has tiny_solver.prototxt, tiny_train_test.p"
    ):
        CaffeNet(tiny.solver.parent)
    with pytest.raises(NetError, match=r"the net prototxt .* it is a folder; name a file in it"):
        CaffeNet(f'{SOLVER} net: "."')


def test_a_net_given_as_a_solver_is_named_with_the_solver_that_is_missing(tiny):
    net = tiny.solver.with_name("tiny_train_test.prototxt")
    expected = 'It is a net (9 layers), as a deploy or train_val file holds it; give the solver that trains it. A short one: net: "'
    with pytest.raises(NetError, match=re.escape(expected)) as raised:
        CaffeNet(net)
    assert str(raised.value).startswith(f"{net}:2:1: not a prototxt of a SolverParameter: ")
    with pytest.raises(NetError, match=r"A short one: net_param"):
        CaffeNet(tiny.net_text)


def test_a_net_with_fields_of_a_fork_given_as_a_solver_is_named_too(tmp_path):
    path = tmp_path / "deploy.prototxt"
    path.write_text('layer { name: "d" type: "MemoryData" source_class: "x" }', encoding="utf-8")
    with pytest.raises(NetError, match=r"deploy\.prototxt.*It is a net \(1 layers\)"):
        CaffeNet(path)


def test_a_solver_given_as_a_net_is_named_with_its_own_net(tiny, tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text(f'{SOLVER}\nnet: "{tiny.solver}"', encoding="utf-8")
    with pytest.raises(NetError, match=r"It is a solver; .* the net of this one is 'tiny_train_test\.prototxt'"):
        CaffeNet(path)


# ---- where files are looked for
@pytest.fixture
def mean_layer(body):
    return (
        'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 8 } '
        f'transform_param {{ mean_file: "mean.binaryproto" }} }}\n{body}'
    )


def mean(folder, value):
    folder.mkdir(exist_ok=True)
    binaryproto.write(folder / "mean.binaryproto", NDArray(np.full((1, 6, 6), value, np.float32)), {})


def test_a_mean_file_is_beside_the_solver_or_the_net_or_in_the_working_folder(tmp_path, monkeypatch, mean_layer):
    nets, work = tmp_path / "nets", tmp_path / "work"
    for value, folder in enumerate((tmp_path, nets, work), start=1):
        mean(folder, value)
    monkeypatch.chdir(work)
    (nets / "net.prototxt").write_text(mean_layer, encoding="utf-8")
    solver = tmp_path / "solver.prototxt"
    solver.write_text(f'{SOLVER}\nnet: "nets/net.prototxt"', encoding="utf-8")
    batch = {"data": NDArray(np.zeros((8, 1, 6, 6), np.float32)), "label": NDArray(np.zeros(8))}
    for value, folder in enumerate((tmp_path, nets, work), start=1):
        changed = CaffeNet(solver, fields=FIELDS).prepare(batch, np.random.default_rng(0), train=True)
        assert set(changed["data"].to_host().ravel()) == {-value}
        (folder / "mean.binaryproto").unlink()
    with pytest.raises(FileNotFoundError) as raised:
        CaffeNet(solver, fields=FIELDS)
    looked = f"looked in '{tmp_path}', '{nets}' and the working folder '{work}'"
    assert f"no mean_file at '{tmp_path}/mean.binaryproto'; {looked}" in str(raised.value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no mean_file") as raised:
        CaffeNet("solver.prototxt", fields=FIELDS)
    assert f"looked in '{nets}' and the working folder '{tmp_path}'" in str(raised.value)


def test_the_error_of_a_missing_mean_file_has_the_line_that_makes_it(tmp_path, monkeypatch, mean_layer):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "solver.prototxt").write_text(SOLVER + "\nnet_param { " + mean_layer + " }", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="no mean_file") as raised:
        CaffeNet("solver.prototxt", fields=FIELDS)
    line = re.search(r"Make it of packed images by (.*?), or of a file of numpy by ", str(raised.value))[1]
    data = pack({"data": np.ones((4, 1, 6, 6), np.uint8), "label": np.zeros(4, int)}, FIELDS, 2)
    exec(line, {"sparknet": sparknet, "data": data})  # noqa: S102 - what the error tells to do
    assert CaffeNet("solver.prototxt", fields=FIELDS)


def test_a_name_from_the_root_of_a_tree_is_found_from_any_working_folder(tmp_path, monkeypatch, tiny):
    folder = tmp_path / "caffe" / "examples" / "tiny"
    folder.mkdir(parents=True)
    (folder / "net.prototxt").write_text(tiny.net_text)
    solver = folder / "solver.prototxt"
    solver.write_text(f'net: "examples/tiny/net.prototxt" {SOLVER}')
    for work in (tmp_path, folder):
        monkeypatch.chdir(work)
        assert CaffeNet(solver).input_shapes
    assert CaffeNet("solver.prototxt").input_shapes
    (folder / "net.prototxt").rename(tmp_path / "net.prototxt")  # a plain name is not looked for above
    with pytest.raises(NetError, match="and in the folders above the first"):
        CaffeNet(solver)
    with pytest.raises(NetError, match=rf"\(working folder '{folder}' and those above it\)"):
        CaffeNet("solver.prototxt")
    with pytest.raises(NetError, match=rf"no solver prototxt at 'tiny/solver.prototxt' \(working folder '{folder}'\)"):
        CaffeNet("tiny/solver.prototxt")  # what the user names is not looked for above


def test_a_file_that_lies_beside_the_solver_without_the_folders_of_its_name_is_pointed_at(tmp_path, tiny):
    (tmp_path / "net.prototxt").write_text(tiny.net_text)
    solver = tmp_path / "solver.prototxt"
    solver.write_text(f'net: "examples/tiny/net.prototxt" {SOLVER}')
    with pytest.raises(
        FileNotFoundError, match=rf"no net prototxt .*There is '{tmp_path}/net.prototxt': write 'net.prototxt'"
    ):
        CaffeNet(solver)
    (tmp_path / "net.prototxt").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        CaffeNet(solver)
    assert "There is" not in str(caught.value)
