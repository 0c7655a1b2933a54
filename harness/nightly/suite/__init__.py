"""The pytest module behind `winvm nightly`."""
