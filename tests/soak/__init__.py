"""Long and large runs of the bench, and the project that they and the fault tests run."""
