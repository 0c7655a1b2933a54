"""winrmd against broken, hostile and interrupted clients."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.winrmd_endpoint import (
    BUFFER_BYTES,
    MAX_COMMANDS,
    MAX_CONNECTIONS,
    MAX_ENVELOPE_BYTES,
    MAX_SHELLS,
    PASSWORD,
    SHELL,
    TRANSFER,
    USER,
    Endpoint,
    basic,
    create,
    receive,
    request,
    run,
    send,
    serving,
)

NOT_FOUND = 'Code="2150858843"'
TIMED_OUT = 'Code="2150858793"'


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    with serving(tmp_path) as running:
        yield running


def open_shell(endpoint: Endpoint, **wanted: str) -> str:
    status, text = endpoint.post(create(**wanted))
    assert status == 200, text
    return text.partition("<rsp:ShellId>")[2].partition("<")[0]


def output(text: str) -> bytes:
    return b"".join(base64.b64decode(part) for part in re.findall(r"<rsp:Stream [^>]*>([^<]*)<", text))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\x00",
        b"not xml",
        b"<a/>",
        b"<" * 10_000,
        b"<a>" * 100_000,
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><a/>'.encode("utf-16"),
        request("urn:no-such-action"),
        request(f"{TRANSFER}/Create"),
        request(f"{SHELL}/Command", "<sh:CommandLine/>"),
        request(f"{SHELL}/Receive", "<sh:Receive/>"),
        request(f"{TRANSFER}/Create", '<sh:Shell ShellId="&#10;x"/>'),
    ],
    ids=range(13),
)
def test_malformed_envelopes_are_soap_faults(endpoint: Endpoint, body: bytes) -> None:
    status, text = endpoint.post(body)
    assert status == 500
    assert "<s:Fault>" in text
    assert "Traceback" not in text
    assert endpoint.post(create())[0] == 200, "the server lives on"


def test_message_ids_come_back_verbatim_and_escaped(endpoint: Endpoint) -> None:
    _, text = endpoint.post(request(f"{TRANSFER}/Get", shell="X", message="&lt;a&gt; UuId:Ab"))
    assert "<a:RelatesTo>&lt;a&gt; UuId:Ab</a:RelatesTo>" in text


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 404),
        ("/wsman/../etc/passwd", {}, 404),
        ("/wsman", {"Authorization": basic(USER, "wrong")}, 401),
        ("/wsman", {"Authorization": "Basic ???"}, 401),
        ("/wsman", {"Authorization": "Negotiate TlRMTVNTUAAB"}, 401),
        ("/wsman", {"Authorization": ""}, 401),
        ("/wsman?PSVersion=5", {}, 200),
    ],
)
def test_paths_and_credentials(endpoint: Endpoint, path: str, headers: dict[str, str], status: int) -> None:
    connection = endpoint.connect()
    assert endpoint.post(create(), path=path, headers=headers, connection=connection)[0] == status
    assert endpoint.post(create(), connection=connection)[0] == 200, "the connection stays usable"
    connection.close()


def test_oversized_requests_are_refused_readably(endpoint: Endpoint) -> None:
    assert endpoint.post(b"x" * (MAX_ENVELOPE_BYTES + 1))[0] == 413
    assert endpoint.post(b"x", headers={"Content-Length": "99999999999"})[0] == 413
    assert endpoint.post(b"x", headers={"Content-Length": "-1"})[0] == 411


@pytest.mark.parametrize(
    "raw", [b"GET /wsman HTTP/1.1\r\n\r\n", b"POST\r\n\r\n", b"\x00" * 100 + b"\r\n", b"A" * 70_000 + b"\r\n"]
)
def test_what_is_not_http_gets_an_error_without_details(endpoint: Endpoint, raw: bytes) -> None:
    context = ssl.create_default_context(cafile=endpoint.certificate)
    with (
        socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as link,
    ):
        link.sendall(raw)
        answer = link.recv(65536)
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
    assert b"Content-Length: 0" in answer


def test_silent_connections_are_dropped(tmp_path: Path) -> None:
    with serving(tmp_path, idle_timeout_s=0.3) as endpoint:
        idle = endpoint.connect()
        endpoint.post(create(), connection=idle)
        before = time.monotonic()
        assert idle.sock.recv(1) == b"", "the server hangs up"
        assert 0.1 < time.monotonic() - before < 2
        idle.close()
        # A request that is being worked on is not silent.
        shell = open_shell(endpoint)
        endpoint.post(run(shell, "sleep 0.8; echo done"))
        assert output(endpoint.post(receive(shell))[1]) == b"done\n"


def test_connections_are_limited_and_given_back(endpoint: Endpoint) -> None:
    crowd = [endpoint.connect() for _ in range(MAX_CONNECTIONS)]
    for connection in crowd:
        assert endpoint.post(create(shell="same"), connection=connection)[0] in (200, 500)
    with pytest.raises(OSError):
        endpoint.post(create())
    for connection in crowd:
        connection.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert endpoint.post(create())[0] == 200


def test_shells_and_commands_are_limited(endpoint: Endpoint) -> None:
    connection = endpoint.connect()
    shells = [endpoint.post(create(), connection=connection) for _ in range(MAX_SHELLS + 1)]
    assert [status for status, _ in shells] == [200] * MAX_SHELLS + [500]
    shell = shells[0][1].partition("<rsp:ShellId>")[2].partition("<")[0]
    commands = [
        endpoint.post(run(shell, "true", f"c{n}"), connection=connection)[0] for n in range(MAX_COMMANDS + 1)
    ]
    assert commands == [200] * MAX_COMMANDS + [500]
    connection.close()


def test_ended_commands_make_room(endpoint: Endpoint) -> None:
    """pypsrp never signals a command that has ended."""
    shell = open_shell(endpoint)
    connection = endpoint.connect()
    for number in range(MAX_COMMANDS + 2):
        assert endpoint.post(run(shell, "true", f"c{number}"), connection=connection)[0] == 200
        assert "ExitCode" in endpoint.post(receive(shell, f"c{number}"), connection=connection)[1]
    connection.close()


def test_commands_started_at_once_do_not_hold_each_others_pipes(endpoint: Endpoint) -> None:
    """A pipe end inherited by another program would keep this one's input open for ever."""
    shell = open_shell(endpoint)

    def whole_life(number: int) -> str:
        name = f"c{number}"
        endpoint.post(run(shell, f"read line; cat; echo $line; exit {number}", name))
        endpoint.post(send(shell, b"hello\n", name).replace(b"<sh:Stream ", b'<sh:Stream End="True" '))
        texts: list[str] = []
        while not texts or "ExitCode" not in texts[-1]:
            texts.append(endpoint.post(receive(shell, name))[1])
            assert TIMED_OUT not in texts[-1]
        assert output("".join(texts)) == b"hello\n"
        return texts[-1].partition("<rsp:ExitCode>")[2].partition("<")[0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(whole_life, range(16))) == [str(number) for number in range(16)]


