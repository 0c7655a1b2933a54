"""A run from its plan to its artifacts: the pipeline, the bench, what is deployed, what is pruned."""
