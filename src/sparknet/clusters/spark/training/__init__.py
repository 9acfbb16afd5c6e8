"""Training on packed data: SparkCluster, what its tasks do, and the nets that a Python worker keeps."""
