"""Without a Caffe that loads, everything else works, and asking for a CaffeNet says what to install."""

import subprocess
import sys

import pytest

MAKE = """
import sys
sys.path.insert(0, {path!r})
from sparknet import MissingDependency
from sparknet.nets import CaffeNet
assert "caffe" not in sys.modules
try:
    CaffeNet("base_lr: 1\\n")
except MissingDependency as error:
    print(error)
"""
NO_BOOST = "raise ImportError('libboost_python313.so.1.83.0: cannot open shared object file')"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "no Caffe (package 'caffe') is installed; build it with: nox -s pycaffe"),
        ({"caffe/README": ""}, "no Caffe (package 'caffe') is installed"),  # a folder that only has the name
        (
            {"caffe/__init__.py": NO_BOOST, "caffe/built_on.txt": "debian 13\nlibboost-python1.83.0\nlibhdf5-310\n"},
            (
                "cannot open shared object file; on debian 13, for which it was built: apt-get install libboost-python1.83.0 "
                "libhdf5-310; elsewhere build it anew: nox -s pycaffe"
            ),
        ),
        (
            {"caffe/__init__.py": NO_BOOST},  # a stock Caffe
            "cannot open shared object file; install the shared libraries that it was built with, or build it for this",
        ),
        (
            {"caffe/__init__.py": NO_BOOST, "caffe/built_on.txt": "ubuntu 24.04\n"},  # a release with unknown names
            "cannot open shared object file; install the shared libraries that it was built with, or build it for this",
        ),
        ({"caffe/__init__.py": "import six_is_not_here"}, "Caffe needs the Python package 'six_is_not_here'"),
    ],
)
def test_the_message_says_what_to_install(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    code = MAKE.format(path=str(tmp_path))
    if "caffe/__init__.py" not in files:  # hide a Caffe that this environment has
        code = HIDE + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert expected in done.stdout
    assert done.stderr == ""


HIDE = """
import importlib.machinery as m
find = m.PathFinder.find_spec
def hidden(name, path=None, target=None):
    spec = find(name, path, target)
    return None if name == "caffe" and spec and spec.loader and spec.origin else spec
m.PathFinder.find_spec = hidden
"""
