"""Finds out what an existing driver is made of: how it builds, its devices, its control codes, its INF."""
