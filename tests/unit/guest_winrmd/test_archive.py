"""The zipapp as it is shipped: reproducible, starts from the command line, fails readably."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import winrm

from tests.fakes.winrmd_endpoint import USER, make_certificate

BUILDER = Path(__file__).parents[3] / "guest" / "winrmd" / "archive.py"


def build(target: Path) -> Path:
    subprocess.run([sys.executable, BUILDER, target], check=True)
    return target


def test_bytes_depend_on_the_sources_alone(tmp_path: Path) -> None:
    first = build(tmp_path / "first.pyz").read_bytes()
    os.utime(BUILDER.parent / "server.py")
    assert build(tmp_path / "second.pyz").read_bytes() == first


def test_serves_and_logs_without_secrets(tmp_path: Path) -> None:
    archive = build(tmp_path / "winrmd.pyz")
    certificate, key = make_certificate(tmp_path)
    (tmp_path / "password").write_text("s3cret\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {"bind": "127.0.0.1", "port": port, "certificate": certificate, "key": key, "user": USER}
    options |= {"password-file": tmp_path / "password", "log": tmp_path / "winrmd.log"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with subprocess.Popen([sys.executable, archive, *arguments], stderr=subprocess.PIPE) as server:
        try:
            session = winrm.Session(
                f"https://localhost:{port}/wsman",
                auth=(USER, "s3cret"),
                transport="ssl",
                ca_trust_path=str(certificate),
            )
            wait_for_port(port)
            assert session.run_cmd("echo", ["visible-argument"]).std_out == b"visible-argument\n"
        finally:
            server.terminate()
        assert server.stderr is not None
        assert server.stderr.read() == b""
    log = (tmp_path / "winrmd.log").read_text()
    assert " 200 Command shell=" in log
    for secret in ("s3cret", "visible-argument", "Authorization"):
        assert secret not in log


def test_says_why_it_cannot_start(tmp_path: Path) -> None:
    archive = build(tmp_path / "winrmd.pyz")
    (tmp_path / "password").write_text("\n")
    files = ["--certificate=none.pem", "--key=none.pem", f"--password-file={tmp_path / 'password'}"]
    result = subprocess.run(
        [sys.executable, archive, *files, f"--log={tmp_path / 'l'}"], stderr=subprocess.PIPE
    )
    assert result.returncode == 2
    assert b"is empty" in result.stderr
    assert b"Traceback" not in result.stderr


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.02)
        else:
            return
