"""Spark's daemon for Python workers with the modules that workers need imported before it forks them.

Spark imports nothing before it forks, and kills a worker whose task has failed: each worker takes half a second of the processor to
import numpy and sparknet, and each task some 30 ms to collect garbage among them. Tests whose tasks fail, four times each, start many.
Programs that tests start for themselves have the daemon that users have.
"""

import gc

import pyspark.daemon

import sparknet.nets
import sparknet.spark  # noqa: F401 -- and with it numpy, msgpack and sparknet's tasks

if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    pyspark.daemon.manager()
