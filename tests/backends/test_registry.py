"""The registry: what is imported when, what a device string finds, what the messages say."""

import copy
import operator
import subprocess
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import numpy as np
import pytest

from sparknet import DeviceError, MissingDependency, NDArray, nd
from sparknet.backends import available, backend_for_device, backend_of, get_backend, register_backend, registry
from sparknet.backends.adapt import adapt


class Toy:
    """An array of a package of its own, with what the tests here need of one."""

    def __init__(self, value):
        self.value = value

    def __dlpack__(self):
        raise NotImplementedError


Toy.__module__ = "a_toy.arrays"


@pytest.fixture(autouse=True)
def registry_as_it_was(monkeypatch):
    """Take back what a test adds to the registry."""
    for name in ("REGISTRY", "BY_DEVICE", "_LOADED", "_BY_TYPE"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


@pytest.fixture
def toy_module(monkeypatch):
    toy = ModuleType("a_toy")
    toy.asarray = lambda obj, **_: obj if isinstance(obj, Toy) else Toy(obj)
    toy.float32 = np.float32
    toy.BACKEND = adapt("a_toy", toy, Toy, lambda array: array.value)
    monkeypatch.setitem(sys.modules, "a_toy", toy)
    return toy


@pytest.fixture
def reads(monkeypatch):
    """Return the list of the times that entry points were read; one package names a backend ``a_toy``."""
    times = []

    def entry_points(*, group):
        times.append(group)
        return [EntryPoint("a_toy", "a_toy:BACKEND", group), EntryPoint("numpy", "an_impostor:BACKEND", group)]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    return times


# ---- entry points
def test_entry_points_are_not_read_for_what_is_known(reads):
    assert get_backend("numpy") is backend_for_device("cpu")
    assert backend_of(np.ones(1)).name == "numpy"
    assert [backend_of(value) for value in ([1], 2.0, "text", object())] == [None] * 4
    NDArray([1, 2])
    assert reads == []


def test_an_unknown_name_is_looked_for_in_the_entry_points(reads, toy_module):
    assert get_backend("a_toy") is toy_module.BACKEND
    assert get_backend("a_toy") is toy_module.BACKEND
    assert reads == ["sparknet.backends"]


def test_an_unknown_device_is_looked_for_in_the_entry_points(reads, toy_module):
    assert backend_for_device("a_toy:cpu") is toy_module.BACKEND
    assert reads == ["sparknet.backends"]


def test_the_array_of_an_unknown_package_is_looked_for_in_the_entry_points(reads, toy_module):
    array = Toy(np.ones(2))
    assert backend_of(array) is toy_module.BACKEND
    assert NDArray(array).unwrap() is array
    assert reads == ["sparknet.backends"]


@pytest.mark.usefixtures("reads", "toy_module")
def test_an_installed_package_does_not_replace_a_name_that_is_taken():
    get_backend("a_toy")
    assert get_backend("numpy").array_type is np.ndarray


# ---- registering
def test_a_registered_backend_is_imported_when_it_is_first_used(toy_module):
    register_backend("later", "no_such_module_yet:BACKEND")
    with pytest.raises(MissingDependency, match=r"'later' \(no_such_module_yet:BACKEND\) cannot be imported"):
        get_backend("later")
    register_backend("later", "a_toy:BACKEND")
    assert get_backend("later") is toy_module.BACKEND


def test_a_backend_can_be_replaced(toy_module):
    before = get_backend("numpy")
    register_backend("numpy", "a_toy:BACKEND")
    assert get_backend("numpy") is toy_module.BACKEND
    assert backend_for_device("cpu") is toy_module.BACKEND
    register_backend("numpy", "sparknet.backends.numpy:BACKEND")
    assert get_backend("numpy") is before


def test_a_target_without_a_colon_is_refused():
    with pytest.raises(ValueError, match=r"got 'package\.module', expected 'module:attribute'"):
        register_backend("wrong", "package.module")


def test_an_attribute_that_is_not_there_is_a_missing_dependency():
    register_backend("wrong", "sparknet.errors:NOTHING")
    with pytest.raises(MissingDependency, match="NOTHING"):
        get_backend("wrong")
    assert "wrong" not in available()


# ---- devices
def test_a_device_string_says_alone_where_an_array_is():
    assert backend_for_device("numpy") is backend_for_device("numpy:cpu") is backend_for_device("cpu")
    assert NDArray([1], device="numpy:cpu").device == "cpu"


@pytest.mark.parametrize("device", ["tpu:0", "", "gpu", "no_such:cpu"])
def test_an_unknown_device_says_what_is_expected(device):
    with pytest.raises(
        DeviceError, match=r"expected 'cpu' or 'cuda:N', or a backend and its device, such as 'torch:cpu'"
    ):
        nd.zeros(1, device=device)


@pytest.mark.usefixtures("toy_module")
def test_a_device_that_a_backend_does_not_have_is_named():
    with pytest.raises(DeviceError, match="'numpy' has the device 'cpu' only, not 'cpu:1'"):
        nd.zeros(1, device="cpu:1")
    register_backend("a_toy", "a_toy:BACKEND")
    with pytest.raises(DeviceError, match="'a_toy' has no device 'gpu' here: it has 'cpu' only"):
        backend_for_device("a_toy:gpu")


def test_what_computes_is_called_by_the_backend_where_devices_must_be_current(toy_module):
    calls = []

    def call(function, *args, **kwargs):
        calls.append(function)
        return function(*args, **kwargs)

    namespace = get_backend("numpy").namespace
    toy_module.BACKEND = adapt("a_toy", namespace, np.ndarray, np.asarray, call=lambda _device: call)
    register_backend("a_toy", "a_toy:BACKEND")
    a = nd.asarray([[1, 2], [3, 4]], device="a_toy:cpu")
    assert len(calls) == 1
    operations = [
        *(lambda: a + a, lambda: 2 - a, lambda: -a, lambda: a[0], lambda: a[a > 2], lambda: operator.iadd(a, 1)),
        *(lambda: operator.setitem(a, (0, 0), 5), lambda: a.mT, lambda: nd.square(a), lambda: nd.add(a, a)),
        *(lambda: nd.sum(a, axis=0), lambda: nd.concat([a, a]), lambda: nd.linalg.trace(a), lambda: int(a[0, 0])),
        *(lambda: copy.copy(a), lambda: nd.zeros(3, device=a.device), a.to_flat, lambda: a.allclose(a)),
    ]
    for operation in operations:
        calls.clear()
        operation()
        assert calls


def test_a_dtype_that_a_library_does_not_have_is_named():
    pytest.importorskip("torch")
    with pytest.raises(TypeError, match="'torch' has no dtype datetime64"):
        nd.zeros(1, dtype=np.dtype("M8[s]"), device="torch:cpu")


def test_a_device_of_torch_is_written_with_its_number():
    torch = pytest.importorskip("torch")
    with pytest.raises(DeviceError, match="'torch' has no device 'nothing' here"):
        backend_for_device("torch:nothing")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="'torch' has no device 'cuda:0' here"):
            backend_for_device("torch:cuda:0")


