"""The journal a Windows guest writes to COM2 while it is installed: answer file, start.cmd, provisioning.

One JSON object a line; guest/provision/journal.py says what is in it. The guest is hostile: lines, their
number and their texts are bounded, and lines that are no entries are skipped.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.debuggers.tail import FileTail
from harness.display.terminal import printable

LINE_LIMIT = 8 << 10
TEXT_LIMIT = 1000
ENTRIES_LIMIT = 20_000
READ_BYTES = 256 << 10
_KEYS = ("step", "phase", "state", "message", "setting", "wanted", "found", "wished")


@dataclass(frozen=True)
class Entry:
    """One line. `step`, `phase` and `state` are never empty; texts are fit for a terminal."""

    step: str
    phase: str
    state: str
    message: str = ""
    setting: str = ""
    wanted: str = ""
    found: str = ""
    wished: str = ""

    @property
    def ends(self) -> bool:
        """Whether it is the last entry: the provisioning ended, could not start, or could not go on."""
        return self.phase == "end" or (self.phase in ("start", "restart") and self.state == "failed")

    @property
    def line(self) -> str:
        """The entry as text for a person."""
        parts = (f"{self.phase} {self.step}: {self.state}", self.setting, self.message)
        return ", ".join(part for part in parts if part)


class GuestJournal:
    """Reads entries, as they arrive, from the file that QEMU writes the serial port to.

    Args:
        copy: file that gets each parsed entry, a JSON object a line.
    """

    def __init__(self, file: Path, copy: Path) -> None:
        self._tail = FileTail(file)
        self._copy = copy
        self._rest = b""
        self._entries = 0

    def read(self) -> list[Entry]:
        """Entries not returned before; does not wait for more."""
        found: list[Entry] = []
        while data := self._tail.read(READ_BYTES):
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._rest = self._rest[-LINE_LIMIT:]
            found += [entry for line in lines if (entry := parse(line))]
        found = found[: ENTRIES_LIMIT - self._entries]
        self._entries += len(found)
        if found:
            with self._copy.open("a", encoding="ascii") as copy:
                copy.writelines(json.dumps(_filled(entry)) + "\n" for entry in found)
        return found

    def close(self) -> None:
        """Stops reading."""
        self._tail.close()


def parse(line: bytes) -> Entry | None:
    """The entry on a line, or None. A restarting machine may leave half a line before it."""
    start = line.find(b"{")
    if start < 0 or len(line) > LINE_LIMIT:
        return None
    try:
        content = json.loads(line[start:])
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    texts = {key: printable(str(content.get(key, "")))[:TEXT_LIMIT] for key in _KEYS}
    return Entry(**texts) if texts["step"] and texts["phase"] and texts["state"] else None


def _filled(entry: Entry) -> dict[str, str]:
    return {key: value for key, value in asdict(entry).items() if value}
