"""einops, in its array-API flavour: patterns on NDArrays give what they give on numpy arrays."""

import einops
import einops.array_api
import numpy as np
import pytest

from sparknet import NDArray, nd


@pytest.fixture
def images():
    return np.arange(2 * 4 * 6 * 3, dtype="float32").reshape(2, 4, 6, 3)


@pytest.mark.parametrize(
    ("pattern", "lengths"),
    [
        ("b h w c -> b c h w", {}),
        ("b h w c -> (b h) w c", {}),
        ("b h w c -> b (h w c)", {}),
        ("b (h h2) (w w2) c -> b h w (c h2 w2)", {"h2": 2, "w2": 3}),
        ("b h w c -> b h w c 1", {}),
    ],
)
def test_rearrange(pattern, lengths, images):
    got = einops.array_api.rearrange(nd.asarray(images), pattern, **lengths)
    assert type(got) is NDArray
    assert np.array_equal(got.to_host(), einops.rearrange(images, pattern, **lengths))


def test_rearranging_without_a_reordering_shares_memory(images):
    assert np.shares_memory(einops.array_api.rearrange(nd.asarray(images), "b h w c -> b (h w) c").to_host(), images)


def test_rearrange_stacks_a_list(images):
    got = einops.array_api.rearrange([nd.asarray(image) for image in images], "b h w c -> h (b w) c")
    assert np.array_equal(got.to_host(), einops.rearrange(list(images), "b h w c -> h (b w) c"))


@pytest.mark.parametrize("reduction", ["sum", "mean", "min", "max", "prod"])
def test_reduce(reduction, images):
    pattern = "b (h 2) (w 2) c -> b h w c"
    got = einops.array_api.reduce(nd.asarray(images), pattern, reduction)
    assert type(got) is NDArray
    assert np.array_equal(got.to_host(), einops.reduce(images, pattern, reduction))


def test_repeat(images):
    got = einops.array_api.repeat(nd.asarray(images), "b h w c -> b (h 2) (w n) c", n=3)
    assert type(got) is NDArray
    assert np.array_equal(got.to_host(), einops.repeat(images, "b h w c -> b (h 2) (w n) c", n=3))


def test_unpack_is_the_inverse_of_pack(images):
    arrays = [nd.asarray(images), nd.asarray(images[:, 0])]
    packed, shapes = einops.array_api.pack(arrays, "b * c")
    assert packed.shape == (2, 4 * 6 + 6, 3)
    unpacked = einops.array_api.unpack(packed, shapes, "b * c")
    assert all(np.array_equal(a.to_host(), b.to_host()) for a, b in zip(arrays, unpacked, strict=True))


def test_asnumpy_shares_memory(images):
    assert np.shares_memory(einops.array_api.asnumpy(nd.asarray(images)), images)


def test_a_wrong_pattern_is_einops_own_error_with_the_shape(images):
    with pytest.raises(einops.EinopsError, match=r"Input tensor shape: \(2, 4, 6, 3\)"):
        einops.array_api.rearrange(nd.asarray(images), "b c -> c b")


def test_the_other_flavour_knows_its_own_list_of_libraries_only_unless_a_release_has_learnt_it(images):
    try:
        turned = einops.rearrange(nd.asarray(images), "b h w c -> b c h w")
    except RuntimeError as error:
        assert "Tensor type unknown to einops" in str(error)  # noqa: PT017 -- either is right
    else:
        assert np.array_equal(np.asarray(turned), images.transpose(0, 3, 1, 2))
