"""Caffe logs errors alone where sparknet imports it; these tests import it first, and the whole session has the log they get."""

import os

os.environ.setdefault("GLOG_minloglevel", "2")
