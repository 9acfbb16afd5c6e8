"""Which sources of the Caffe wheel do more than compute: found again in what it is built from, with its patches."""

import importlib
import re
from pathlib import Path
from unittest import mock

import pytest

from sparknet.nets.caffe.trust import COMPUTES

pytestmark = pytest.mark.caffe

RECIPE = Path(__file__).parents[2] / "tools" / "pycaffe"
# Files and folders; environment, processes, libraries, sockets; threads; Python.
ACTS = re.compile(
    r"\b(?:f|std::f)open\(|[io]?fstream\b|\bopen\(|\bH5F\w+|\bhdf5_(?:load|save)\w*|\b(?:Read|Write)(?:Proto|NetParams|Image|File)\w*"
    r"|\bleveldb::|\bmdb_\w+|\bdb::|\b(?:un)?link\(|\bremove\(|\brename\(|\bmkdir|\bmkstemp|boost::filesystem"
    r"|\bDataReader\b|\bDataTransformer\b"
    r"|\bgetenv|\bsetenv|\bsystem\(|\bpopen|\bfork\(|\bexec[lv]\w*\(|\bdlopen|\bsocket\(|\bInternalThread\b|boost::thread\b|\bbp::import\b"
    r"|\bPyImport\w*|\bPyRun\w*"
)
# The layers that act, by their sources. CaffeNet makes data layers inputs and leaves out the output layer; it reads the file of the
# infogain layer itself. The factory of layers has the import of Python layers.
LAYERS = {
    *("base_data_layer", "data_layer", "hdf5_data_layer", "image_data_layer", "window_data_layer"),
    *("hdf5_output_layer", "infogain_loss_layer", "layer_factory"),
}
# What else acts: what these layers call, and nets and solvers, of whose fields CaffeNet takes out all that names files.
REST = {
    *("blocking_queue", "data_reader", "data_transformer", "db_leveldb", "db_lmdb", "hdf5", "internal_thread", "io"),
    *("net", "sgd_solver", "solver", "upgrade_proto"),
    "common",  # a seed from /dev/urandom, and a state for each thread
}


@pytest.fixture
def sources(monkeypatch, tmp_path):
    """The wheel's C++ sources and headers, patched."""
    monkeypatch.syspath_prepend(RECIPE)
    with mock.patch.dict("sys.modules"):
        build, recipe = importlib.import_module("build"), importlib.import_module("recipe")
        archive = recipe.fetch(build.read_settings([]).cache, tmp_path, tmp_path / "log")
        folder = recipe.unpack(archive, tmp_path)
        recipe.apply_patches(folder, RECIPE)
    return [*folder.glob("src/caffe/**/*.cpp"), *folder.glob("include/caffe/**/*.hpp")]


def code_of(path):
    """Return a source without its comments and includes."""
    return re.sub(r"//[^\n]*|/\*.*?\*/|#include[^\n]*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_sources_that_do_more_than_compute_are_those_of_the_table(sources):
    acting = {path.stem for path in sources if "cudnn" not in path.stem and ACTS.search(code_of(path))}
    assert acting == LAYERS | REST


def test_no_type_that_only_computes_is_registered_by_a_source_that_acts(sources):
    registered = {
        kind
        for path in sources
        if path.stem in LAYERS - {"layer_factory"}
        for kind in re.findall(r"REGISTER_LAYER_CLASS\((\w+)\)", code_of(path))
    }
    assert registered & COMPUTES == {"InfogainLoss"}
    assert "HDF5Output" in registered
