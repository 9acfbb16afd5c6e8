"""torch and NDArrays share memory, both ways."""

import gc
import io
import tracemalloc

import numpy as np
import pytest
import torch

from sparknet import NDArray, WeightCollection, dumps, iter_load, load, loads, nd, save
from sparknet.errors import DeviceError, SchemaError
from sparknet.serialization import Codec, load_into
from sparknet.serialization.objects import take_apart

pytestmark = pytest.mark.torch

DTYPES = list(nd.__array_namespace_info__().dtypes())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_over_an_ndarray_has_its_dtype_and_memory(dtype):
    a = nd.ones((2, 3), dtype=getattr(nd, dtype))
    tensor = torch.from_dlpack(a)
    assert tensor.dtype == getattr(torch, dtype)
    assert tensor.data_ptr() == a.unwrap().ctypes.data


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_ndarray_over_a_tensor_has_its_dtype_and_memory(dtype):
    tensor = torch.ones((2, 3), dtype=getattr(torch, dtype))
    a = nd.from_dlpack(tensor)
    assert type(a) is NDArray
    assert a.dtype == dtype
    assert a.to_host().ctypes.data == tensor.data_ptr()


def test_what_torch_writes_the_ndarray_reads_and_the_other_way_round():
    a = nd.zeros(3)
    torch.from_dlpack(a)[0] = 5
    tensor = torch.zeros(3)
    nd.from_dlpack(tensor)[1] = 7
    assert (a.to_host().tolist(), tensor.tolist()) == ([5, 0, 0], [0, 7, 0])


def test_asarray_shares_memory_both_ways():
    a, tensor = nd.zeros(3), torch.zeros(3)
    assert torch.asarray(a).data_ptr() == torch.as_tensor(a).data_ptr() == a.unwrap().ctypes.data
    assert nd.asarray(tensor).to_host().ctypes.data == tensor.data_ptr()


