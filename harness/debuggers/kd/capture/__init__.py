"""Captures and recordings of kernel debugging, decoded after the fact."""
