"""Hostile input for the parsers; short runs are unit tests, `python -m tests.fuzz.<name>` is a long one."""
