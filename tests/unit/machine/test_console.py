"""The console of a machine: which guests are found, and the keys that arrive at QEMU, or at what is none."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.commands.console import console, key
from harness.deadline import Deadline
from harness.errors import ConfigurationError, DeadlineError, MachineError
from harness.machine.console import consoles, find
from harness.machine.keys import chord, typed
from harness.machine.rfb import Keyboard


@pytest.fixture
def runs() -> Iterator[Path]:
    """Two guests of QEMU itself, stopped at power on; what a third left has nobody listening."""
    with tempfile.TemporaryDirectory(prefix="wvc-") as made, contextlib.ExitStack() as guests:
        folder = Path(made) / "runs"  # pytest's own is too long for a socket's name
        stale = folder / "0103-c" / "guest" / "sockets"
        stale.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(stale / "vnc.sock"))
        for name in ("0101-a/guest", "0102-b/guest"):
            sockets = folder / name / "sockets"
            sockets.mkdir(parents=True)
            argv = ["qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-vga", "std", "-m", "16", "-vnc"]
            argv += [
                f"unix:{sockets}/vnc.sock",
                "-trace",
                f"input_event_key_*,file={sockets.parent}/trace.log",
            ]
            guest = guests.enter_context(subprocess.Popen(argv))
            guests.callback(guest.kill)
        end = time.monotonic() + 30
        while len(consoles(folder)) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        yield folder


def test_every_guest_that_runs_is_found_and_one_is_named(runs: Path) -> None:
    assert {one.name for one in consoles(runs)} == {"0101-a/guest", "0102-b/guest"}
    assert find(runs, "0101-a/guest").socket == runs / "0101-a/guest/sockets/vnc.sock"
    with pytest.raises(ConfigurationError, match="Several guests run: 010"):
        find(runs)
    with pytest.raises(ConfigurationError, match="No guest windows-11") as caught:
        find(runs, "windows-11")
    assert "0101-a/guest" in caught.value.remedy


def test_keys_arrive_at_the_keyboard_of_the_guest(runs: Path) -> None:
    with Keyboard(runs / "0101-a/guest/sockets/vnc.sock", Deadline.after(30)) as keyboard:
        keyboard.press([chord("shift+f10"), *typed("Dir")])
    traced = (runs / "0101-a/guest/trace.log").read_text()
    events = re.findall(r"key qcode (\w+), down (\d)", traced)
    assert [name + "-+"[int(down)] for name, down in events] == (
        ["shift+", "f10+", "f10-", "shift-", "shift+", "d+", "d-", "shift-", "i+", "i-", "r+", "r-"]
    )


def test_the_commands_name_the_socket_and_refuse_keys_that_are_none(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINVM_HOME", str(runs.parent))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    said = CliRunner().invoke(console, ["--guest", "0102-b/guest"])
    assert f"vncviewer {runs / '0102-b/guest/sockets/vnc.sock'}" in said.output
    listed = CliRunner().invoke(console, ["--list", "--json"]).output.splitlines()
    assert {json.loads(line)["guest"] for line in listed} == {"0101-a/guest", "0102-b/guest"}
    assert isinstance(CliRunner().invoke(key, ["nokey"]).exception, ConfigurationError)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-OpenSSH\r\n", MachineError),
        (b"RFB 003.008\n\x01\x02", MachineError),  # wants a password
        (b"RFB 003.008\n\x00\x00\x00\xff\xff", MachineError),  # a reason that never comes
        (b"RFB 003.008\n\x01\x01\x00\x00\x00\x01\x00\x00\x00\x03bad", MachineError),
        (b"", DeadlineError),
    ],
)
def test_what_is_no_console_is_reported(answer: bytes, error: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "vnc.sock"
    held: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            held.append(client)
            if answer:
                client.sendall(answer)
                client.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(error):
            Keyboard(path, Deadline.after(1.0))
        thread.join()
        for client in held:
            client.close()


def test_a_socket_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be used"):
        Keyboard(tmp_path / "none.sock", Deadline.after(1.0))
