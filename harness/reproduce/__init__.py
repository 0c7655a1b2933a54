"""Replays a crash from its bundle: how often it recurs, and which of its operations it takes."""
