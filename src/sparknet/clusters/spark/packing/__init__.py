"""Packing: rows of RDDs and DataFrames, checked, made arrays a few at a time, counted, and put where they belong."""
