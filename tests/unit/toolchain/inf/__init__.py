"""INF files: their services, and what is checked of a driver package."""
