"""WinRM against the real winrmd over real TLS, and against servers that are hostile, silent or absent."""

from __future__ import annotations

import dataclasses
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from winrmd.envelope import Request

from harness.deadline import Deadline
from harness.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineError,
    MachineError,
    TransportError,
)
from harness.transports.winrm import WinRmTransport, _command_line
from harness.transports.wsman import WinRmEndpoint
from tests.fakes.hostile_https import answer, answering, drip, dripping_handshake
from tests.fakes.winrmd_endpoint import PASSWORD, SHELL, USER, Endpoint, make_certificate, serving

PYTHON = sys.executable
REVERSE = "import sys; [print(line.rstrip()[::-1], flush=True) for line in sys.stdin]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with serving(tmp_path_factory.mktemp("winrmd")) as running:
        yield running


@pytest.fixture(scope="module")
def endpoint(server: Endpoint) -> WinRmEndpoint:
    return WinRmEndpoint("127.0.0.1", server.port, USER, PASSWORD, server.certificate)


@pytest.fixture
def transport(endpoint: WinRmEndpoint) -> Iterator[WinRmTransport]:
    transport = WinRmTransport(endpoint)
    yield transport
    transport.close()


@pytest.fixture(autouse=True)
def no_noise(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing below the transport may warn or print."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", "")


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline.after(seconds)


def test_run_gives_output_and_exit_code(transport: WinRmTransport) -> None:
    program = "import sys; print('out é', flush=True); print('err', file=sys.stderr); sys.exit(7)"
    result = transport.run([PYTHON, "-X", "utf8", "-c", program], soon())
    assert (result.exit_code, result.stdout.decode(), result.stderr) == (7, "out é\n", b"err\n")


def test_the_shell_is_opened_once(transport: WinRmTransport, server: Endpoint) -> None:
    transport.run([PYTHON, "-c", ""], soon())
    shells = len(server.server.service.shells._shells)
    transport.run([PYTHON, "-c", ""], soon())
    assert len(server.server.service.shells._shells) == shells
    transport.close()
    assert len(server.server.service.shells._shells) == shells - 1


def test_input_is_a_pipe_and_no_shell_is_in_front(
    transport: WinRmTransport, server: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, str]] = []
    actions = server.server.service._actions
    carry_out = actions[f"{SHELL}/Command"]

    def command(request: Request, abandoned: Callable[[], bool]) -> tuple[str, str]:
        asked.append({name: value.upper() for name, value in request.options.items()})
        return carry_out(request, abandoned)

    monkeypatch.setitem(actions, f"{SHELL}/Command", command)
    transport.run([PYTHON, "-c", ""], soon())
    assert asked == [{"WINRS_CONSOLEMODE_STDIN": "FALSE", "WINRS_SKIP_CMD_SHELL": "TRUE"}]


def test_arguments_arrive_as_they_were(transport: WinRmTransport) -> None:
    arguments = ["", "a b", "<&>", "ü", "-c", "*", "%PATH%"]
    program = "import sys,json; print(json.dumps(sys.argv[1:]), end='')"
    result = transport.run([PYTHON, "-c", program, *arguments], soon())
    assert result.stdout.decode() == '["", "a b", "<&>", "\\u00fc", "-c", "*", "%PATH%"]'


def test_windows_quoting() -> None:
    program, arguments = _command_line([r"C:\Program Files\a.exe", 'say "hi"', "C:\\dir with\\", r"a\\b", ""])
    assert program == r'"C:\Program Files\a.exe"'
    assert arguments == [r'"say \"hi\""', '"C:\\dir with\\\\"', r"a\\b", '""']


@pytest.mark.parametrize("argv", [[], [""], ["a", "b\0"], ["a", "b\r\n"], ["a\x1b"]])
def test_what_no_command_line_can_carry_is_refused(argv: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        _command_line(argv)


def test_output_streams_while_the_program_runs(transport: WinRmTransport) -> None:
    heard: list[tuple[float, str, bytes]] = []
    result = transport.run(
        [PYTHON, "-c", "import time; print('a' * 9, flush=True); time.sleep(0.5); print('b' * 9)"],
        soon(),
        lambda stream, data: heard.append((time.monotonic(), stream, data)),
    )
    assert {stream for _, stream, _ in heard} == {"stdout"}
    assert b"".join(data for _, _, data in heard) == b"aaaaaaaaa\nbbbbbbbbb\n"
    assert heard[-1][0] - heard[0][0] > 0.3
    assert (result.exit_code, result.stdout) == (0, b"")


def test_a_command_that_outlives_its_deadline_is_terminated(transport: WinRmTransport) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineError, match=r"time\.sleep.*within 0\.6 s") as caught:
        transport.run([PYTHON, "-c", "print('so far', flush=True); import time; time.sleep(60)"], soon(0.6))
    assert time.monotonic() - started < 4
    assert "so far" in caught.value.detail


