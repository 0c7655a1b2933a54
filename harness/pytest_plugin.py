"""pytest plugin of winvm."""
