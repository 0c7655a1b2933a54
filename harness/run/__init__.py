"""A run from its plan to its artifacts: pipeline, bench, guest session, crash evidence, pruning."""
