"""Spark: packing RDDs and DataFrames, training on them, and inference over their rows.

Only this package imports pyspark. Users import :mod:`sparknet.spark`, which has its public names.
"""
