"""How many public drivers build without a change to their sources; see `python -m tests.compat --help`."""
