"""Reads crash dumps, trusting no offset in them: kernel dumps, minidumps, their summary and signature."""
