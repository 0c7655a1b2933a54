"""A Python process that has started and waits for the agent it shall run.

The guest image contains this file, and the saved 'ready' state contains the running process, because the
start of Python is slow in an emulated guest. It imports the modules that the agent needs, prints {"event":
"standby"}, waits for one line {"cmd": "start", "zipapp": PATH} and runs that agent with the same stdin and
stdout. It imports no module of the agent before that line: the zipapp differs from run to run.
"""

from __future__ import annotations

import argparse  # noqa: F401  here and below: not used here, but loaded for the agent
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
    """Waits for the start command. Returns the zipapp's path, or None at the end of stdin.

    Raises:
        ValueError: the line is not a start command.
    """
    line = sys.stdin.buffer.readline(MAX_LINE)
    if not line:
        return None
    command = json.loads(line)
    if command.get("cmd") != "start" or not isinstance(command.get("zipapp"), str):
        raise ValueError(f"standby expects a start command; the host sent {line[:200]!r}")
    return str(command["zipapp"])


def say(**event: str) -> None:
    """Writes one event to the host; the line ends with a line feed only, as the agent's lines do."""
    sys.stdout.buffer.write(json.dumps(event).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    """Returns the agent's exit code; 2 if the start command is invalid or the agent cannot be imported."""
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
        say(event="fatal", message=f"the agent {zipapp} cannot be imported: {error}")
        return 2
    return int(agent.main([]))


if __name__ == "__main__":
    raise SystemExit(main())
