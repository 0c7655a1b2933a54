"""The Python side of a driver's C contract header: its rows parsed, rendered and compared."""
