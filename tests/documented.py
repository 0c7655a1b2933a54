"""What the documentation shows, taken out of it to be run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def blocks(document: Path, language: str, section: str = "") -> list[str]:
    """The fenced blocks of a language, all of them or those below one heading or bold paragraph start."""
    text = document.read_text(encoding="utf-8")
    if section:
        start = text.index(section)
        end = re.compile(r"^(#|\*\*)", re.MULTILINE).search(text, start + len(section))
        text = text[start : end.start() if end else None]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def shell(commands: str, folder: Path, home: Path, timeout_s: float = 600) -> str:
    """Runs shell lines as a reader would, with winvm's environment active; all must succeed. Their output."""
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "WINVM_HOME": str(home), "PATH": f"{binaries}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-ec", commands],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}"
    return done.stdout
