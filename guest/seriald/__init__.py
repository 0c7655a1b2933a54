"""The guest's end of a serial line: programs and files for a host that uses no network."""
