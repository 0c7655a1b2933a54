"""Guest files in memory."""

from __future__ import annotations

from pathlib import Path

from harness.deadline import Deadline
from harness.errors import TransportError


class FakeFileTransfer:
    """A guest's files by Windows path; names ignore case, as Windows' do."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.closed = False

    def put(self, guest_path: str, content: bytes) -> None:
        """A file appears in the guest."""
        self.files[guest_path.lower()] = content

    def push(self, local: Path, guest_path: str, deadline: Deadline) -> int:
        deadline.check(f"SFTP: push {local}")
        self.put(guest_path, local.read_bytes())
        return local.stat().st_size

    def pull(self, guest_path: str, local: Path, deadline: Deadline, limit: int) -> int:
        deadline.check(f"SFTP: pull {guest_path}")
        content = self.files.get(guest_path.lower())
        if content is None:
            raise TransportError(f"SFTP: pull {guest_path}: no such file.")
        if len(content) > limit:
            raise TransportError(f"{guest_path} of the guest has {len(content)} bytes, more than {limit}.")
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(content)
        return len(content)

    def size(self, guest_path: str, deadline: Deadline) -> int | None:
        content = self.files.get(guest_path.lower())
        return None if content is None else len(content)

    def close(self) -> None:
        self.closed = True
