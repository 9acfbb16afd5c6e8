"""Packing: rows of RDDs and DataFrames are checked, made into records a few at a time, counted, and dealt out to shards."""
