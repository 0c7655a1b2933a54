"""Reads a driver's sources from Visual Studio's project and solution files."""
