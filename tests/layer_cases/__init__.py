"""Cases of Caffe's layers, by what the layers do; tests/caffe/test_layers.py runs them."""

from layer_cases import dense, elementwise, losses, shapes, spatial
from layer_cases.case import Case

CASES: list[Case] = [*elementwise.CASES, *shapes.CASES, *dense.CASES, *spatial.CASES, *losses.CASES]

# Types whose backward pass refuses.
REFUSES = {
    "Accuracy": "counts, so its gradient is 0 or there is none",
    "ArgMax": "returns places, so its gradient is 0 or there is none",
    "Threshold": "steps, so its gradient is 0 or there is none",
}

# Types that read or write what no blob holds, each with a test of its own in tests/caffe/test_layers_of_data.py.
OF_DATA = {
    "Data": "has no bottom; its data bases are not compiled in",
    "DummyData": "has no bottom",
    "HDF5Data": "has no bottom",
    "HDF5Output": "has no top",
    "Input": "has no bottom",
    "MemoryData": "has no bottom",
    "Parameter": "has no bottom; the gradient of its weights is that of its top",
}
