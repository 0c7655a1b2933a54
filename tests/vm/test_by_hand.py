"""The guest used by hand, as README shows: up, push, exec, pull, shell, logs, down; and C programs in it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from harness.guests.windows.guest import SET_CLOCK, system_time
from harness.guests.windows.verifier import UPTIME
from harness.run.live import LiveGuest
from tests.vm.conftest import CommandLine

PROGRAMS = Path(__file__).parents[1] / "programs"
# What these need of the driver, Wine's kernel does not have; see the capabilities of vm/profiles/wine.toml.
NEEDS_WINDOWS = {"proclook", "winddk_map", "winddk_heap"}
PYTHON = r"C:\Python\python.exe"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    subprocess.run(["make", "-C", str(PROGRAMS), f"OUT={folder}"], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", sorted({path.stem for path in PROGRAMS.glob("*.c")} - NEEDS_WINDOWS))
def test_a_program_written_for_the_device_works(
    winvm: CommandLine, up: LiveGuest, programs: Path, name: str
) -> None:
    winvm.ok("push", str(programs / f"{name}.exe"), rf"C:\programs\{name}.exe")
    done = winvm.run("exec", "--", rf"C:\programs\{name}.exe")
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    assert done.stdout


def test_the_exit_code_comes_back(winvm: CommandLine, up: LiveGuest) -> None:
    assert winvm.run("exec", "--", PYTHON, "-c", "raise SystemExit(7)").returncode == 7


def test_an_exit_code_beyond_a_byte_is_reported(winvm: CommandLine, up: LiveGuest) -> None:
    done = winvm.run("exec", "--", PYTHON, "-c", "import os; os._exit(0xC0000005 - 2**32)")
    assert done.returncode == 255
    assert b"0xc0000005" in done.stderr


def test_output_and_input_pass_through(winvm: CommandLine, up: LiveGuest) -> None:
    program = (
        "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1]); print('e', file=sys.stderr)"
    )
    done = winvm.run("exec", "--", PYTHON, "-c", program, stdin=bytes(range(256)) * 300)
    assert done.stdout == (bytes(range(256)) * 300)[::-1]
    assert done.stderr.strip() == b"e"


def test_programs_that_a_windows_guest_is_sent_run_in_its_python(winvm: CommandLine, up: LiveGuest) -> None:
    assert int(winvm.ok("exec", "--", PYTHON, "-c", UPTIME)) > 1000
    refused = winvm.run("exec", "--", PYTHON, "-c", SET_CLOCK % system_time(time.time()))
    # Wine lets nobody set the clock: ERROR_PRIVILEGE_NOT_HELD, which a Linux exit code cannot carry.
    assert (refused.returncode, refused.stdout) == (255, b"")
    assert b"exit code 0x522" in refused.stderr


def test_there_is_no_windows_kernel_to_debug(winvm: CommandLine, up: LiveGuest) -> None:
    done = winvm.run("debug")
    assert done.returncode == 2
    assert b"no Windows kernel" in done.stderr
    debugger = winvm.run("exec", "--", "winedbg", "--command", "info process")
    assert b"winedevice.exe" in debugger.stdout, "what the message tells to use instead"


def test_a_file_comes_back_as_it_went(winvm: CommandLine, up: LiveGuest, tmp_path: Path) -> None:
    sent, received = tmp_path / "sent.bin", tmp_path / "received.bin"
    sent.write_bytes(bytes(range(256)) * 4096)
    winvm.ok("push", str(sent), r"C:\some\new\folder\file.bin")
    winvm.ok("pull", r"c:\SOME\new\folder\FILE.bin", str(received))
    assert received.read_bytes() == sent.read_bytes()


@pytest.mark.parametrize("path", [r"C:\a\..\..\..\etc\passwd", "C:\\a\x01b", r"D:\x", "relative"])
def test_a_guest_path_that_is_no_file_name_is_refused(
    winvm: CommandLine, up: LiveGuest, tmp_path: Path, path: str
) -> None:
    done = winvm.run("pull", path, str(tmp_path / "out"))
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_shell_takes_lines(winvm: CommandLine, up: LiveGuest) -> None:
    assert b"hello from cmd" in winvm.ok("shell", stdin=b"echo hello from cmd\r\nexit\r\n")


def test_the_shell_runs_every_line_of_a_pipe(winvm: CommandLine, up: LiveGuest) -> None:
    lines = b"set NAME=winvm\necho one %NAME%\r\nmore\ninput of more\n"
    said = winvm.ok("shell", stdin=lines)
    assert b"one winvm" in said
    assert b"input of more" in said, "programs that the shell starts read the pipe too"
    assert winvm.run("shell", stdin=b"echo a\nexit 7\necho b\n").returncode == 7


def test_console_programs_read_and_write_utf_8(winvm: CommandLine, up: LiveGuest) -> None:
    said = "\u65e5\u672c\u8a9e\xe9"
    assert winvm.ok("exec", "cmd", "/c", "echo", said).decode().strip() == said
    # Wine's cmd.exe takes what the OEM code page has, from a pipe.
    assert "\xe9\xfc".encode() in winvm.ok("shell", stdin="@echo \xe9\xfc\n".encode())
    refused = winvm.run("shell", stdin="@echo \xe9\xfc\u65e5\n@echo after\n".encode())
    assert refused.returncode == 1
    assert "'\u65e5' (U+65E5) is not in the code page".encode() in refused.stdout + refused.stderr
    assert b"after" not in refused.stdout.splitlines()
    pages = "import ctypes; k = ctypes.windll.kernel32; print(k.GetConsoleCP(), k.GetConsoleOutputCP())"
    assert winvm.ok("exec", PYTHON, "-c", pages).split() == [b"65001", b"65001"]


def test_words_after_the_program_belong_to_it(winvm: CommandLine, up: LiveGuest) -> None:
    said = winvm.ok("exec", PYTHON, "-c", "import sys; print(sys.argv[1:])", "-h", "--timeout", "5", "--help")
    assert said.decode().strip() == "['-h', '--timeout', '5', '--help']"
    assert b"Seconds until the program is ended" in winvm.ok("exec", "-h")
    late = winvm.run("exec", "--timeout", "3", PYTHON, "-c", "import time; time.sleep(60)")
    assert late.returncode == 3
    assert b"did not end within 3 s" in late.stderr


@pytest.mark.parametrize("length", [32_000, 40_000])
def test_a_command_line_arrives_whole_or_is_refused(winvm: CommandLine, up: LiveGuest, length: int) -> None:
    done = winvm.run("exec", PYTHON, "-c", "import sys; print(len(sys.argv[1]))", "x" * length)
    if length < 32_766:
        assert done.stdout.strip() == str(length).encode()
    else:
        assert done.returncode == 2
        assert b"at most 32,766" in b" ".join(done.stderr.split())


@pytest.mark.parametrize("name", ["CON", "nul.txt", "trailing.", "n" * 256])
def test_a_name_that_windows_does_not_take_is_not_pushed(
    winvm: CommandLine, up: LiveGuest, name: str
) -> None:
    done = winvm.run("push", __file__, rf"C:\new\{name}")
    assert done.returncode == 2
    assert b"cannot name a Windows file" in b" ".join(done.stderr.split())


def test_logs_show_the_driver(winvm: CommandLine, up: LiveGuest) -> None:
    lines = [json.loads(line) for line in winvm.ok("logs", "--json").splitlines()]
    assert any("DriverEntry, release build" in line["text"] for line in lines)
    assert {line["source"] for line in lines} == {"dbgprint"}


def test_keys_reach_the_guest_and_its_screen_is_where_the_console_says(
    winvm: CommandLine, up: LiveGuest
) -> None:
    found = json.loads(winvm.ok("console", "--json"))
    assert found["profile"] == up.profile
    assert Path(found["socket"]).is_socket()
    assert Path(found["socket"]).is_relative_to(up.machine)
    assert found["guest"].encode() in winvm.ok("console", "--list")
    assert b"VNC on" in winvm.ok("console")

    def interrupts() -> int:
        """How often the keyboard's interrupt line was raised: twice or more for each key."""
        source = r"print(open('//?/unix/proc/interrupts').read())"
        table = winvm.ok("exec", "--", PYTHON, "-c", source).decode()
        line = next(line for line in table.splitlines() if "i8042" in line and line.split()[0] == "1:")
        return sum(int(word) for word in line.split()[1:] if word.isdigit())

    before = interrupts()
    winvm.ok("key", "shift+f10", "enter")
    assert interrupts() - before >= 6
    before = interrupts()
    winvm.ok("type", "--enter", r"dir C:\Windows\Panther")
    assert interrupts() - before >= 46
    assert winvm.run("key", "shift+f13").returncode == 2
    assert winvm.run("type", "--guest", "windows-11", "x").returncode == 2


def test_nothing_is_left_after_down(winvm: CommandLine) -> None:
    winvm.ok("down")
    assert list((winvm.home / "runs").iterdir()) == []
    assert winvm.qemus() == []


def test_commands_without_a_guest_say_so(winvm: CommandLine) -> None:
    done = winvm.run("exec", "--", "cmd.exe")
    assert done.returncode == 2
    assert done.stderr.decode().strip() == "winvm: No guest is up. Run `winvm up` first."