def test_idle_shells_end_with_their_commands(endpoint: Endpoint) -> None:
    shell = open_shell(endpoint, idle="PT0.2S")
    endpoint.post(run(shell, "echo $$; exec sleep 60"))
    process = Path(f"/proc/{output(endpoint.post(receive(shell))[1]).decode().strip()}/exe")
    assert process.exists()
    deadline = time.monotonic() + 5
    while process.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not process.exists()
    assert NOT_FOUND in endpoint.post(receive(shell))[1]


def test_a_finished_command_waits_for_its_client(endpoint: Endpoint) -> None:
    shell = open_shell(endpoint)
    endpoint.post(run(shell, "echo out; exit 9"))
    first = endpoint.post(receive(shell))[1]
    again = endpoint.post(receive(shell))[1]
    assert "<rsp:ExitCode>9</rsp:ExitCode>" in again
    assert output(first + again) == b"out\n"
    code = f"<sh:Code>{SHELL}/signal/terminate</sh:Code>"
    signal = request(f"{SHELL}/Signal", f'<sh:Signal CommandId="C1">{code}</sh:Signal>', shell=shell)
    assert endpoint.post(signal)[0] == 200
    assert NOT_FOUND in endpoint.post(receive(shell))[1]
    assert endpoint.post(signal.replace(b"uuid:", b"uuid:2"))[0] == 200, "signalling twice is harmless"


