"""Rounds over :mod:`sparknet.transport`: weights go straight from the driver to the workers and back.

:mod:`.session` is the driver's end and :mod:`.worker` the workers'. Both are the same wherever the workers run: in child processes
(:mod:`sparknet.clusters.processes`) or in tasks of Spark.
"""
