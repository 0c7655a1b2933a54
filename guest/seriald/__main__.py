"""Command line of seriald: `seriald.pyz COM3` serves that port until it fails."""

from __future__ import annotations

import sys

from seriald.service import Service


def main(arguments: list[str] | None = None) -> int:
    """Serves until the port fails; returns 2 when it cannot be opened, else 1."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: seriald COM<n>", file=sys.stderr)
        return 2
    if sys.platform == "win32":
        from seriald.port import Port

        try:
            port = Port(given[0])
        except OSError as error:
            print(f"seriald: {given[0]}: {error}", file=sys.stderr)
            return 2
        try:
            Service(port).serve()
        except OSError as error:
            print(f"seriald: {given[0]}: {error}", file=sys.stderr)
        return 1
    print("seriald: serves on Windows only", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