def test_more_output_than_is_kept_is_an_error(
    transport: WinRmTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.transports.to_end.CAPTURE_LIMIT", 1 << 20)
    with pytest.raises(TransportError, match="printed more than 1 MiB"):
        transport.run([PYTHON, "-c", "while True: print('x' * 1000)"], soon())


def test_a_conversation_while_a_thread_waits_for_output(transport: WinRmTransport) -> None:
    """A Send must not wait for the long poll of the reading thread."""
    process = transport.start([PYTHON, "-c", REVERSE], soon())
    lines: list[bytes] = []
    arrived = threading.Semaphore(0)

    def read() -> None:
        for _, data in process.receive(soon(20)):
            lines.append(data)
            arrived.release()

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.2)
    for text in (b"abc\n", b"def\n"):
        started = time.monotonic()
        process.send(text)
        assert arrived.acquire(timeout=5)
        assert time.monotonic() - started < 1
    assert transport.run([PYTHON, "-c", "print(1)"], soon()).stdout == b"1\n"  # beside it
    process.send(b"", end=True)
    reader.join(5)
    assert b"".join(lines) == b"cba\nfed\n"
    assert process.exit_code == 0
    process.terminate()
    process.terminate()


def test_receive_ends_at_its_deadline_and_goes_on_later(transport: WinRmTransport) -> None:
    process = transport.start([PYTHON, "-c", "import time; time.sleep(1); print('late')"], soon())
    started = time.monotonic()
    assert list(process.receive(soon(0.5))) == []
    assert time.monotonic() - started < 1.5
    assert process.exit_code is None
    assert b"".join(data for _, data in process.receive(soon())) == b"late\n"
    assert process.exit_code == 0
    process.terminate()


def test_another_transport_attaches_to_a_running_command(
    transport: WinRmTransport, endpoint: WinRmEndpoint
) -> None:
    """What a restored guest needs: the interpreter started before the save is found by its address."""
    address = transport.start([PYTHON, "-c", REVERSE], soon()).address
    other = WinRmTransport(endpoint)
    process = other.attach(address, "standby interpreter")
    process.send(b"abc\n", end=True)
    assert b"".join(data for _, data in process.receive(soon())) == b"cba\n"
    other.close()
    assert transport.run([PYTHON, "-c", "print(1)"], soon()).stdout == b"1\n"  # its shell is still there


def test_a_shell_that_vanished_is_opened_again(transport: WinRmTransport, server: Endpoint) -> None:
    transport.run([PYTHON, "-c", ""], soon())
    server.server.service.shells.close()
    assert transport.run([PYTHON, "-c", "print(1)"], soon()).stdout == b"1\n"


def test_a_program_that_does_not_exist(transport: WinRmTransport) -> None:
    with pytest.raises(TransportError, match=r"start /no/such\.exe: the guest answered fault"):
        transport.run(["/no/such.exe"], soon())


def test_a_wrong_password(endpoint: WinRmEndpoint) -> None:
    wrong = WinRmTransport(dataclasses.replace(endpoint, password="s3cret"))
    with pytest.raises(AuthenticationError, match="refused the password of user 'winvm'") as caught:
        wrong.wait_ready(soon())
    assert "s3cret" not in str(caught.value) + repr(wrong.endpoint)
    assert caught.value.remedy
    wrong.close()


