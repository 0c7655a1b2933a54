"""winrmd seen through the clients it exists for: pywinrm and pypsrp, unmodified, over real TLS."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import winrm
from pypsrp.exceptions import AuthenticationError, WSManFaultError
from pypsrp.shell import Process, SignalCode, WinRS
from pypsrp.wsman import WSMan
from winrm.exceptions import InvalidCredentialsError, WinRMOperationTimeoutError
from winrm.exceptions import WSManFaultError as PywinrmFaultError
from winrm.protocol import Protocol

from tests.fakes.winrmd_endpoint import PASSWORD, USER, Endpoint, serving

PYTHON = sys.executable
ECHO = "import sys; [print(line.rstrip()[::-1], flush=True) for line in sys.stdin]"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with serving(tmp_path_factory.mktemp("winrmd")) as running:
        yield running


def protocol(endpoint: Endpoint, password: str = PASSWORD, operation_timeout_s: int = 5) -> Protocol:
    return Protocol(
        f"https://127.0.0.1:{endpoint.port}/wsman",
        transport="ssl",
        username=USER,
        password=password,
        ca_trust_path=str(endpoint.certificate),
        operation_timeout_sec=operation_timeout_s,
        read_timeout_sec=operation_timeout_s + 5,
    )


@pytest.fixture
def wsman(endpoint: Endpoint) -> Iterator[WSMan]:
    with connect(endpoint) as connection:
        yield connection


def connect(endpoint: Endpoint, password: str = PASSWORD) -> WSMan:
    return WSMan(
        "127.0.0.1",
        port=endpoint.port,
        username=USER,
        password=password,
        auth="basic",
        cert_validation=str(endpoint.certificate),  # type: ignore[arg-type] # documented as "bool or path"
        operation_timeout=1,
    )


def test_pywinrm_runs_a_command(endpoint: Endpoint) -> None:
    client = protocol(endpoint)
    shell = client.open_shell(env_vars={"WINRMD_TEST": "ä&<b>"}, working_directory="/usr")
    command = client.run_command(shell, "echo $WINRMD_TEST; pwd;", ["echo", "oops", ">&2;", "exit 7"])
    assert client.get_command_output(shell, command) == ("ä&<b>\n/usr\n".encode(), b"oops\n", 7)
    client.cleanup_command(shell, command)
    client.close_shell(shell)
    with pytest.raises(PywinrmFaultError, match=shell):
        client.run_command(shell, "true")


def test_pywinrm_starts_a_program_directly(endpoint: Endpoint) -> None:
    client = protocol(endpoint)
    shell = client.open_shell()
    # A command interpreter would expand $HOME and see two commands.
    command = client.run_command(
        shell, PYTHON, ["-c", "'import sys; print(sys.argv[1:])'", "'a b'", "'$HOME;x'"], skip_cmd_shell=True
    )
    assert client.get_command_output(shell, command) == (b"['a b', '$HOME;x']\n", b"", 0)
    with pytest.raises(PywinrmFaultError, match="Cannot start"):
        client.run_command(shell, "/no/such/program", skip_cmd_shell=True)
    client.close_shell(shell)


def test_pywinrm_outlasts_the_operation_timeout(endpoint: Endpoint) -> None:
    client = protocol(endpoint, operation_timeout_s=1)
    shell = client.open_shell()
    command = client.run_command(shell, "sleep 1.3; echo late")
    started = time.monotonic()
    with pytest.raises(WinRMOperationTimeoutError):
        client.get_command_output_raw(shell, command)
    assert 0.9 < time.monotonic() - started < 1.3, "the request is held, not answered at once"
    assert client.get_command_output(shell, command) == (b"late\n", b"", 0)
    client.close_shell(shell)


def test_pywinrm_feeds_standard_input(endpoint: Endpoint) -> None:
    client = protocol(endpoint)
    shell = client.open_shell()
    command = client.run_command(shell, "cat; echo end")
    client.send_command_input(shell, command, b"one\n")
    assert client.get_command_output_raw(shell, command)[0] == b"one\n"
    client.send_command_input(shell, command, "two\n", end=True)
    assert client.get_command_output(shell, command) == (b"two\nend\n", b"", 0)
    client.close_shell(shell)


def test_pywinrm_gets_20_megabytes_whole(endpoint: Endpoint) -> None:
    client = protocol(endpoint)
    shell = client.open_shell()
    block = bytes(range(256)) * 256
    program = "import sys; [sys.stdout.buffer.write(bytes(range(256)) * 256) for _ in range(320)]"
    command = client.run_command(shell, PYTHON, ["-c", f"'{program}'"], skip_cmd_shell=True)
    stdout, stderr, code = client.get_command_output(shell, command)
    assert (len(stdout), stderr, code) == (320 * 65536, b"", 0)
    assert stdout == block * 320
    client.close_shell(shell)


def test_run_ps_reports_that_there_is_no_powershell(endpoint: Endpoint) -> None:
    session = winrm.Session("unused", auth=(USER, PASSWORD))
    session.protocol = protocol(endpoint)
    result = session.run_ps("Get-Date")
    assert result.status_code == 127
    assert b"powershell" in result.std_err


def test_wrong_password_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(InvalidCredentialsError):
        protocol(endpoint, password="wrong").open_shell()
    with pytest.raises(AuthenticationError), connect(endpoint, "wrong") as connection:
        WinRS(connection).open()


def test_pypsrp_runs_commands(wsman: WSMan) -> None:
    wsman.update_max_payload_size()
    assert wsman.max_envelope_size == 512 * 1024
    with WinRS(
        wsman, environment={"A": "1"}, working_directory="/", codepage=65001, idle_time_out=60
    ) as shell:
        process = Process(shell, "sleep 1.2; echo $A; pwd; echo err >&2; exit 5")
        process.invoke()  # longer than the operation time-out of one second
        assert (process.stdout, process.stderr, process.rc) == (b"1\n/\n", b"err\n", 5)
        process.signal(SignalCode.TERMINATE)
        assert shell._get_shell()["IdleTimeOut"] == "PT60.000S"


def test_pypsrp_direct_arguments_and_input(wsman: WSMan) -> None:
    with WinRS(wsman) as shell:
        process = Process(shell, "cat", ["-", "/dev/null"], no_shell=True)
        process.begin_invoke()
        process.send(b"a" * 300_000, end=False)
        process.send(b"z", end=True)
        process.end_invoke()
        assert (process.stdout, process.rc) == (b"a" * 300_000 + b"z", 0)


@pytest.mark.parametrize("code", [SignalCode.TERMINATE, SignalCode.CTRL_C, SignalCode.CTRL_BREAK])
def test_signals_end_the_command_with_its_descendants(wsman: WSMan, code: str) -> None:
    with WinRS(wsman) as shell:
        process = Process(shell, "sleep 60 & echo $!; wait")
        process.begin_invoke()
        while not process.stdout:
            process.poll_invoke()
        started = time.monotonic()
        process.signal(code)
        process.end_invoke()
        assert process.rc == -signal.SIGKILL & 0xFFFFFFFF
        assert time.monotonic() - started < 1.0, "the descendant held the pipes open"
        assert not Path(f"/proc/{process.stdout.decode().strip()}/exe").exists()


def test_lines_travel_while_a_receive_is_held(endpoint: Endpoint) -> None:
    """The agent's way of working: one connection waits in Receive, another one sends."""
    with connect(endpoint) as receiving, connect(endpoint) as sending, WinRS(receiving) as shell:
        agent = Process(shell, PYTHON, ["-c", f"'{ECHO}'"], no_shell=True)
        agent.begin_invoke()
        sender = WinRS(sending)
        sender._selector_set = shell._selector_set
        arrived = threading.Semaphore(0)

        def pump() -> None:
            while agent.rc is None:
                seen = agent.stdout.count(b"\n")
                agent.poll_invoke()
                for _ in range(agent.stdout.count(b"\n") - seen):
                    arrived.release()

        reader = threading.Thread(target=pump)
        reader.start()
        times = []
        for number in range(40):
            started = time.perf_counter()
            # pypsrp spells ids in its own way; servers compare them without case.
            sender.send("stdin", b"line %d\n" % number, command_id=(agent.id or "").lower())
            assert arrived.acquire(timeout=5)
            times.append(time.perf_counter() - started)
        sender.send("stdin", b"", command_id=agent.id, end=True)
        reader.join(5)
        assert agent.stdout.splitlines() == [(b"line %d" % number)[::-1] for number in range(40)]
        assert agent.rc == 0
        # Far from the 2 to 5 ms it takes; polling or delayed acknowledgements would cost 40 ms and more.
        assert sorted(times)[len(times) // 2] < 0.03


def test_unknown_shell_is_a_fault(wsman: WSMan) -> None:
    shell = WinRS(wsman)
    shell.open()
    shell.close()
    shell.opened = True
    with pytest.raises(WSManFaultError) as caught:
        Process(shell, "true").invoke()
    assert caught.value.code == 2150858843
