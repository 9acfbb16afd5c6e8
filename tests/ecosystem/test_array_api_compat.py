"""array-api-compat: the helpers by which libraries recognise an array and find its namespace and device."""

import array_api_compat
import numpy as np
import pytest

from sparknet import NDArray, nd
from sparknet.errors import SparknetError


@pytest.fixture
def array():
    return nd.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_an_ndarray_is_an_array_api_object(array):
    assert array_api_compat.is_array_api_obj(array)


@pytest.mark.parametrize("library", ["numpy", "cupy", "torch", "jax", "dask", "ndonnx", "pydata_sparse", "dpnp"])
def test_neither_the_array_nor_the_namespace_is_taken_for_another_librarys(library, array):
    assert not getattr(array_api_compat, f"is_{library}_array")(array)
    assert not getattr(array_api_compat, f"is_{library}_namespace")(nd)


def test_it_is_writeable_and_not_lazy(array):
    assert array_api_compat.is_writeable_array(array)
    assert not array_api_compat.is_lazy_array(array)


def test_the_namespace_of_ndarrays_and_scalars_is_nd(array):
    assert array_api_compat.array_namespace(array) is nd
    assert array_api_compat.array_namespace(array, array, 1.0, None) is nd
    assert array_api_compat.array_namespace(array, use_compat=False) is nd


@pytest.mark.parametrize("version", ["2021.12", "2022.12", "2023.12", "2024.12"])
def test_the_namespace_is_given_for_each_version_of_the_standard(version, array):
    assert array_api_compat.array_namespace(array, api_version=version) is nd


def test_an_ndarray_and_a_numpy_array_have_no_common_namespace(array):
    with pytest.raises(TypeError, match="Multiple namespaces"):
        array_api_compat.array_namespace(array, np.ones(2))


def test_device_is_one_of_the_devices_of_the_namespace(array):
    device = array_api_compat.device(array)
    assert device == "cpu"
    assert device in nd.__array_namespace_info__().devices()
    assert device == nd.__array_namespace_info__().default_device()


def test_size_is_the_number_of_elements(array):
    assert array_api_compat.size(array) == 6
    assert array_api_compat.size(nd.zeros((0, 3))) == 0


def test_to_device_keeps_an_array_that_is_there_and_names_a_device_that_is_not(array):
    assert array_api_compat.to_device(array, "cpu") is array
    with pytest.raises(SparknetError, match="tpu"):
        array_api_compat.to_device(array, "tpu:0")


def test_arrays_can_be_made_on_the_device_of_another_array(array):
    made = nd.zeros(3, device=array_api_compat.device(array))
    assert type(made) is NDArray
    assert made.device == array.device


def test_the_namespace_says_which_dtypes_there_are_and_which_are_the_defaults():
    info = nd.__array_namespace_info__()
    assert all(info.dtypes()[name] == getattr(nd, name) for name in info.dtypes())
    assert set(info.dtypes(kind="real floating")) == {"float32", "float64"}
    assert info.default_dtypes()["real floating"] == nd.asarray([0.5]).dtype
    assert info.default_dtypes()["integral"] == nd.asarray([1]).dtype
    assert info.capabilities()["boolean indexing"] is True
