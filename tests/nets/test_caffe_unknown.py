"""What a prototxt says that this Caffe does not know is named in one message, with its fork, or dropped on request."""

import logging
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet import NDArray, NetError
from sparknet.cli import main
from sparknet.formats.prototxt import blanked
from sparknet.nets.caffe import CaffeNet
from sparknet.nets.caffe.parsing import parse
from sparknet.nets.caffe.runtime import messages, text_format
from sparknet.nets.caffe.unknown import forks_with, unknown_in

pytestmark = pytest.mark.caffe

# As CaffeOnSpark's LeNet is written, with a field of DeepLab and a slip of the pen.
NET = """name: "lenet"  # source_class: "in a comment"
layer {
  name: "data" type: "MemoryData" top: "data" top: "label"
  source_class: "com.yahoo.ml.caffe.LMDB"
  memory_data_param {
    source: "file:/tmp/} {"
    batch_size: 4 channels: 1 height: 6 width: 6
    share_in_parallel: false;
  }
  transform_param { scale: 0.5 }
}
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 3 weight_filer { type: "xavier" } }
  cos_data_param < top { name: "a" type: RAW_IMAGE } shape: [1, 2, { dim: 3 }], >
}
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" source_class: 'a' "b" }
"""
SOLVER = 'base_lr: 0.05 lr_policy: "fixed"'
BATCH = {"data": NDArray(np.ones((4, 1, 6, 6), np.uint8)), "label": NDArray(np.arange(4) % 3)}


def test_all_unknown_fields_are_in_one_message_with_line_and_fork(write):
    with pytest.raises(NetError) as caught:
        CaffeNet(write(SOLVER, NET))
    assert re.search(
        r"net\.prototxt:4:3: not a prototxt of a NetParameter: "
        r'lines 4, 16: LayerParameter has no field named "source_class" \(known to CaffeOnSpark\); '
        r'line 6: MemoryDataParameter has no field named "source" \(known to CaffeOnSpark\); '
        r'line 8: MemoryDataParameter has no field named "share_in_parallel" \(known to CaffeOnSpark\); '
        r'line 13: InnerProductParameter has no field named "weight_filer" \(did you mean "weight_filler"\?\); '
        r'line 14: LayerParameter has no field named "cos_data_param" \(known to CaffeOnSpark\)\. '
        r"Take such fields out, or have them dropped: unknown_fields='drop', in the command --drop-unknown-fields$",
        str(caught.value),
    )
    assert (caught.value.line, caught.value.column) == (4, 3)


def test_of_many_unknown_fields_fifty_are_named(write):
    names = [f"x{i}" for i in range(60)]
    with pytest.raises(
        NetError, match=r'field named "x0"; .*field named "x49"; and 10 more such things\. Take'
    ) as caught:
        CaffeNet(write(" ".join(f"{name}: 1" for name in names), NET))
    assert '"x50"' not in str(caught.value)


def test_a_field_that_caffe_writes_otherwise_is_named_with_its_other_form(write):
    pool = 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { ceil_mode: false } }'
    with pytest.raises(
        NetError, match=r'no field named "ceil_mode" \(say round_mode: CEIL for true, round_mode: FLOOR'
    ):
        CaffeNet(write(SOLVER, pool))


def test_dropped_fields_are_said_once_and_the_rest_is_as_without_them(write, caplog):
    known = re.sub(
        r"source_class: (\"com.*?\"|'a' \"b\")|source: \"file.*?\"$|share.*;|cos.*>|weight_filer { .*? }",
        "",
        NET,
        flags=re.MULTILINE,
    )
    plain = CaffeNet(write(SOLVER, known), seed=3)
    with caplog.at_level(logging.INFO):
        for make in (CaffeNet, CaffeNet.factory):
            caplog.clear()
            net = make(write(SOLVER, NET), unknown_fields="drop")
            dropped = [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()]
            assert len(dropped) == 1
            assert 'lines 4, 16: LayerParameter has no field named "source_class"' in dropped[0]
            assert dropped[0].count("no field named") == 5
    net = net(seed=3)
    assert net.step(BATCH) == plain.step(BATCH)
    assert net.get_weights() == plain.get_weights()


def test_unknown_fields_of_a_solver_and_of_the_net_in_it(caplog):
    text = f"{SOLVER} min_lr: 1\nnet_param {{ {NET} }}"
    with pytest.raises(
        NetError, match=r'line 1: SolverParameter has no field named "min_lr" \(known to NVIDIA Caffe\)'
    ):
        CaffeNet(text)
    CaffeNet(text, unknown_fields="drop").step(BATCH)
    assert "solver: dropped what this Caffe does not know" in caplog.text


