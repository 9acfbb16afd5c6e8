"""Every type of layer: its forward pass is its formula, and its backward pass is the gradient of its forward pass.

The numeric gradient comes from the net itself, in float32: five points, whose own error is of the order of h ** 4, and sums of
float64.
"""

import caffe
import numpy as np
import pytest
from layer_cases import CASES, OF_DATA, REFUSES

pytestmark = pytest.mark.caffe

# Beside the exact value in float64 a layer rounds at most 2 ** 5 times in a row (sums of up to 2 * 3 * 3 terms, exp, log and
# powers with up to four roundings each), each time by 2 ** -24.
RELATIVE = 2.0**-19
STEP = 2.0**-6
WEIGHT_OF_POINT = {-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}
# h ** 4 / 30 of the fifth derivative, which is below 2 ** 13: the largest is 4! / p ** 5 / 4 of -log(p) at p = 1/4, 4 rows.
TRUNCATION = 2.0**13 * STEP**4 / 30


@pytest.fixture
def net_of(tmp_path):
    """Return a function that makes the net of a case, with its inputs and weights."""

    def make(case):
        (tmp_path / "net.prototxt").write_text(case.prototxt)
        net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
        for index, value in enumerate(case.inputs):
            net.params[f"in{index}"][0].data[...] = value
        for blob, value in zip(net.params.get("it", []), case.weights, strict=True):
            blob.data[...] = value
        return net

    return make


def tops_of(case, net):
    """Run the forward pass, with the same random numbers each time; return copies of the tops in float64."""
    caffe.set_random_seed(1)
    net.forward()
    return [net.blobs[f"out{index}"].data.astype(np.float64) for index in range(case.tops)]


def exact(case, tops):
    """Return the tops that the formula says."""
    known = [np.asarray(value, np.float64) for value in (*case.inputs, *case.weights)]
    found = case.formula(tops[0], *known) if case.random else case.formula(*known)
    return found if isinstance(found, list) else [found]


def learned(case, net):
    """Return name -> blob of all that Caffe computes a gradient for."""
    blobs = {f"in{i}": net.params[f"in{i}"][0] for i in range(len(case.inputs)) if i not in case.constant}
    weights = net.params.get("it", [])
    return blobs | {f"weights {i}": blob for i, blob in enumerate(weights) if i not in case.constant_weights}


def numeric_gradient(case, net, blob, weights):
    """Return the gradient of the tops' weighted sum, and how far it may be wrong by rounding."""
    gradient, wrong = np.zeros(blob.data.shape), np.zeros(blob.data.shape)
    for place in np.ndindex(blob.data.shape):
        value = blob.data[place]
        for point, share in WEIGHT_OF_POINT.items():
            blob.data[place] = value + point * STEP  # exact: all values are multiples of 2 ** -6
            terms = [share / STEP * w * top for w, top in zip(weights, tops_of(case, net), strict=True)]
            gradient[place] += sum(term.sum() for term in terms)
            wrong[place] += sum(np.abs(term).sum() for term in terms)
        blob.data[place] = value
    return gradient, RELATIVE * wrong + TRUNCATION


@pytest.mark.parametrize("kind", list(caffe.layer_type_list()))
def test_every_type_has_a_case_or_a_test_of_its_own(kind):
    assert (kind in {case.kind for case in CASES}) != (kind in OF_DATA)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_forward_pass_is_the_formula(net_of, case):
    tops = tops_of(case, net_of(case))
    expected = exact(case, tops)
    assert len(tops) == len(expected)
    for top, value in zip(tops, expected, strict=True):
        assert top.shape == np.shape(value)
        # A sum may cancel: the numbers that are added are below 8.
        np.testing.assert_allclose(top, value, rtol=RELATIVE, atol=8 * RELATIVE)


@pytest.mark.parametrize("case", [case for case in CASES if case.kind not in REFUSES], ids=str)
def test_the_backward_pass_is_the_gradient_of_the_forward_pass(net_of, case):
    net, rng = net_of(case), np.random.default_rng(0)
    weights = [rng.uniform(0.5, 1, top.shape) for top in tops_of(case, net)]
    blobs = learned(case, net)
    numeric = {name: numeric_gradient(case, net, blob, weights) for name, blob in blobs.items()}
    tops_of(case, net)
    net.clear_param_diffs()
    for index, value in enumerate(weights):
        net.blobs[f"out{index}"].diff[...] = value
    net.backward()
    for name, (gradient, wrong) in numeric.items():
        assert (np.abs(blobs[name].diff - gradient) <= wrong).all(), (name, blobs[name].diff, gradient)
    assert case.kind == "Silence" or all(
        np.abs(gradient).max() > 8 * wrong.max() for gradient, wrong in numeric.values()
    )


@pytest.mark.parametrize("case", [case for case in CASES if case.kind in REFUSES], ids=str)
def test_the_backward_pass_of_a_layer_without_a_gradient_raises(net_of, case):
    net = net_of(case)
    net.forward()
    with pytest.raises(RuntimeError, match="Not Implemented Yet"):
        net.backward()
