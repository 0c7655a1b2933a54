"""Prepares a freshly installed Windows for the bench: run once by the first logon, resumed after restarts.

Python's standard library only; importing any module of it loads no Windows DLL.
"""
