"""Command line of winrmd: starts the endpoint. After the start it writes to its log file only."""

from __future__ import annotations

import argparse
import logging
import logging.handlers
import sys
import threading
import time
from pathlib import Path

from winrmd.server import REAP_INTERVAL_S, Server, tls_context

# About 4 MiB. One older file of the same size is kept.
LOG_RECORDS = 30_000


def main(arguments: list[str] | None = None) -> int:
    """Serves until the process is killed; returns 2 if the endpoint cannot start."""
    options = _parser().parse_args(arguments)
    try:
        password = _password(options.password_file)
        _log_to(options.log)
        server = Server(
            (options.bind, options.port),
            tls_context(options.certificate, options.key),
            options.user,
            password,
        )
    except (OSError, ValueError) as error:
        print(f"winrmd: {error}", file=sys.stderr)
        return 2
    logging.getLogger("winrmd").info("listening on %s", server.server_address)
    with server:
        server.serve_forever(poll_interval=REAP_INTERVAL_S)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="winrmd", description="WS-Management shell endpoint over HTTPS.")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5986)
    parser.add_argument("--certificate", type=Path, required=True, help="PEM")
    parser.add_argument("--key", type=Path, required=True, help="PEM")
    parser.add_argument("--user", default="winvm")
    parser.add_argument("--password-file", type=Path, required=True, help="UTF-8 text, one line")
    parser.add_argument(
        "--log",
        type=Path,
        required=True,
        help="log file, times in UTC; with the one before at most 8 MiB",
    )
    return parser


def _password(path: Path) -> str:
    password = path.read_text(encoding="utf-8").strip()
    if not password:
        raise ValueError(f"the password file {path} is empty")
    return password


def _log_to(path: Path) -> None:
    handler = _LogFile(path, backupCount=1, encoding="utf-8")
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger = logging.getLogger("winrmd")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.raiseExceptions = False

    def crashed(details: threading.ExceptHookArgs) -> None:
        error = details.exc_value or details.exc_type()
        logger.error("thread failed", exc_info=(details.exc_type, error, details.exc_traceback))

    threading.excepthook = crashed


class _LogFile(logging.handlers.RotatingFileHandler):
    """Rotates after a count of records: asking for the file's size costs 0.5 ms a request under Wine."""

    _records = 0

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: ARG002, N802
        self._records += 1
        return self._records % LOG_RECORDS == 0


if __name__ == "__main__":
    sys.exit(main())
