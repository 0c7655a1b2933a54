"""Crash dumps, read without trusting an offset: kernel dumps, minidumps, their summary and signature."""