WAYS = {
    "from_dlpack": torch.from_dlpack,
    "utils.dlpack": torch.utils.dlpack.from_dlpack,
    "from a capsule": lambda a: torch.from_dlpack(a.__dlpack__()),
    "asarray": torch.asarray,
    "as_tensor": torch.as_tensor,
    "tensor": torch.tensor,
    "asarray of numpy's": lambda a: torch.asarray(np.array(a)),
    "to_device": lambda a: a.to_device("torch:cpu").unwrap(),
}


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_tensor_over_read_only_memory_is_a_copy_that_can_be_written(tmp_path, way, mapped):
    save(tmp_path / "w.msg", {"w": np.ones(3)})
    message = (tmp_path / "w.msg").read_bytes()
    weights = load(tmp_path / "w.msg") if mapped else loads(message)
    tensor = way(weights["w"])
    tensor += 1
    assert tensor.tolist() == [2, 2, 2]
    assert weights["w"].tolist() == loads(message, verify=True)["w"].tolist() == [1, 1, 1]
    assert load(tmp_path / "w.msg", verify=True)["w"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("way", [torch.from_dlpack, torch.asarray])
def test_dtypes_that_numpys_dlpack_has_not_go_to_torch_as_the_error_says(way, dtype):
    message = dumps({"w": torch.ones(3).to(getattr(torch, dtype))})
    a = loads(message)["w"]
    with pytest.raises(BufferError, match=r"loads\(\.\.\., device='torch:cpu'\), .* a\.to_device\('torch:cpu'\)"):
        way(a)
    for there in (loads(message, device="torch:cpu")["w"], a.to_device("torch:cpu")):
        assert there.unwrap().dtype == getattr(torch, dtype)
        assert there.unwrap().float().tolist() == [1, 1, 1]


def test_torch_told_to_make_no_copy_of_read_only_memory_is_refused():
    a = loads(dumps(np.ones(3)))
    with pytest.raises(BufferError, match=r"torch writes to memory that is marked read-only; .* mmap=False"):
        torch.from_dlpack(a, copy=False)
    writable = nd.ones(3)
    assert torch.from_dlpack(writable, copy=False).data_ptr() == writable.unwrap().ctypes.data


def test_copies_are_made_where_they_are_asked_for():
    a, tensor = nd.zeros(3), torch.zeros(3)
    torch.tensor(a)[0] = 5
    nd.from_dlpack(tensor, copy=True)[0] = 5
    assert a.to_host().tolist() == tensor.tolist() == [0, 0, 0]


def test_transposed_and_strided_tensors_are_views():
    tensor = torch.arange(12.0).reshape(3, 4)
    a = nd.from_dlpack(tensor.T[::2])
    tensor += 1
    assert a.to_host().tolist() == tensor.T[::2].tolist()


def test_the_memory_lives_as_long_as_the_view():
    tensor, a = torch.from_dlpack(nd.arange(1000)), nd.from_dlpack(torch.arange(1000))
    gc.collect()
    assert int(tensor.sum()) == int(nd.sum(a)) == 499500


def test_an_ndarray_trains_a_module_through_shared_memory():
    a = nd.asarray(np.ones((4, 2), np.float32))
    layer = torch.nn.Linear(2, 1)
    layer(torch.from_dlpack(a)).sum().backward()
    assert nd.from_dlpack(layer.weight.grad).to_host().tolist() == [[4, 4]]


def test_a_tensor_that_requires_a_gradient_says_to_detach_it():
    with pytest.raises((BufferError, ValueError), match="detach"):
        nd.from_dlpack(torch.ones(2, requires_grad=True))


def test_bfloat16_that_numpy_does_not_have_is_an_error_that_says_so():
    with pytest.raises((BufferError, TypeError, ValueError), match="dtype"):
        nd.from_dlpack(torch.ones(2, dtype=torch.bfloat16))


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_types_that_torch_and_numpy_do_not_share_travel_as_their_bits(dtype):
    own = getattr(torch, dtype)
    tensor = torch.arange(6.0).reshape(2, 3).to(own).T
    message = dumps({"w": tensor, "scalar": tensor[2, 1]})
    back = loads(message, device="torch:cpu")
    assert back["w"].unwrap().dtype == own
    assert torch.equal(back["w"].unwrap().view(torch.uint8), tensor.contiguous().view(torch.uint8))
    live = {"w": torch.zeros(3, 2, dtype=own), "scalar": torch.zeros((), dtype=own)}
    load_into(live, message)
    assert live["w"].tolist() == tensor.tolist() == NDArray(tensor).to_host().tolist()
    assert live["scalar"].item() == 5


def test_messages_land_on_the_device_that_is_asked_for(tmp_path):
    save(tmp_path / "w.msg", {"w": np.ones(3)})
    with (tmp_path / "w.msg").open("rb") as stream:
        found = [load(tmp_path / "w.msg", device="torch:cpu"), *iter_load(stream, device="torch:cpu")]
    found.append(Codec({"w": np.ones(3)}).loads((tmp_path / "w.msg").read_bytes(), device="torch:cpu"))
    assert [weights["w"].device for weights in found] == ["torch:cpu"] * 3


def test_operators_between_the_two_say_how_to_bring_them_together():
    for operation in (lambda: nd.ones(2) + torch.ones(2), lambda: torch.ones(2) + nd.ones(2)):
        with pytest.raises(DeviceError, match=r"use nd\.asarray\(\.\.\., device='cpu'\)"):
            operation()


def strange():
    """Tensors that numpy cannot hold -> what is said of each."""
    made = {
        "sparse": (torch.eye(2).to_sparse(), r"is sparse \(torch\.sparse_coo\): take tensor\.to_dense\(\)"),
        "csr": (torch.eye(2).to_sparse_csr(), r"is sparse \(torch\.sparse_csr\)"),
        "meta": (torch.zeros(2, device="meta"), "is on the device 'meta' and has no elements"),
        "quantized": (
            torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            r"is quantized \(torch\.qint8\): take tensor\.dequantize\(\)",
        ),
        "nested": (torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), r"is a nested tensor: .*unbind\(\)"),
        "complex32": (
            torch.zeros(2).to(torch.complex32),
            r"has dtype torch\.complex32, .*take tensor\.to\(torch\.complex64\)",
        ),
    }
    for name in ("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"):
        made[name] = torch.zeros(2).to(getattr(torch, name)), rf"has dtype torch\.{name}, .*take tensor\.float\(\)"
    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind",
    [
        "sparse",
        "csr",
        "meta",
        "quantized",
        "nested",
        "complex32",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    ],
)
def test_a_tensor_that_numpy_cannot_hold_is_named_with_what_to_do(kind):
    tensor, text = strange()[kind]
    with pytest.raises(TypeError, match=rf"^tensor 'layer\.w' {text}"):
        dumps({"layer.b": torch.ones(1), "layer.w": tensor})
    with pytest.raises(TypeError, match=rf"^tensor 'layer\[1\]' {text}"):
        dumps(WeightCollection({"layer": [torch.ones(1), tensor]}))
    with pytest.raises(TypeError, match=rf"^the tensor {text}"):
        dumps(tensor)
    with pytest.raises(TypeError, match=rf"^the tensor {text}"):
        NDArray(tensor).to_host()