def test_a_repeated_request_is_answered_again_but_not_done_again(endpoint: Endpoint) -> None:
    shell = open_shell(endpoint)
    endpoint.post(run(shell, "cat"))
    for _ in range(2):
        assert endpoint.post(send(shell, b"once\n", message="uuid:1"))[0] == 200
    lost = endpoint.post(receive(shell, message="uuid:2"))
    assert output(lost[1]) == b"once\n"
    assert endpoint.post(receive(shell, message="uuid:2")) == lost
    assert TIMED_OUT in endpoint.post(receive(shell, timeout="PT0.2S"))[1], "nothing was doubled"


def test_a_newer_receive_replaces_an_older_one(endpoint: Endpoint) -> None:
    """After a restore the older one belongs to a client that is no more."""
    shell = open_shell(endpoint)
    endpoint.post(run(shell, "read line; echo $line"))
    stale: list[str] = []
    holder = threading.Thread(target=lambda: stale.append(endpoint.post(receive(shell))[1]))
    holder.start()
    fresh: list[str] = []
    time.sleep(0.1)  # the stale request has to be the older one
    taker = threading.Thread(target=lambda: fresh.append(endpoint.post(receive(shell))[1]))
    taker.start()
    holder.join(3)
    assert TIMED_OUT in stale[0], "answered when replaced, not after its own time"
    endpoint.post(send(shell, b"hello\n"))
    taker.join(3)
    assert output(fresh[0]) == b"hello\n"


def test_output_is_kept_when_the_waiting_client_has_gone(endpoint: Endpoint) -> None:
    shell = open_shell(endpoint)
    endpoint.post(run(shell, "read line; echo $line; sleep 60"))
    gone = endpoint.connect()
    gone.request("POST", "/wsman", receive(shell), {"Authorization": basic(USER, PASSWORD)})
    time.sleep(0.1)  # the request has to be held before its client disappears
    gone.close()
    endpoint.post(send(shell, b"hello\n"))
    time.sleep(0.1)  # the output has to meet the abandoned request
    assert output(endpoint.post(receive(shell))[1]) == b"hello\n"


def test_input_that_nobody_reads_is_bounded(endpoint: Endpoint) -> None:
    shell = open_shell(endpoint)
    endpoint.post(run(shell, "sleep 60"))
    chunk = b"x" * 300_000
    answers = [endpoint.post(send(shell, chunk, timeout="PT0.1S")) for _ in range(10)]
    assert [status for status, _ in answers][:3] == [200] * 3
    assert TIMED_OUT in answers[-1][1]


def test_output_that_nobody_takes_is_bounded(endpoint: Endpoint) -> None:
    shell = open_shell(endpoint)
    endpoint.post(run(shell, "yes; true"))
    time.sleep(0.3)  # time to fill more than the limit
    process = endpoint.server.service.shells._shells[shell].commands["C1"].process
    held = sum(len(stream.buffer) for stream in process._streams.values())
    assert BUFFER_BYTES <= held < 2 * BUFFER_BYTES
    assert output(endpoint.post(receive(shell))[1]).startswith(b"y\ny\n")


def test_a_flood_on_one_stream_does_not_starve_the_other(endpoint: Endpoint) -> None:
    shell = open_shell(endpoint)
    endpoint.post(run(shell, "echo important &gt;&amp;2; yes"))
    time.sleep(0.2)  # both streams have to hold something
    assert b"important\n" in output(endpoint.post(receive(shell))[1])


def test_a_background_descendant_does_not_keep_a_command_running(endpoint: Endpoint) -> None:
    shell = open_shell(endpoint)
    endpoint.post(run(shell, "echo out; sleep 60 &amp; exit 3"))
    text = ""
    while "ExitCode" not in text:
        text = endpoint.post(receive(shell))[1]
        assert TIMED_OUT not in text
    assert "<rsp:ExitCode>3<" in text
