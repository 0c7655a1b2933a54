"""Crash bundles: writes and reads the archive that replays a crash. A bundle is untrusted input."""