def test_load_into_tensors_of_any_shape_warns_of_nothing():
    live = {"w": torch.zeros(2, 3), "count": torch.tensor(0), "empty": torch.zeros(0)}
    load_into(live, dumps({"w": np.ones((2, 3), "f4"), "count": np.array(5), "empty": np.zeros(0, "f4")}))
    assert (live["w"].sum().item(), live["count"].item()) == (6, 5)


def test_an_element_of_a_tensor_shares_no_memory_and_a_swap_swaps():
    v = nd.asarray([1.0, 2.0, 3.0, 4.0], device="torch:cpu")
    v[0], v[3] = v[3], v[0]
    element, view = v[1], v[1, ...]
    v[1] = 9
    assert (v.tolist(), element.item(), view.item()) == ([4, 9, 3, 1], 2, 9)
    assert (f"{v[0]:.1f}", round(v[2], 1), 9 in v) == ("4.0", 3.0, True)


def test_tensors_on_the_cpu_are_written_from_their_own_memory_as_arrays_of_numpy():
    tensors = {"w": torch.ones(2, 3), "p": torch.nn.Parameter(torch.ones(2)), "n": NDArray(torch.ones(2))}
    tensors["b"] = torch.ones(4, dtype=torch.bfloat16)
    arrays = take_apart(tensors).arrays
    assert {type(array) for array in arrays} == {np.ndarray}
    own = [tensor.unwrap() if type(tensor) is NDArray else tensor for tensor in tensors.values()]
    assert [array.ctypes.data for array in arrays] == [tensor.data_ptr() for tensor in own]


# ---- load_into writes to torch's own memory
def message_of(tensors):
    """A message whose values are other than those of the tensors."""
    return dumps({name: np.full(tuple(t.shape), 3, str(t.dtype).partition(".")[2]) for name, t in tensors.items()})


def sources(message):
    return {"memory": message, "stream": io.BytesIO(message)}


@pytest.mark.parametrize("way", ["memory", "stream"])
def test_a_large_tensor_is_received_in_its_own_memory_without_another_of_its_size(way):
    live = {"w": torch.zeros(1 << 21), "b": torch.zeros(3)}
    source = sources(message_of(live))[way]
    load_into({name: torch.zeros_like(t) for name, t in live.items()}, message_of(live))  # what is made once
    tracemalloc.start()
    load_into(live, source)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert torch.equal(live["w"], torch.full((1 << 21,), 3.0))
    assert most < live["w"].nbytes // 4


VIEWS = {
    "transposed": lambda: torch.zeros(3, 2).T,
    "strided": lambda: torch.zeros(6)[::2],
    "conjugated": lambda: torch.zeros(2, dtype=torch.complex64).conj(),
    "imaginary part of a conjugated one": lambda: torch.zeros(2, dtype=torch.complex64).conj().imag,
    "0-d": lambda: torch.zeros(2)[1],
    "bool": lambda: torch.zeros(2, dtype=torch.bool),
    "made in inference mode": torch.inference_mode()(lambda: torch.zeros(2)),
}


@pytest.mark.parametrize("way", ["memory", "stream"])
@pytest.mark.parametrize("kind", VIEWS)
def test_tensors_that_are_views_of_any_kind_receive_their_elements(kind, way):
    tensor = VIEWS[kind]()
    message = message_of({"w": tensor})
    load_into({"w": tensor}, sources(message)[way])
    expected = torch.tensor(loads(message)["w"].tolist(), dtype=tensor.dtype)
    assert torch.equal(tensor.resolve_conj().resolve_neg(), expected)


@pytest.mark.parametrize("way", ["memory", "stream"])
@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.nn.Parameter(torch.zeros(2)), "requires a gradient"),
        (torch.zeros(1).expand(2), "single memory location|share memory"),
    ],
)
def test_what_torch_does_not_write_to_is_refused_and_keeps_its_elements(tensor, text, way):
    with pytest.raises((ValueError, RuntimeError), match=text):
        load_into({"w": tensor}, sources(message_of({"w": tensor}))[way])
    assert tensor.tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("way", ["memory", "stream"])