def test_another_certificate(endpoint: WinRmEndpoint, tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    other = WinRmTransport(dataclasses.replace(endpoint, certificate=certificate))
    with pytest.raises(AuthenticationError, match="is not the image's own") as caught:
        other.wait_ready(soon())
    assert str(certificate) in str(caught.value)
    missing = WinRmTransport(dataclasses.replace(endpoint, certificate=tmp_path / "none.pem"))
    with pytest.raises(AuthenticationError, match=r"none\.pem cannot be used"):
        missing.run(["a"], soon())


def test_nobody_listens(endpoint: WinRmEndpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    transport = WinRmTransport(dataclasses.replace(endpoint, port=port))
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:.*Connection refused") as caught:
        transport.run(["a"], soon())
    assert "winvm logs" in caught.value.remedy
    transport.close()


def test_a_guest_that_accepts_but_never_answers(endpoint: WinRmEndpoint) -> None:
    """QEMU's user network does so while the guest boots."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transport = WinRmTransport(dataclasses.replace(endpoint, port=silent.getsockname()[1]))
        started = time.monotonic()
        with pytest.raises(DeadlineError, match=r"did not (answer|finish) within 0\.5 s"):
            transport.wait_ready(soon(0.5))
        with pytest.raises(DeadlineError):
            transport.run(["a"], soon(0.3))
        assert time.monotonic() - started < 2
        transport.close()


def test_wait_ready_waits_for_a_guest_that_starts_late(endpoint: WinRmEndpoint, server: Endpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as booting:
        port = booting.getsockname()[1]
        transport = WinRmTransport(dataclasses.replace(endpoint, port=port))
        stop = threading.Event()

        def forward() -> None:
            stopped = time.monotonic() + 0.5
            while not stop.is_set():
                client, _ = booting.accept()
                if time.monotonic() < stopped:
                    client.close()
                    continue
                target = socket.create_connection(("127.0.0.1", server.port))
                for source, sink in ((client, target), (target, client)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

        threading.Thread(target=forward, daemon=True).start()
        transport.wait_ready(soon())
        assert transport.run([PYTHON, "-c", "print(1)"], soon()).stdout == b"1\n"
        stop.set()
        transport.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        sink.close()


def test_wait_ready_gives_up_when_the_machine_died(endpoint: WinRmEndpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    died = iter([False, False, True])

    def check() -> None:
        if next(died):
            raise MachineError("The machine stopped.")

    with pytest.raises(MachineError):
        WinRmTransport(dataclasses.replace(endpoint, port=port)).wait_ready(soon(), check)


HOSTILE = {
    "text": (answer(200, b"hello"), "not WS-Management"),
    "no-elements": (answer(200, b"<a/>"), "not WS-Management"),
    "error-page": (answer(503, b"<html>\x1b[31m</html>"), "HTTP 503"),
    "redirect": (answer(302, b"", Location="http://127.0.0.1:1/"), "redirected"),
    "endless": (answer(200, b"<" * (5 << 20)), "longer than 4 MiB"),
    "entities": (
        answer(
            200,
            b'<!DOCTYPE a [<!ENTITY b "'
            + b"x" * 1000
            + b'">'
            + b"".join(b'<!ENTITY %c "%s">' % (99 + n, b"&%c;" % (98 + n) * 1000) for n in range(3))
            + b"]><a>&e;</a>",
        ),
        "not WS-Management",
    ),
    "hang-up": (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), "connection to .* failed"),
    "drip": (
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", forever=b"<"),
        r"did not finish within 0\.6 s",
    ),
    "drip-status": (drip(forever=b"HTTP"), r"did not finish within 0\.6 s"),
    "drip-headers": (drip(b"HTTP/1.1 200 OK\r\n", forever=b"A: b\r\n"), r"did not finish within 0\.6 s"),
    "drip-chunks": (
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", forever=b"1\r\n<\r\n"),
        r"did not finish within 0\.6 s",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_answer(kind: str, tmp_path: Path) -> None:
    reaction, said = HOSTILE[kind]
    certificate, key = make_certificate(tmp_path)
    with answering(certificate, key, reaction) as port:
        transport = WinRmTransport(WinRmEndpoint("127.0.0.1", port, USER, PASSWORD, certificate))
        started = time.monotonic()
        with pytest.raises((TransportError, DeadlineError), match=said) as caught:
            transport.run(["a"], soon(0.6))
        assert time.monotonic() - started < 2
        assert "\x1b" not in str(caught.value) + caught.value.detail
        transport.close()


def test_a_handshake_that_drips(endpoint: WinRmEndpoint) -> None:
    with dripping_handshake() as port:
        transport = WinRmTransport(dataclasses.replace(endpoint, port=port))
        started = time.monotonic()
        with pytest.raises(DeadlineError, match=r"open a shell did not finish within 0\.6 s"):
            transport.run(["a"], soon(0.6))
        assert time.monotonic() - started < 2


def test_a_shell_that_another_thread_opens_is_not_waited_for_beyond_the_deadline(
    endpoint: WinRmEndpoint,
) -> None:
    with dripping_handshake() as port, ThreadPoolExecutor(1) as pool:
        transport = WinRmTransport(dataclasses.replace(endpoint, port=port))
        opening = pool.submit(transport.run, ["a"], soon(3))
        while not transport._lock.locked():
            time.sleep(0.01)
        with pytest.raises(DeadlineError, match="another thread still opens it"):
            transport.run(["a"], soon(0.3))
        assert not opening.done()
        assert isinstance(opening.exception(), DeadlineError)


def test_a_guest_that_dies_ends_receive(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        endpoint = WinRmEndpoint("127.0.0.1", server.port, USER, PASSWORD, server.certificate)
        transport = WinRmTransport(endpoint)
        process = transport.start([PYTHON, "-c", "import time; time.sleep(60)"], soon())
    with pytest.raises(TransportError):
        list(process.receive(soon()))
    started = time.monotonic()
    process.terminate()
    transport.close()
    assert time.monotonic() - started < 1