def test_a_word_that_is_not_known_is_refused_and_cannot_be_dropped(write):
    old = 'layers { name: "d" type: IMAGE_SEG_DATA top: "data" hole: 2 } layers { type: RELUU }'
    for how in ("error", "drop"):
        with pytest.raises(NetError) as caught:
            CaffeNet(write(SOLVER, old), unknown_fields=how)
        text = str(caught.value)
        assert 'V1LayerParameter has no type "IMAGE_SEG_DATA" (known to DeepLab)' in text
        assert 'V1LayerParameter has no type "RELUU" (did you mean "RELU"?)' in text
        assert 'V1LayerParameter has no field named "hole"' in text
        assert "cannot be dropped" in text


def test_an_engine_of_a_fork_is_dropped_because_it_computes_the_same(write, caplog):
    relu = (
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" relu_param { engine: MKL2017; negative_slope: 0.5 } }'
    )
    with pytest.raises(
        NetError, match=r'line 17: ReLUParameter has no engine "MKL2017"\. Take such fields out, .*fields$'
    ):
        CaffeNet(write(SOLVER, NET + relu))
    net = CaffeNet(write(SOLVER, NET + relu), unknown_fields="drop")
    assert (
        net.forward({**BATCH, "data": -BATCH["data"].to_host().astype(np.float32)}, ["r"])["r"].to_host().max() == -0.25
    )
    assert 'ReLUParameter has no engine "MKL2017"' in caplog.text


ENGINES = """layer { name: "data" type: "MemoryData" top: "data" top: "label"
  memory_data_param { batch_size: 4 channels: 1 height: 6 width: 6 } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 3 kernel_size: 6 engine: CUDNN } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "loss" softmax_param { engine: CUDNN } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 engine: CAFFE } }
"""
OLD_ENGINES = """layers { name: "data" type: MEMORY_DATA top: "data" top: "label"
  memory_data_param { batch_size: 4 channels: 1 height: 6 width: 6 } }
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" convolution_param { num_output: 3 kernel_size: 6 engine: CUDNN } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "c" bottom: "label" top: "loss" softmax_param { engine: CUDNN } }
"""


@pytest.mark.parametrize("net", [ENGINES, OLD_ENGINES])
def test_an_engine_that_is_not_here_is_named_and_dropped_on_request(write, caplog, net):
    asked = (
        r"engine CUDNN is asked for by 'c' \(Convolution\), 'loss' \(SoftmaxWithLoss\); this Caffe is built without it"
    )
    with pytest.raises(NetError, match=asked):
        CaffeNet(write(SOLVER, net))
    same = CaffeNet(write(SOLVER, net.replace("engine: CUDNN", "")), seed=1).step(BATCH)
    assert CaffeNet(write(SOLVER, net), seed=1, unknown_fields="drop").step(BATCH) == same
    assert "dropped engine CUDNN, which is not here, of 'c', 'loss'" in caplog.text


def test_unknown_types_of_forks_are_named_in_one_message(write):
    layers = (
        'layer { name: "d" type: "CoSData" top: "data" top: "label" }\n'
        'layer { name: "i" type: "Interp" bottom: "data" top: "i" }\n'
        'layer { name: "r" type: "ReLUU" bottom: "data" top: "r" }\n'
    )
    with pytest.raises(NetError) as caught:
        CaffeNet(write(SOLVER, layers), unknown_fields="drop")
    assert (
        "layer 'd' has the unknown type 'CoSData', known to CaffeOnSpark; it reads data: write it as type 'Data', with a "
        "transform_param, or put an Input layer with its tops in its place; layer 'i' has the unknown type 'Interp', known to PSPNet; layer 'r' has the unknown type "
        "'ReLUU'; did you mean 'ReLU'?"
    ) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ImageLabelmapData", ", known to HED; it reads data: write it as type 'Data', "),
        (
            "MyVeryOwnSource",
            "; it reads data: write it as type 'Data', with a transform_param, or put an Input layer with",
        ),
        ("ImagData", r"; did you mean 'ImageData'\?"),
    ],
)
def test_a_layer_of_an_unknown_type_that_reads_data_is_told_with_what_can_take_its_place(write, kind, said):
    with pytest.raises(NetError, match=f"layer 'd' has the unknown type '{kind}'{said}"):
        CaffeNet(write(SOLVER, f'layer {{ name: "d" type: "{kind}" top: "data" top: "label" }}'))


