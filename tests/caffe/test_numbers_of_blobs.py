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

kind, param = sys.argv[1:]

def net_of(bottoms, tops):
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ dim: 4 dim: 3 dim: 5 dim: 5 }} }} }} '
        for name in bottoms
    )
    blobs = "".join(f'bottom: "{name}" ' for name in bottoms) + "".join(f'top: "{name}" ' for name in tops)
    layer = f'layer {{ name: "x" type: "{kind}" {blobs} {param} }}'
    return f'base_lr: 0.1 lr_policy: "fixed" net_param {{ force_backward: true {inputs} {layer} }}'

def run(bottoms, tops):
    net = CaffeNet(net_of(bottoms, tops))
    for rows in (4, 7, 1):
        values = np.random.default_rng(rows).integers(0, 2, (rows, 3, 5, 5)).astype("f4")
        for act in (net.step, net.forward):
            with contextlib.suppress(SparknetError, RuntimeError):
                act({name: NDArray(values) for name in bottoms})

made = 0
for number, tops, own in itertools.product(range(4), range(4), (False, True)):
    bottoms = [f"b{i}" for i in range(number)]
    names = bottoms[:tops] if own else [f"t{i}" for i in range(tops)]
    child = os.fork()
    if not child:
        try:
            run(bottoms, names)
        except SparknetError:
            os._exit(1)
        except BaseException as error:
            os.write(2, f"{number} bottoms, tops {names}: {error!r}\\n".encode())
            os._exit(2)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    made += not code
    if code not in (0, 1):
        print(f"{number} bottoms, tops {names}: {code}")
print("made", made)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(COMPUTES))
def test_no_number_of_blobs_ends_the_process(kind):
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}  # threads do not outlive a fork
    strict = {
        "MALLOC_CHECK_": "3",
        "MALLOC_PERTURB_": "165",
    }  # what is written beside a blob ends the process, in glibc
    command = [sys.executable, "-c", EACH, kind, PARAMETERS.get(kind, "")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=250, env={**os.environ, **one, **strict}
    )
    assert re.fullmatch(r"made \d+\n", done.stdout), done.stdout + done.stderr
