"""The test module behind `winvm run`, for projects that have none of their own."""
