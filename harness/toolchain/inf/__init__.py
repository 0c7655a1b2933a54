"""INF files: read with their line numbers, and checked as InfVerif does."""