def test_a_backward_pass_over_elements_that_were_received_meanwhile_fails_as_after_any_writing(way, dtype):
    weight = torch.ones(3, requires_grad=True, dtype=dtype)
    loss = (weight * weight).sum()
    tensors = {"w": torch.full((3,), 3.0, dtype=dtype)}
    load_into({"w": weight.detach()}, sources(dumps(tensors))[way])
    assert weight.tolist() == [3, 3, 3]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_message_that_does_not_fit_leaves_a_backward_pass_as_it_was():
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * weight).sum()
    with pytest.raises(SchemaError):
        load_into({"w": weight.detach()}, dumps({"w": np.ones(4, "f4")}))
    loss.backward()
    assert weight.grad.tolist() == [2, 2, 2]


def test_a_parameter_is_refused_by_name_before_anything_is_read_unless_autograd_is_off():
    net = torch.nn.Linear(2, 3)
    message = dumps({name: torch.full_like(value, 7) for name, value in net.state_dict().items()})
    own = {"weight": net.weight.detach(), "bias": net.bias}
    stream = io.BytesIO(message)
    with pytest.raises(ValueError, match=r"the array 'bias' requires a gradient, .*; pass its \.detach\(\)"):
        load_into(own, stream)
    assert stream.tell() == 0
    with pytest.raises(ValueError, match=r"'bias' requires a gradient"):
        load_into({**own, "bias": net.bias[:]}, message)
    assert not (net.weight == 7).any()
    with torch.no_grad():
        load_into(dict(net.named_parameters()), message)
    assert bool((net.weight == 7).all())
    assert bool((net.bias == 7).all())


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(1).expand(2), torch.zeros(3).as_strided((2, 2), (1, 1))],
    ids=["expanded", "strided over itself"],
)
def test_a_tensor_whose_elements_share_memory_is_refused_by_name_before_another_is_written_to(tensor):
    own = {"a": torch.zeros(2), "b": tensor}
    with pytest.raises(ValueError, match=r"the array 'b' has elements that share memory .*x\.clone\(\)"):
        load_into(own, dumps({"a": np.ones(2, "f4"), "b": np.ones(tensor.shape, "f4")}))
    assert own["a"].tolist() == [0, 0]
    load_into({**own, "b": tensor.clone()}, dumps({"a": np.ones(2, "f4"), "b": np.ones(tensor.shape, "f4")}))


def test_tied_weights_are_received_and_halves_that_overlap_are_not():
    net = torch.nn.ModuleDict({"embed": torch.nn.Embedding(3, 2), "head": torch.nn.Linear(2, 3, bias=False)})
    net["head"].weight = net["embed"].weight
    message = dumps({name: value + 1 for name, value in net.state_dict().items()})
    expected = net["embed"].weight.detach() + 1
    load_into(net.state_dict(), message)
    assert torch.equal(net["head"].weight, expected)
    with pytest.raises(SchemaError, match=r"'embed.weight' and the array 'head.weight' are the same memory here"):
        load_into(net.state_dict(), dumps({"embed.weight": torch.ones(3, 2), "head.weight": torch.zeros(3, 2)}))
    assert torch.equal(net["head"].weight, expected)
    whole = torch.zeros(5)
    halves = {"a": whole[:3], "b": whole[2:]}
    with pytest.raises(ValueError, match=r"the array 'a' and the array 'b' share memory in part"):
        load_into(halves, dumps({"a": np.ones(3, "f4"), "b": np.ones(3, "f4")}))
    assert whole.tolist() == [0] * 5
    over_numpy = {"a": whole[:3], "b": whole.numpy()[2:]}
    with pytest.raises(ValueError, match="share memory in part"):
        load_into(over_numpy, dumps({"a": np.ones(3, "f4"), "b": np.ones(3, "f4")}))


def test_messages_for_torch_are_copies_that_may_be_written_to():
    message = dumps({"w": np.ones(3), "b": np.ones(2, "f4")})
    found = loads(message, device="torch:cpu")
    found["w"].unwrap()[0] = 5
    assert loads(message)["w"].tolist() == [1, 1, 1]
    assert [found[name].device for name in found] == ["torch:cpu"] * 2
