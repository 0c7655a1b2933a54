"""Host side of winvm: builds, boots, deploys, drives, captures, reports."""

__version__ = "0.2.0"
