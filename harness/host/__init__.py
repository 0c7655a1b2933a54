"""The Linux host under the bench: programs, locks, signals, privileges, files."""
