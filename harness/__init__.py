"""Host side of winvm: builds, boots, deploys, drives, captures, reports."""
