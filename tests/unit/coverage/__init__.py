"""Tests of harness.coverage."""
