"""Run by ``nox -s package`` in an environment that has sparknet's wheel and nothing else: is that enough to use it?

Not a test module: pytest and the checkout must not be there.
"""

import importlib.util
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

import sparknet

OPTIONAL = ("caffe", "cupy", "matplotlib", "pyspark", "torch")


def check() -> None:
    installed = {distribution.name.lower() for distribution in metadata.distributions()}
    expected = {"sparknet", "numpy", "msgpack", "array-api-compat"}
    assert installed - {"pip", "setuptools", "wheel"} == expected, installed
    assert [name for name in OPTIONAL if importlib.util.find_spec(name)] == []
    assert "site-packages" in sparknet.__file__, sparknet.__file__
    assert metadata.version("sparknet") == sparknet.__version__
    assert (Path(sparknet.__file__).parent / "py.typed").exists()

    rng = np.random.default_rng(7)
    weights = sparknet.WeightCollection(
        {
            "conv1": [
                sparknet.NDArray(rng.standard_normal((20, 1, 5, 5), dtype=np.float32)),
                sparknet.NDArray(np.zeros(20, np.float32)),
            ],
            "ip": [sparknet.NDArray(rng.standard_normal((10, 80)))],
        }
    )
    assert sparknet.loads(sparknet.dumps(weights)) == weights
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.sparknet"
        sparknet.save(path, weights)
        assert sparknet.load(path) == weights
    assert (weights + weights) / 2 == weights

    loaded = {name.partition(".")[0] for name in sys.modules}
    assert loaded.isdisjoint(OPTIONAL), loaded & set(OPTIONAL)
    commands = metadata.entry_points(group="console_scripts", name="sparknet")
    assert len(commands) == 1


if __name__ == "__main__":
    check()
    print(f"sparknet {sparknet.__version__} works alone: 1 passed, 0 failed")
