"""Texts: prototxts, label files and JSON, by their tokens."""

import json
import re
from typing import Any

_TOKEN = re.compile(rb"\s+|[\w.+-]+|\"[^\"\n]*\"|.", re.DOTALL)
_VALUES = (
    b"0",
    b"1",
    b"-1",
    b"2147483647",
    b"2147483648",
    b"4294967295",
    b"4294967296",
    b"9223372036854775807",
    b"18446744073709551615",
    b"1e400",
    b"-1e400",
    b"nan",
    b"inf",
    b"1e-300",
    b"0x10",
    b"007",
    b"true",
    b"false",
)
_VALUES += (
    b'""',
    b'"a\\0b"',
    b'"\\377\\376"',
    b'"\xff"',
    b"'",
    b'"',
    b'"/dev/zero"',
    b'"/etc/passwd"',
    b'"../../x"',
    b'"stranger"',
    b"9" * 5000,
    b'"' + b"a" * 5000 + b'"',
)
_MARKS = (
    b"{",
    b"}",
    b"<",
    b">",
    b"[",
    b"]",
    b":",
    b",",
    b";",
    b"#",
    b"\n",
    b"\0",
    b"\x1b[2J",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\xff",
    b"\\",
    b"layer {",
    b"layers {",
    b"{" * 200,
    b"a {" * 200,
    b"a: [" * 50,
)
CAFFE = b"layer layers name type bottom top param include exclude phase TRAIN TEST input input_dim input_shape dim shape data label net train_net test_net net_param base_lr lr_policy gamma stepsize stepvalue momentum solver_type type weights snapshot snapshot_prefix max_iter random_seed iter_size clip_gradients test_iter test_state stage level not_stage convolution_param num_output kernel_size kernel_h pad stride dilation group axis inner_product_param weight_filler bias_filler pooling_param pool MAX AVE STOCHASTIC global_pooling dropout_ratio batch_size crop_size mirror mean_file mean_value scale source backend LMDB python_param module layer param_str share_in_parallel transform_param hdf5_data_param image_data_param memory_data_param channels height width loss_param ignore_label normalize loss_weight propagate_down concat_param slice_param slice_point reshape_param eltwise_param operation coeff lrn_param local_size batch_norm_param embed_param input_dim infogain_loss_param accuracy_param top_k Convolution Pooling InnerProduct Data ImageData HDF5Data WindowData MemoryData Input Python HDF5Output InfogainLoss SoftmaxWithLoss Accuracy Concat Slice Reshape Flatten Eltwise BatchNorm Scale Bias Dropout ReLU Deconvolution Crop Embed Filter Split Silence RDDDataLayer".split()


def change_words(dictionary: Any = ()) -> Any:
    """Return the change of a text that takes tokens out, repeats, exchanges and replaces them."""

    def way(chance: Any, data: bytes, other: bytes) -> bytes:
        tokens = _TOKEN.findall(data) or [b""]
        at, kind = chance.randrange(len(tokens)), chance.randrange(9)
        if kind == 0:
            del tokens[at]
        elif kind == 1:
            end = min(len(tokens), at + chance.choice((1, 5, 40)))
            tokens[end:end] = tokens[at:end] * chance.choice((1, 2, 100))
        elif kind == 2:
            to = chance.randrange(len(tokens))
            tokens[at], tokens[to] = tokens[to], tokens[at]
        elif kind == 3:
            tokens.insert(at, chance.choice(_MARKS))
        elif kind == 4:
            rest = _TOKEN.findall(other)
            start = chance.randrange(len(rest))
            tokens[at:at] = rest[start : start + chance.choice((1, 10, 60))]
        elif kind == 5 and dictionary:
            tokens[at] = chance.choice(dictionary)
        elif kind == 6:
            del tokens[at : at + chance.choice((2, 6, 30))]
        else:
            numbers = [i for i, token in enumerate(tokens) if token[:1].isdigit() or token[:1] == b'"']
            tokens[chance.choice(numbers) if numbers else at] = chance.choice((*_VALUES, *dictionary))
        return b"".join(tokens)

    return way


def change_number(chance: Any, data: bytes, _: bytes) -> bytes:
    """Put another number in the place of one, so that most of the text means what it did."""
    places = list(re.finditer(rb"(?<![\w.\"])-?\d+(?![\w.\"])", data))
    place = chance.choice(places)
    near = int(place[0]) + chance.choice((-1, 1))
    value = chance.choice((0, 1, 2, 3, 5, 33, near, near, -1, 2**31 - 1, 2**31, 2**32, 2**63))
    return data[: place.start()] + str(value).encode() + data[place.end() :]


def deep(chance: Any) -> bytes:
    """Return messages in messages, lists in lists, or many of the smallest."""
    depth = chance.choice((10, 99, 101, 500, 5000))
    piece = chance.choice((b"a {", b"layer <", b"a: [", b"net_param { layer {", b"layer { layer {"))
    end = chance.choice((b"", {b"{": b"}", b"<": b">", b"[": b"]"}[piece[-1:]] * depth))
    crowd = chance.choice((b"layer{}", b"a:1 ", b"#\n", b'name:"a" "b"', b"a{}", b"layer{name:''}", b"input:'a'"))
    return chance.choice(
        (
            piece * depth + end,
            crowd * chance.choice((100, 3000, 8000)),
            b"a:" + b"[" * depth,
            b"layer { name: 'x' " + piece * depth + end,
        )
    )


_ODD = [
    None,
    True,
    -1,
    0,
    1.5,
    2**31,
    2**53,
    2**63,
    2**64,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\0",
    "\ud800",
    "\x1b[2J",
    "a" * 5000,
    [],
    [[[]]],
    {},
    {"": {}},
    [0] * 1500,
    "F32",
    "I64",
    "float32",
    "pad",
]


def change_json(chance: Any, data: bytes, _: bytes) -> bytes:
    """Change a value somewhere in JSON, or its name."""
    root: Any = [json.loads(data)]
    place, key = root, 0
    while isinstance(place[key], dict | list) and place[key] and (place is root or chance.random() < 0.8):
        place = place[key]
        key = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
    way, value = chance.randrange(6), place[key]
    if way == 0 and place is not root:
        del place[key]
    elif way == 1 and isinstance(place, dict):
        place[chance.choice(("", "a", "\ud800", "__metadata__", key * 2))] = place.pop(key)
    elif way == 2 and isinstance(value, int):
        place[key] = value + chance.choice((-1, 1, 2**32))
    elif way == 3 and isinstance(value, list):
        place[key] = [*value, chance.choice(_ODD)]
    else:
        place[key] = chance.choice(_ODD)
    return json.dumps(root[0], ensure_ascii=chance.random() < 0.9).encode(errors="surrogatepass")
