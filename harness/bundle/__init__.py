"""Crash bundles: one archive that replays a crash. Written here, read here, trusted nowhere."""
