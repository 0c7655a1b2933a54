"""Fuzzes a driver: the loop runs in the guest's agent, the host restores, minimises and keeps the corpus."""
