"""A Python that has done its slow start-up and waits to be told which agent to run.

Installed in the guest image as a plain file; it is running in the saved 'ready' state. It imports what the
agent will need, prints {"event": "standby"}, waits for one line {"cmd": "start", "zipapp": PATH} and becomes
that agent, with the same stdin and stdout. It must not import anything of the agent before: the zipapp is new
in every run.
"""

from __future__ import annotations

import argparse  # noqa: F401  here and below: imported so that the agent finds them loaded
import contextlib  # noqa: F401
import ctypes
import ctypes.wintypes
import dataclasses  # noqa: F401
import datetime  # noqa: F401
import enum  # noqa: F401
import importlib
import inspect  # noqa: F401
import json
import pkgutil  # noqa: F401
import platform  # noqa: F401
import queue  # noqa: F401
import re  # noqa: F401
import subprocess  # noqa: F401
import sys
import threading  # noqa: F401
import traceback  # noqa: F401
import typing  # noqa: F401
import zipimport  # noqa: F401

DLLS = ("kernel32", "ntdll", "advapi32")
MAX_LINE = 65536


def start_line() -> str | None:
    """Waits for the start command; the zipapp's path, or None when the host went away."""
    line = sys.stdin.buffer.readline(MAX_LINE)
    if not line:
        return None
    command = json.loads(line)
    if command.get("cmd") != "start" or not isinstance(command.get("zipapp"), str):
        raise ValueError(f"standby waits for a start command, not {line[:200]!r}")
    return str(command["zipapp"])


def say(**event: str) -> None:
    """Writes one event to the host, with a bare line feed as the agent does."""
    sys.stdout.buffer.write(json.dumps(event).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    """Returns the agent's exit code; 2 when the command cannot be used."""
    if sys.platform == "win32":
        for dll in DLLS:
            ctypes.WinDLL(dll)
    say(event="standby")
    try:
        zipapp = start_line()
    except (ValueError, AttributeError) as error:
        say(event="fatal", message=str(error))
        return 2
    if zipapp is None:
        return 0
    sys.path.insert(0, zipapp)
    try:
        agent = importlib.import_module("agent.__main__")
    except ImportError as error:
        say(event="fatal", message=f"{zipapp} cannot be run: {error}")
        return 2
    return int(agent.main([]))


if __name__ == "__main__":
    raise SystemExit(main())
