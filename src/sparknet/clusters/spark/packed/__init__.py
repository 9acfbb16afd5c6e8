"""Packed data sets: minibatches in the partitions of an RDD, dealt out to shards, kept beside the workers, saved and loaded."""
