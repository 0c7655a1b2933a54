"""Reads what Visual Studio's project and solution files say about a driver's sources."""
