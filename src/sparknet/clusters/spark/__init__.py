"""Spark: packing RDDs and DataFrames, training on them, and starting a session with clear errors.

The only place that imports pyspark; its public face is :mod:`sparknet.spark`. Weights travel by Spark's
own broadcast and collect.
"""
