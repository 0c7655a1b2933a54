"""One registration adds a connection to the kernel's debugger: a fake one is opened and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.debuggers.kd.line import KernelLine
from harness.errors import ConfigurationError
from harness.guests.windows.debug_stream import MuteDebugStream
from harness.guests.windows.debugger import debugger_of
from harness.guests.windows.flavour import FLAVOUR
from harness.guests.windows.guest import WindowsGuest
from harness.guests.windows.image.credentials import WindowsSecrets
from harness.guests.windows.image.sealed import WindowsImage
from harness.guests.windows.spec.profile import KDNET_PORT, WindowsProfile
from harness.plugins import DEBUGGERS
from harness.project.profiles import load_profile
from tests.fakes.machine import FakeMachine


class Usb:
    """Implements `Debugger`."""

    def stream(self, machine: Path, secrets: WindowsSecrets, log: Path, nonce: str) -> MuteDebugStream:
        stream = MuteDebugStream(log, nonce)
        stream.add(1.0, "usb", f"listening in {machine.name}")
        return stream

    def line(self, machine: Path, secrets: WindowsSecrets) -> KernelLine:
        return KernelLine(serial=machine / "usb")


def profile_with(tmp_path: Path, kd: str) -> WindowsProfile:
    file = tmp_path / "mine.toml"
    file.write_text(f'extends = "windows-11"\n[hardware]\nkd = "{kd}"\n')
    return WindowsProfile.checked(load_profile(file))


def test_a_stream_of_another_kind_is_opened_by_the_guest(tmp_path: Path) -> None:
    with DEBUGGERS.added("usb", Usb()):
        profile = profile_with(tmp_path, "usb")
        guest = WindowsGuest(WindowsImage(tmp_path, "d", 0, "", {}), profile)
        stream = guest.debug_stream(FakeMachine(tmp_path / "guest"), tmp_path / "dbgprint.log", "n0nce")
        assert [record.text for record in stream.records()] == ["listening in guest"]
        stream.close()
        assert FLAVOUR.kernel_line(profile, tmp_path, tmp_path) == KernelLine(serial=tmp_path / "usb")
        assert FLAVOUR.debugged_here(profile)
    with pytest.raises(ConfigurationError, match="'usb'"):
        debugger_of(profile)
    with pytest.raises(ConfigurationError, match=r"hardware\.kd"):
        profile_with(tmp_path, "usb")


def test_the_shipped_ones_say_where_they_listen(tmp_path: Path) -> None:
    secrets = WindowsSecrets(tmp_path / "secrets")
    kdnet = FLAVOUR.kernel_line(profile_with(tmp_path, "kdnet"), tmp_path, tmp_path)
    adapter = tmp_path / "sockets" / "kdnet.sock"
    assert kdnet == KernelLine(port=KDNET_PORT, key_file=secrets.kd_key, adapter=adapter)
    assert not FLAVOUR.debugged_here(profile_with(tmp_path, "none"))
