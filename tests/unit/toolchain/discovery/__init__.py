"""Tests of harness.toolchain.discovery."""
