"""The loop while editing: a subset of the scenarios in a guest that is kept warm between invocations."""

KEPT_RUNS = 20
"""Smoke runs whose artifacts are kept; one is made on every save."""
