"""The other end of `machine_owner.py`: starts one, tells it what to do, reads its answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
END_S = 60


class Owner:
    """A running machine_owner.py.

    Args:
        more: RUN or URI, or neither.
        inside: what starts it in another place, before its own command line.
    """

    def __init__(self, home: Path, image: Path, *more: str, inside: tuple[str, ...] = ()) -> None:
        argv = [sys.executable, "-m", "tests.fakes.machine_owner", str(home), str(image), *more]
        self.process = subprocess.Popen(
            [*inside, *argv], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """Its next answer."""
        assert self.process.stdout is not None
        self.answer = json.loads(self.process.stdout.readline())
        return self.answer

    def tell(self, command: str) -> dict[str, Any]:
        """Its answer to a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.read()

    def end(self) -> int:
        """Ends its commands; returns its exit code."""
        self.process.communicate(timeout=END_S)
        return self.process.returncode
