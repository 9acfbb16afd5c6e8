"""However many bottoms and tops a layer is given, in its own place or not: it computes or is refused, and the process lives."""

import os
import re
import subprocess
import sys

import pytest

from sparknet.nets.caffe.trust import COMPUTES

pytestmark = pytest.mark.caffe

PARAMETERS = {
    "Convolution": "convolution_param { num_output: 3 kernel_size: 2 }",
    "Crop": "crop_param { axis: 2 }",
    "Deconvolution": "convolution_param { num_output: 3 kernel_size: 2 }",
    "DummyData": "dummy_data_param { shape { dim: 2 } }",
    "Embed": "embed_param { num_output: 3 input_dim: 9 }",
    "Im2col": "convolution_param { kernel_size: 2 }",
    "InnerProduct": "inner_product_param { num_output: 3 }",
    "Input": "input_param { shape { dim: 2 } }",
    "LSTM": "recurrent_param { num_output: 4 }",
    "Parameter": "parameter_param { shape { dim: 2 } }",
    "Pooling": "pooling_param { kernel_size: 2 }",
    "RNN": "recurrent_param { num_output: 4 }",
    "Reshape": "reshape_param { shape { dim: 2 dim: -1 } }",
    "SPP": "spp_param { pyramid_height: 2 pool: MAX }",
    "Slice": "slice_param { axis: 1 }",
    "Tile": "tile_param { tiles: 3 }",
}
# A process for each net, so that one that ends is told from the others; most are refused, and the rest take steps.
EACH = """
import contextlib, itertools, os, sys
import numpy as np
from sparknet import NDArray, SparknetError
from sparknet.nets.caffe import CaffeNet
from sparknet.nets.caffe.runtime import load

load()  # once, not in each of two thousand processes

def net_of(kind, param, bottoms, tops):
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ dim: 4 dim: 3 dim: 5 dim: 5 }} }} }} '
        for name in bottoms
    )
    blobs = "".join(f'bottom: "{name}" ' for name in bottoms) + "".join(f'top: "{name}" ' for name in tops)
    layer = f'layer {{ name: "x" type: "{kind}" {blobs} {param} }}'
    return f'base_lr: 0.1 lr_policy: "fixed" net_param {{ force_backward: true {inputs} {layer} }}'

def run(kind, param, bottoms, tops):
    net = CaffeNet(net_of(kind, param, bottoms, tops))
    for rows in (4, 7, 1):
        values = np.random.default_rng(rows).integers(0, 2, (rows, 3, 5, 5)).astype("f4")
        for act in (net.step, net.forward):
            with contextlib.suppress(SparknetError, RuntimeError):
                act({name: NDArray(values) for name in bottoms})

def attempt(*layer):
    child = os.fork()
    if not child:
        try:
            run(*layer)
        except SparknetError:
            os._exit(1)
        except BaseException as error:
            os.write(1, f"{layer}: {error!r}\\n".encode())
            os._exit(2)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, 1):
        print(f"{layer}: {code}", flush=True)
    return not code

for line in sys.stdin:
    made = 0
    for number, tops in itertools.product(range(4), range(4)):
        bottoms = [f"b{i}" for i in range(number)]
        made += attempt(*line.rstrip("\\n").split("\\t"), bottoms, [f"t{i}" for i in range(tops)])
        if 1 <= tops <= number:  # in place
            made += attempt(*line.rstrip("\\n").split("\\t"), bottoms, bottoms[:tops])
    print("made", made, flush=True)
"""


@pytest.fixture(scope="module")
def tried():
    """Return a function that tries a type of layer in a process that has Caffe, and gives what it says of that."""
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}  # threads do not outlive a fork
    strict = {
        "MALLOC_CHECK_": "3",
        "MALLOC_PERTURB_": "165",
    }  # what is written beside a blob ends the process, in glibc
    with subprocess.Popen(
        [sys.executable, "-c", EACH],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **one, **strict},
    ) as process:

        def tried(kind):
            process.stdin.write(f"{kind}\t{PARAMETERS.get(kind, '')}\n")
            process.stdin.flush()
            said = process.stdout.readline()
            while said and not said.splitlines()[-1].startswith("made "):
                said += process.stdout.readline() or "the process has ended\nmade none\n"
            return said

        yield tried
        process.stdin.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(COMPUTES))
def test_no_number_of_blobs_ends_the_process(tried, kind):
    assert re.fullmatch(r"made \d+\n", tried(kind))
