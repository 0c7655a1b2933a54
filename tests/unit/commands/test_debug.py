"""`winvm debug` as a process: its command lines, a debugger that comes and goes, guests without a kernel."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.commands.debug import kernel_line
from harness.debuggers.kd.com.wire import KdcomWire
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.net.wire import KdnetWire
from harness.errors import ConfigurationError
from harness.run.live import LiveGuest
from tests.fakes.kd_lines import SerialTarget, UdpTarget
from tests.fakes.kd_listening import Listening
from tests.fakes.kd_machine import FakeKernel, printed

KEY = Key.parse("1.2.3.4")


class Debug:
    """A running `winvm debug`; `text` is the target's output so far."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness", "debug", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.text = ""
        self.told: list[str] = []

    def tell(self, beginning: str) -> str:
        """The next line of the standard error that begins so."""
        assert self._process.stderr is not None
        while True:
            line = self._process.stderr.readline()
            assert line, "it has ended"
            self.told.append(line.rstrip("\n"))
            if line.strip().startswith(beginning):
                return line.strip()

    def until(self, kind: str, text: str = "") -> dict[str, Any]:
        """Reads events up to one of this kind, and until the printed text ends like this."""
        assert self._process.stdout is not None
        while True:
            line = self._process.stdout.readline()
            assert line, "it has ended"
            event: dict[str, Any] = json.loads(line)
            if event["kind"] == "dbgprint":
                self.text += event["text"]
            if event["kind"] == kind and self.text.endswith(text):
                return event

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(10)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def ends() -> Iterator[list[Any]]:
    """Closes everything at the end, the newest first."""
    ends: list[Any] = []
    yield ends
    for one in reversed(ends):
        one.close()


def test_kdnet_is_given_and_taken_back(tmp_path: Path, ends: list[Any]) -> None:
    KEY.write(tmp_path / "kd.key")
    free = KdnetWire(KEY, 0)
    port = free.port
    free.close()
    log = tmp_path / "debug.log"
    options = ("--key-file", str(tmp_path / "kd.key"), "--to", f"127.0.0.1:{port}", "--log", str(log))
    debug = Debug(tmp_path, "--port", "0", *options)
    ends.append(debug)
    listening = debug.tell("Listening for the target on 127.0.0.1, UDP port ")
    ntoseye = debug.tell("ntoseye --backend kdnet")
    assert shlex.split(ntoseye)[:5] == ["ntoseye", "--backend", "kdnet", "--connect", f"127.0.0.1:{port}"]
    assert "--kdnet-key" in ntoseye
    assert KEY.text not in ntoseye, "it would be in the terminal's history"
    windbg = debug.tell("windbg -k net:")
    assert windbg.startswith(f"windbg -k net:port={port},key=<contents of ")
    kernel = FakeKernel([printed("one\n")])
    target = UdpTarget(int(listening.split("UDP port ")[1].split(".")[0]), KEY, kernel)
    ends.append(target)
    debug.until("dbgprint", "one\n")
    debugger = Listening(KdnetWire(KEY, port, retry_s=0.02))
    debug.until("handed-over")
    kernel.script.append(printed("two\n"))
    debugger.wait(lambda: debugger.text == "two\n")
    debugger.close()
    debug.until("taken-back")
    kernel.script.append(printed("three\n"))
    debug.until("dbgprint", "three\n")
    assert debug.text == "one\ntwo\nthree\n"
    assert debug.interrupt() == 130
    logged = [line.split(" ", 2)[1:] for line in log.read_text().splitlines()]
    assert [text for source, text in logged if source == "dbgprint"] == ["one", "two", "three"]
    assert any(text.startswith("handed-over to 127.0.0.1") for source, text in logged if source == "kd")


def test_a_serial_line_is_given_and_taken_back(tmp_path: Path, ends: list[Any]) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "kd.sock"))
    listener.listen()
    ends.append(listener)
    beside = tmp_path / "debugger.sock"
    serial = (
        "--serial",
        str(tmp_path / "kd.sock"),
        "--socket",
        str(beside),
        "--tcp",
        "127.0.0.1:0",
        "--break-in",
    )
    debug = Debug(tmp_path, *serial)
    ends.append(debug)
    assert debug.tell("ntoseye ") == f"ntoseye --connect {beside}"
    windbg = debug.tell("windbg -k com:")
    tcp = int(windbg.removeprefix("windbg -k com:ipport=").removesuffix(",port=127.0.0.1"))
    kernel = FakeKernel()
    ends.append(SerialTarget(kernel, connection=listener.accept()[0]))
    debug.until("break-in")
    kernel.script.append(printed("one\n"))
    debug.until("dbgprint", "one\n")
    debugger = Listening(KdcomWire.open(beside))
    debug.until("handed-over")
    kernel.script.append(printed("two\n"))
    debugger.wait(lambda: debugger.text == "two\n")
    debugger.close()
    debug.until("taken-back")
    with socket.create_connection(("127.0.0.1", tcp)):
        debug.until("handed-over")
    debug.until("taken-back")
    kernel.script.append(printed("three\n"))
    debug.until("dbgprint", "three\n")
    assert debug.text == "one\ntwo\nthree\n"
    assert debug.interrupt() == 130
    assert not beside.exists()


def guest(folder: Path, profile: str) -> LiveGuest:
    return LiveGuest(
        folder=folder,
        profile=profile,
        image=folder / "image",
        address="127.0.0.1",
        ports={},
        machine=folder / "guest",
        project="p",
        build="release",
        driver="0" * 64,
    )


def test_a_wine_guest_has_no_kernel_to_debug(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no Windows kernel") as error:
        kernel_line(guest(tmp_path, "wine"))
    assert "winedbg" in error.value.remedy


def test_a_windows_guest_is_debugged_as_its_profile_says(tmp_path: Path) -> None:
    assert kernel_line(guest(tmp_path, "windows-11")).serial == tmp_path / "guest" / "kd.sock"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "0"], "No KDNET key is given"),
        (["--serial", "/nowhere/kd"], "cannot be opened"),
        (["--serial", "/nowhere/kd", "--tcp", "here"], "is not an address"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], says: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "debug", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode in (2, 3)
    assert says in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == [], "no socket is left"
