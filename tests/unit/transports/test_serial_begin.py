"""How often the host asks a guest that does not answer for a session."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineError
from harness.transports.serial_frames import OVERHEAD
from harness.transports.serial_line import BEGIN_EVERY_S, SerialLine


def test_a_silent_guest_is_not_flooded(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        line = SerialLine(path)
        with pytest.raises(DeadlineError):
            line.connect(Deadline.after(1.0))
        guest, _ = listener.accept()
        line.close()
        with guest:
            asked = len(guest.recv(1 << 20)) // OVERHEAD
    assert 1 <= asked <= 1.0 / BEGIN_EVERY_S + 2
