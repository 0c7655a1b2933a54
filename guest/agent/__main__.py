"""Entry of the zipapp: `--list` prints the scenarios' metadata, no argument serves the host on stdio."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence

from agent.collect import collect, listing, listing_error
from agent.errors import RegistryError
from agent.protocol import Wire
from agent.runner import serve
from agent.windows import WindowsGuest


def main(arguments: Sequence[str]) -> int:
    """Runs the agent; returns the exit code: 0, or 2 if the scenarios or the host's commands are invalid."""
    if list(arguments) == ["--list"]:
        return _list()
    if arguments:
        sys.stderr.write("usage: agent.pyz [--list]\n")
        return 2
    if sys.flags.optimize:
        sys.stderr.write("The agent does not serve with -O or PYTHONOPTIMIZE: scenarios check by assert.\n")
        return 2
    if sys.platform != "win32":
        sys.stderr.write("The agent serves on Windows only; --list works everywhere.\n")
        return 2
    return _serve()


def _serve() -> int:
    """Serves, and ends the process at once: the reading thread may still wait in stdin, which the interpreter
    could not close.
    """
    try:
        code = serve(_take_streams(), WindowsGuest())
    except BaseException:  # noqa: BLE001  the host has the message; the traceback goes to stderr
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


def _list() -> int:
    try:
        print(json.dumps(listing(collect())))
    except RegistryError as error:
        print(json.dumps(listing_error(error)))
        return 2
    return 0


def _take_streams() -> Wire:
    """Keeps the real stdin and stdout for the protocol and gives all other code empty ones.

    File descriptor 1 is given stderr's target, for C code that writes there.
    """
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source = sys.stdin.buffer
    sys.stdin = open(os.devnull, encoding="ascii")  # noqa: PTH123, SIM115  lives as long as the process
    sys.stdout = sys.stderr
    return Wire(source, sink)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
