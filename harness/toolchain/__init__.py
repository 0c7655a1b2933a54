"""Builds what goes into a guest: driver, signature, static check, agent archive."""