def test_many_layers_of_one_unknown_type_are_told_in_one_phrase(write):
    layers = "".join(f'layer {{ name: "bn{i}" type: "BN" bottom: "data" top: "t{i}" }}' for i in range(9))
    data = 'layer { name: "d" type: "Input" top: "data" input_param { shape { dim: 1 } } }'
    with pytest.raises(
        NetError,
        match=r"layers 'bn0', 'bn1', 'bn2', 'bn3' and 5 more have the unknown type 'BN', known to Caffe-SegNet",
    ):
        CaffeNet(write(SOLVER, data + layers))


def test_types_of_forks_are_named_beside_unknown_fields_because_they_cannot_be_dropped(write):
    net = (
        NET.replace('type: "MemoryData"', 'type: "CoSData"')
        + 'layer { name: "c" type: "Convolution" } layer { type: "Odd" }'
    )
    with pytest.raises(
        NetError, match=r"It also has layers of types that this Caffe has not: 'CoSData' \(known to CaffeOnSpark\)$"
    ):
        CaffeNet(write(SOLVER, net))


def test_the_command_says_what_it_drops(write, capsys, tmp_path):
    net = NET.replace("height: 6 width: 6", "height: 28 width: 28").replace("num_output: 3", "num_output: 10")
    arguments = ["train", "--master", "none", "--rounds", "1", "--tau", "1", "--out", str(tmp_path / "out")]
    arguments += ["--data", "mnist", "--solver", str(write(SOLVER, net))]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "source_class" in captured.err
    assert captured.err.count("\n") == 1
    assert main([*arguments, "--drop-unknown-fields"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("dropped what this Caffe does not know") == 1
    assert captured.err == ""


def test_what_is_no_prototxt_is_told_as_protobuf_tells_it():
    for text, match in (
        ('source_class: "a', "x:1:1: not a prototxt of a NetParameter"),
        ("layer { nam: ", "x:1:"),
        ("layer { hole { ", "x:1:"),
        ("layer { nam: [1, ", "x:1:"),
        ("name: lenet", "x:1:7: .*lenet"),
    ):
        with pytest.raises(NetError, match=match):
            parse(text, "NetParameter", "x", drop=True)


def test_an_option_that_there_is_not():
    with pytest.raises(NetError, match="unknown_fields is 'ignore', expected 'error' or 'drop'"):
        CaffeNet(SOLVER + "\n", unknown_fields="ignore")


def test_a_known_text_has_nothing_unknown_whatever_is_in_it(tiny):
    for text, kind in ((tiny.net_text, "NetParameter"), (tiny.solver_text, "SolverParameter")):
        assert unknown_in(text, getattr(messages(), kind).DESCRIPTOR) == []


VALUES = st.sampled_from(
    ['"a}"', "1.5", "-3", "{ a: 1 }", "< b { c: [1, 2] } >", "[{ x: 1 }, { y: 2 }]", "'#' \"'\"", "WORD"]
)


@given(data=st.data())
def test_blanking_what_is_unknown_gives_back_the_message(data):
    known = 'name: "n"\nlayer { name: "l" type: "ReLU"\n include { phase: TEST } }\nforce_backward: true'
    expected = text_format().Parse(known, messages().NetParameter())
    places = [m.end() for m in re.finditer(r'"n"|\{|"ReLU"|TEST|\}', known)]
    text = known
    added = 0
    for place in sorted(data.draw(st.sets(st.sampled_from(places))), reverse=True):
        value = data.draw(VALUES)
        colon = "" if value[0] in "{<" and data.draw(st.booleans()) else ":"
        text = f"{text[:place]} odd_{added}{colon} {value}{data.draw(st.sampled_from([' ', ', ', '; ', ' # end}' + chr(10)]))}{text[place:]}"
        added += 1
    unknown = unknown_in(text, messages().NetParameter.DESCRIPTOR)
    assert {one.name for one in unknown} == {f"odd_{i}" for i in range(added)}
    rest = blanked(text, [(one.start, one.end) for one in unknown])
    assert text_format().Parse(rest, messages().NetParameter()) == expected


def test_the_table_of_forks_names_nothing_that_every_caffe_has():
    assert (
        forks_with("transform_param", "LayerParameter") == forks_with("Convolution") == forks_with("CONVOLUTION") == ""
    )
    assert forks_with("hole", "ConvolutionParameter") == "known to DeepLab"
    assert forks_with("bn_param", "V1LayerParameter").startswith("known to Caffe-SegNet, PSPNet")
