"""The formats of crash dumps: one reader each, chosen in `reader.py`."""
