"""Serial files of a guest that writes without end."""

from __future__ import annotations

from pathlib import Path

from harness.machine.channels import KEPT, LIMIT, bound
from harness.machine.protocol import Channels


def test_old_serial_output_gives_its_disk_space_back(tmp_path: Path) -> None:
    channels = Channels.inside(tmp_path)
    channels.console.write_bytes(b"small")
    with channels.journal.open("ab") as journal:
        while journal.tell() <= LIMIT:
            journal.write(b"0123456789abcdef" * 65536)
        journal.flush()
        bound(channels)
        journal.write(b"goes on")
    assert channels.journal.stat().st_blocks * 512 <= KEPT + 8192
    assert channels.journal.stat().st_size > LIMIT
    assert channels.journal.read_bytes().endswith(b"abcdefgoes on")
    assert channels.console.read_bytes() == b"small"
