"""How a Wine guest is reached: by its network, or by a serial port."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.guests.wine.guest import WineGuest, WineLink, WineSerialLink
from harness.guests.wine.spec import AGENT_SOCKET
from harness.images.base import BaseImage
from tests.fakes.machine import FakeMachine
from tests.fakes.serial_wire import SerialGuest


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = FakeMachine(tmp_path / "machine")
    made.start(Deadline.after(5))
    return made


def guest(tmp_path: Path, *, serial: bool) -> WineGuest:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "password").write_text("word")
    return WineGuest(BaseImage(tmp_path, "digest", 1, "sha", {}), serial)


def test_a_profile_s_transport_decides(tmp_path: Path, machine: FakeMachine) -> None:
    assert isinstance(guest(tmp_path, serial=False).link(machine), WineLink)


def test_commands_and_files_use_the_machine_s_socket(tmp_path: Path, machine: FakeMachine) -> None:
    link = guest(tmp_path, serial=True).link(machine)
    assert isinstance(link, WineSerialLink)
    with SerialGuest(machine.folder / AGENT_SOCKET):
        link.transport.wait_ready(Deadline.after(10))
        assert link.files.size(str(tmp_path / "none"), Deadline.after(10)) is None
        agent = link.agent({"process": "41"})
        assert agent.facts == {"process": "41"}
        link.close()
