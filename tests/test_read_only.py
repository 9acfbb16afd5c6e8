"""Read-only memory stays as it is, whichever way an NDArray over it is taken: of a message in bytes, or of a mapped file."""

import copy
import ctypes
import io
import operator
import pickle
from functools import partial

import numpy as np
import pytest

from sparknet import NDArray, WeightCollection, dumps, load, loads, nd, save
from sparknet.serialization import load_into

VALUES = [1.0, 2.0, 3.0]
KINDS = ["of a message", "of a mapped file", "of bytes"]


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    """A read-only NDArray, and a function that reads its memory again."""
    w, path = WeightCollection({"ip": [np.array(VALUES)]}), tmp_path / "w.msg"
    save(path, w)
    if request.param == "of a mapped file":
        return load(path)["ip"][0], partial(_again, path.read_bytes)
    message = path.read_bytes()
    if request.param == "of a message":
        return loads(message)["ip"][0], partial(_again, lambda: message)
    memory = np.frombuffer(np.array(VALUES).tobytes())
    return NDArray(memory), memory.tolist


def _again(read):
    return loads(read(), verify=True)["ip"][0].tolist()


def flag_set(array):
    array.unwrap().flags.writeable = True


WRITES = {
    "a[0] = 9": lambda a: operator.setitem(a, 0, 9),
    "a[...] = b": lambda a: operator.setitem(a, ..., nd.ones(3)),
    "a[1:] += 1": lambda a: operator.iadd(a[1:], 1),
    "a += 1": lambda a: operator.iadd(a, 1),
    "a *= b": lambda a: operator.imul(a, nd.ones(3)),
    "a[0, ...] = 9": lambda a: operator.setitem(a[0, ...], ..., 9),
    "reshaped": lambda a: operator.iadd(nd.reshape(a, (3, 1)), 1),
    "unwrap()": lambda a: operator.iadd(a.unwrap(), 1),
    "to_host()": lambda a: operator.iadd(a.to_host(), 1),
    "numpy.asarray": lambda a: operator.iadd(np.asarray(a), 1),
    "numpy.from_dlpack": lambda a: operator.iadd(np.from_dlpack(a), 1),
    "nd.from_dlpack": lambda a: operator.iadd(nd.from_dlpack(a), 1),
    "nd.asarray": lambda a: operator.iadd(nd.asarray(a), 1),
    "out=": lambda a: np.add(np.ones(3), 1, out=a),
    "out=, of both": lambda a: np.sin(a, out=a),
    "ufunc.at": lambda a: np.add.at(a, [0], 1),
    "x += a into a": lambda a: np.multiply(a, 2, out=(a,)),
    "flat_copy(out)": lambda a: nd.zeros(3).flat_copy(a),
    "load_into": lambda a: load_into(a, dumps(np.ones(3))),
    "collection += 1": lambda a: operator.iadd(WeightCollection({"ip": [a]}), 1),
    "the flag": flag_set,
    "memoryview": lambda a: operator.setitem(memoryview(a.to_host()).cast("B"), 0, 1),
    "its buffer": lambda a: operator.setitem(a.__buffer__(0).cast("B"), 0, 1),
    "a buffer to write to": lambda a: io.BytesIO(bytes(24)).readinto(a),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_is_refused_in_words(source, write):
    array, again = source
    with pytest.raises((ValueError, TypeError), match=r"read-only|WRITEABLE|read-write bytes-like"):
        write(array)
    assert again() == VALUES


def out_of_band(a):
    buffers = []
    message = pickle.dumps(a, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(message, buffers=buffers)


COPIES = {
    "numpy.array": np.array,
    "numpy.from_dlpack(copy=True)": lambda a: np.from_dlpack(a, copy=True),
    "nd.asarray(copy=True)": lambda a: nd.asarray(a, copy=True),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle, protocol 4": lambda a: pickle.loads(pickle.dumps(a, protocol=4)),
    "pickle, protocol 5": lambda a: pickle.loads(pickle.dumps(a, protocol=5)),
    "pickle, out of band": out_of_band,
    "to_flat()": NDArray.to_flat,
    "WeightCollection.copy()": lambda a: WeightCollection({"ip": [a]}).copy()["ip"][0],
    "an element": lambda a: a[0],
}


@pytest.mark.parametrize("way", COPIES.values(), ids=COPIES)
def test_a_copy_is_writable_and_shares_nothing(source, way):
    array, again = source
    copied = way(array)
    copied += 1
    assert again() == VALUES


class Managed(ctypes.Structure):
    """DLManagedTensorVersioned of DLPack 1.0, as far as its flags."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("data", ctypes.c_void_p),
    )


def opened(capsule):
    """What lies in a capsule: its name, the flags and the address of the data."""
    get_name, get_pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    name = get_name(capsule)
    address = get_pointer(capsule, name)
    if name == b"dltensor":  # older: the tensor comes first
        return name, 0, ctypes.c_void_p.from_address(address).value
    managed = Managed.from_address(address)
    return name, managed.flags, managed.data


READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY


def test_dlpack_1_gets_the_memory_with_its_flag(source):
    array, _ = source
    name, flags, data = opened(array.__dlpack__(max_version=(1, 0)))
    assert name == b"dltensor_versioned"
    assert flags & READ_ONLY
    assert data == array.unwrap().ctypes.data


@pytest.mark.parametrize("version", [None, (0, 8)])
def test_an_older_dlpack_which_has_no_flag_gets_a_copy(source, version):
    array, _ = source
    name, _, data = opened(array.__dlpack__(max_version=version))
    assert name == b"dltensor"
    assert data != array.unwrap().ctypes.data


def test_torch_which_does_not_look_at_the_flag_gets_a_copy(source):
    array, _ = source
    calling = {"__name__": "torch.utils.dlpack", "array": array}
    _, flags, data = opened(eval("array.__dlpack__(max_version=(1, 0))", calling))  # noqa: S307 - as code of torch
    assert not flags & READ_ONLY
    assert data != array.unwrap().ctypes.data


@pytest.mark.parametrize("version", [None, (0, 8)])
def test_who_forbids_the_copy_is_told_how_to_have_writable_memory(source, version):
    array, _ = source
    fix = r"loads\(\.\.\., copy=True\), load\(\.\.\., mmap=False\)"
    with pytest.raises(BufferError, match=rf"the consumer cannot be told so; .*{fix}"):
        array.__dlpack__(max_version=version, copy=False)


def test_writable_memory_is_shared_with_every_version():
    array = nd.zeros(3)
    for version in (None, (0, 8), (1, 0)):
        for forbidden in (None, False):
            _, flags, data = opened(array.__dlpack__(max_version=version, copy=forbidden))
            assert not flags & READ_ONLY
            assert data == array.unwrap().ctypes.data


def test_there_is_no_other_way_to_the_memory(source):
    array, _ = source
    assert [name for name in ("__array_interface__", "__array_struct__") if hasattr(array, name)] == []
