"""Replays a crash from its bundle: counts how often it recurs, and finds the operations that cause it."""
