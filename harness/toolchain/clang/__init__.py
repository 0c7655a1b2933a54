"""Compiles a driver's sources with clang and lld, as the WDK's cl and link would."""
