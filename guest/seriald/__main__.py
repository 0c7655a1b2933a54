"""Command line of seriald: `seriald.pyz COM3` serves that port until it fails."""

from __future__ import annotations

import sys

from seriald.service import Service


def report(message: str) -> None:
    """Writes it to stderr, and to the kernel debugger: in a guest that only boots nobody sees the console."""
    print(message, file=sys.stderr)
    if sys.platform == "win32":
        import ctypes

        ctypes.WinDLL("kernel32").OutputDebugStringA(f"{message}\n".encode("ascii", "backslashreplace"))


def main(arguments: list[str] | None = None) -> int:
    """Serves until the port fails; returns 2 when it cannot be opened, else 1."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        report("usage: seriald COM<n>")
        return 2
    if sys.platform == "win32":
        from seriald.port import Port

        try:
            port = Port(given[0])
        except OSError as error:
            report(f"seriald: {given[0]}: {error}")
            return 2
        try:
            Service(port).serve()
        except OSError as error:
            report(f"seriald: {given[0]}: {error}")
        return 1
    report("seriald: serves on Windows only")
    return 2


if __name__ == "__main__":
    sys.exit(main())
