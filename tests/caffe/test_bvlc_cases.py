"""The installed wheel computes what BVLC Caffe computes: 64 cases, their values taken from BVLC's newest master.

A case is run as its fields say:

- `prototxt`, `phase`, `seed`: the net, made after Caffe's generator got the seed;
- `weights` ("layer.blob" -> values) and `inputs` (blob -> values) are written into it;
- `h5from`, `h5weights`: another net, whose file of save_hdf5 is then loaded, by copy_from where `copy` names the file;
- `solver`: settings beside `net:`. `applies` = n: n times clear_param_diffs, forward, backward, apply_update;
  otherwise `step(steps)`;
- without a solver: forward, then, unless `backward` is false, backward from `topdiff` (without: a loss's own weight, else 1);
- `expected`: "top x", "diff x" (of a blob, or of the Parameter layer x), "param x.0", "iter"; or `raises`.
"""

from __future__ import annotations

import json
from pathlib import Path

import caffe
import numpy as np
import pytest

pytestmark = pytest.mark.caffe

CASES = json.loads(Path(__file__).with_name("bvlc_cases.json").read_text(encoding="utf-8"))["cases"]

# What the message says where a case raises.
REFUSED = {
    "Pooling MAX ceil_mode: false": "Failed to parse NetParameter",
    "Pooling AVE ceil_mode: false": "Failed to parse NetParameter",
    "Deconvolution engine CUDNN": "Layer d has unknown engine",
    "BatchNorm param lr_mult 1": "blob 0 of BatchNorm is a statistic and cannot be learned",
    "exp gamma -0.9": 'lr_policy: "exp"',
    "sigmoid gamma -0.5 (falling rate)": 'lr_policy: "sigmoid"',
    "load_hdf5 of 2 rows into 3": "shape",
    "load_hdf5 of 2x3 into 3x2": "shape",
}

# Where BVLC reads or writes outside of a buffer, this wheel raises.
SAFER = {
    "label out of range, SoftmaxWithLoss": "label_value < ",
    "label out of range, Accuracy": "label_value < ",
    "index out of range, Embed": "index < K_",
    "MAX pooling, stride beyond the kernel: empty last window": r"window \(0, 2\) lies beyond the input of 4 x 4",
}

# The values are float32 of another build. On the BLAS they were made with they agree bit for bit. Another may add in another
# order: at most 8 terms and 50 steps, so less than 2 ** 7 roundings of 2 ** -24 each; beside numbers up to 1, a difference of
# them may be wrong by a few roundings as a whole.
RELATIVE, ABSOLUTE = 2.0**-17, 2.0**-22


def values(nested):
    """Return a float32 array; "NaN" and "inf" are written as strings."""
    return np.asarray(nested, dtype=object).astype(np.float32)


def fill(blobs, given):
    """Write the given values into blobs of a net."""
    for name, nested in given.items():
        blobs[name].data[...] = values(nested)


def saved(case, folder):
    """Save the weights of the net `h5from` as HDF5; return the file."""
    (folder / "from.prototxt").write_text(case["h5from"])
    net = caffe.Net(str(folder / "from.prototxt"), caffe.TRAIN)
    net.params["i"][0].data[...] = values(case["h5weights"])
    path = str(folder / case.get("copy", "w.h5"))
    net.save_hdf5(path)
    return path


def made(case, folder):
    """Return the case's solver, or None, and its net with weights and inputs in it."""
    (folder / "net.prototxt").write_text(case["prototxt"])
    if "seed" in case:
        caffe.set_random_seed(case["seed"])
    solver = None
    if "solver" in case:
        (folder / "solver.prototxt").write_text(f'net: "{folder}/net.prototxt" {case["solver"]}')
        solver = caffe.get_solver(str(folder / "solver.prototxt"))
    net = solver.net if solver else caffe.Net(str(folder / "net.prototxt"), getattr(caffe, case["phase"]))
    fill({f"{name}.{i}": blob for name, blobs in net.params.items() for i, blob in enumerate(blobs)}, case["weights"])
    if "h5from" in case:
        (net.copy_from if "copy" in case else net.load_hdf5)(saved(case, folder))
    fill(net.blobs, case["inputs"])
    return solver, net


def train(case, solver, net):
    """Take the case's steps."""
    for _ in range(case.get("applies", 0)):
        net.clear_param_diffs()
        net.forward()
        net.backward()
        solver.apply_update()
    if "steps" in case:
        solver.step(case["steps"])


def passes(case, net):
    """Go forward and, if the case wants it, backward."""
    net.forward()
    if not case.get("backward", True):
        return
    for name in net.outputs:
        diff = net.blobs[name].diff
        if name in case.get("topdiff", {}):
            diff[...] = values(case["topdiff"][name])
        elif not diff.any():  # no loss, which has its weight there
            diff[...] = 1
    net.backward()


def found(what, solver, net):
    """Return the value that a key of `expected` names."""
    if what == "iter":
        return solver.iter
    kind, name = what.split(" ", 1)
    if kind == "param":
        layer, index = name.rsplit(".", 1)
        return net.params[layer][int(index)].data
    if kind == "top":
        return net.blobs[name].data
    return (net.params[name][0] if name in net.params else net.blobs[name]).diff


def computed(case, folder):
    """Run a case; return its solver and net."""
    solver, net = made(case, folder)
    if solver:
        train(case, solver, net)
    else:
        passes(case, net)
    return solver, net


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_the_wheel_computes_what_bvlc_caffe_computes(case, tmp_path):
    expected = case["expected"]
    message = (SAFER | REFUSED).get(case["id"])
    if message:
        with pytest.raises(RuntimeError, match=message):
            computed(case, tmp_path)
        return
    solver, net = computed(case, tmp_path)
    for what, value in expected.items():
        np.testing.assert_allclose(found(what, solver, net), values(value), rtol=RELATIVE, atol=ABSOLUTE, err_msg=what)


def test_the_cases_that_raise_are_those_that_raise_in_bvlc_caffe_and_the_safer_ones():
    assert {case["id"] for case in CASES if "raises" in case["expected"]} == set(REFUSED)
    assert set(SAFER) <= {case["id"] for case in CASES}
    assert len(CASES) == 64
