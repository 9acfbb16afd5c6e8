"""Packed data sets on Spark: their minibatches and shards, the files of shards beside the workers, saving and loading."""
