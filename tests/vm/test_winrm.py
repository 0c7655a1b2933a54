"""The guest's WinRM endpoint with third-party clients: pywinrm and pypsrp, unmodified."""

from __future__ import annotations

import hashlib
import random

import pytest
import winrm
from pypsrp.shell import Process, SignalCode, WinRS
from pypsrp.wsman import WSMan
from winrm.exceptions import InvalidCredentialsError
from winrm.protocol import Protocol

from harness.images import base
from harness.run.live import LiveGuest

PYTHON = r"C:\Python\python.exe"
OUTPUT = 20 * 2**20


def pywinrm(up: LiveGuest, *, password: str = "", operation_timeout_s: int = 20) -> Protocol:
    secrets = base.load(up.image).secrets
    return Protocol(
        endpoint=f"https://{up.address}:{up.ports['winrm']}/wsman",
        transport="ssl",
        username=base.USER,
        password=password or secrets.password,
        server_cert_validation="validate",
        ca_trust_path=str(secrets.certificate),
        operation_timeout_sec=operation_timeout_s,
        read_timeout_sec=operation_timeout_s + 30,
    )


def pypsrp(up: LiveGuest) -> WSMan:
    secrets = base.load(up.image).secrets
    return WSMan(
        up.address,
        port=up.ports["winrm"],
        username=base.USER,
        password=secrets.password,
        auth="basic",
        cert_validation=str(secrets.certificate),  # type: ignore[arg-type] # documented as "bool or path"
    )


def run(protocol: Protocol, program: str, *arguments: str) -> tuple[bytes, bytes, int]:
    shell = protocol.open_shell(codepage=65001)
    command = protocol.run_command(shell, program, arguments, skip_cmd_shell=True)
    try:
        stdout, stderr, code = protocol.get_command_output(shell, command)
        return stdout, stderr, code
    finally:
        protocol.cleanup_command(shell, command)
        protocol.close_shell(shell)


def test_a_session_runs_a_command(up: LiveGuest) -> None:
    secrets = base.load(up.image).secrets
    session = winrm.Session(
        f"https://{up.address}:{up.ports['winrm']}/wsman",
        auth=(base.USER, secrets.password),
        transport="ssl",
        ca_trust_path=str(secrets.certificate),
    )
    done = session.run_cmd("echo", ["hello & exit 3"])
    assert done.std_out.strip() == b"hello"
    assert done.status_code == 3


def test_a_command_may_outlive_the_operation_timeout(up: LiveGuest) -> None:
    protocol = pywinrm(up, operation_timeout_s=2)
    program = "import time; print('a', flush=True); time.sleep(7); print('b')"
    stdout, _, code = run(protocol, PYTHON, "-c", f'"{program}"')
    assert (stdout.split(), code) == ([b"a", b"b"], 0)


def test_twenty_megabytes_arrive_whole(up: LiveGuest) -> None:
    program = f"import sys,random; sys.stdout.buffer.write(random.Random(7).randbytes({OUTPUT}))"
    stdout, _, code = run(pywinrm(up), PYTHON, "-c", f'"{program}"')
    assert code == 0
    assert len(stdout) == OUTPUT
    assert hashlib.sha256(stdout).digest() == hashlib.sha256(random.Random(7).randbytes(OUTPUT)).digest()


def test_a_wrong_password_is_refused(up: LiveGuest) -> None:
    with pytest.raises(InvalidCredentialsError):
        pywinrm(up, password="not the password").open_shell()


def test_pypsrp_streams_takes_input_and_stops(up: LiveGuest) -> None:
    program = "import sys; print(sys.stdin.readline()[::-1], flush=True); sys.stdin.read()"
    with pypsrp(up) as wsman, WinRS(wsman) as shell:
        process = Process(shell, PYTHON, ["-u", "-c", f'"{program}"'], no_shell=True)
        process.begin_invoke()
        process.send(b"olleh\r\n", end=False)
        while b"hello" not in process.stdout:
            process.poll_invoke()
        process.signal(SignalCode.TERMINATE)
        process.end_invoke()
        assert process.rc == 1