# ---- libraries that are missing, in interpreters of their own
def run(code):
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_arrays_of_numpy_import_no_other_library():
    run(
        "import sys, numpy as np, sparknet\n"
        "from sparknet import backends, nd\n"
        "a = nd.asarray(np.ones(3)) + nd.ones(3)\n"
        "assert backends.backend_of([1]) is None and backends.backend_of(np.float32(1)) is None\n"
        "try: sparknet.NDArray([1], device='tpu:0')\n"
        "except sparknet.DeviceError: pass\n"
        "loaded = {'torch', 'cupy', 'sparknet.backends.torch', 'sparknet.backends.cupy'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )


def test_backend_of_never_imports_a_library():
    run(
        "import sys\n"
        "from sparknet.backends import backend_of\n"
        "class Array: __dlpack__ = None\n"
        "assert backend_of(Array()) is None\n"
        "assert not {'numpy', 'torch', 'cupy'} & set(sys.modules)\n"
    )


@pytest.mark.parametrize(
    ("package", "device", "says"),
    [
        ("cupy", "cuda:0", "sparknet[cuda12]' or 'sparknet[cuda13]"),
        ("torch", "torch:cpu", "pip install 'sparknet[torch]'"),
    ],
)
def test_a_missing_library_is_named_with_the_command_that_brings_it(package, device, says):
    said = run(
        f"import sys; sys.modules[{package!r}] = None\n"
        "import sparknet\n"
        "from sparknet import backends, nd\n"
        f"assert {package!r} not in backends.available()\n"
        f"try: nd.zeros(3, device={device!r})\n"
        "except sparknet.MissingDependency as error: print(error)\n"
    )
    assert says in said


def test_cupy_without_a_device_says_so():
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.is_available():
        pytest.skip("there is a CUDA device here; tests/backends/test_cupy.py runs on it")
    assert "cupy" not in available()
    for _ in range(2):  # an import that failed is tried again
        with pytest.raises(DeviceError, match=r"cupy is installed, but no CUDA device can be used here .*nvidia-smi"):
            NDArray([1, 2], device="cuda:0")
