"""A user's project: winvm.toml, guest profiles, parameters, patterns, and the files of a new one."""
