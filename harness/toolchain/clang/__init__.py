"""Compiles a driver's sources with clang and lld, as cl and link of a WDK would."""
