"""The loop while editing: a subset of the scenarios in a guest that is kept warm between invocations."""
