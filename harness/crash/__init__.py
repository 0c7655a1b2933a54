"""Analysis of a guest crash on the host: evidence, dump, verdict."""
