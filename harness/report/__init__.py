"""Reports and history that are made of a run's results."""
