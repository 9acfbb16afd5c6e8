"""Training on packed data: SparkCluster, and what its tasks do."""
