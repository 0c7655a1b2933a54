"""The loggers `winvm.*`: where they write, that logs stay small and plain, and contain no secret."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import winvm
from harness.deadline import Deadline
from harness.display import debuglog
from harness.host import programs
from harness.run.artifacts import Artifacts
from harness.transports.winrm import WinRmTransport
from harness.transports.wsman import WinRmEndpoint
from tests.fakes.winrmd_endpoint import PASSWORD, USER, serving

LOG = logging.getLogger("winvm.programs")
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----"
KDNET_KEY = "1vqrnks5nxpvw.22lh7wb0v7yzp.3yymfqkrrqmvq.1n0pqd3vypqjz"


def test_each_run_keeps_what_it_asked_of_programs(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    programs.run([sys.executable, "-c", "raise SystemExit(7)"], Deadline.after(20))
    artifacts.finish("wine", 1.0)
    LOG.debug("after the run")
    log = artifacts.path / "debug.log"
    text = log.read_text()
    assert "winvm.programs: start " in text
    assert "exit code 7" in text
    assert "after the run" not in text
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_run_that_nobody_finished_logs_no_more(tmp_path: Path) -> None:
    before = len(logging.getLogger("winvm").handlers)
    artifacts = Artifacts(tmp_path)
    assert len(logging.getLogger("winvm").handlers) == before + 1
    del artifacts
    assert len(logging.getLogger("winvm").handlers) == before


@pytest.mark.parametrize(
    "line",
    [
        f"pushed {PEM} to the guest",
        PEM.partition("-----END")[0],
        f"bcdedit /dbgsettings net hostip:10.0.2.2 port:50000 key:{KDNET_KEY}",
        f"the key is {KDNET_KEY}",
        "net user winvm password=hunter2-hunter2",
        "the word is Secret.of.the.image!",
    ],
)
def test_no_secret_is_logged(tmp_path: Path, line: str) -> None:
    debuglog.hide("Secret.of.the.image!")
    end = debuglog.to_file(tmp_path / "debug.log")
    LOG.debug("%s", line)
    end()
    text = (tmp_path / "debug.log").read_text()
    assert debuglog.LEFT_OUT in text
    for secret in ("MC4CAQAw", KDNET_KEY, KDNET_KEY[:13], "hunter2", "Secret.of.the.image!"):
        assert secret not in text


def test_addresses_and_file_names_are_no_keys(tmp_path: Path) -> None:
    end = debuglog.to_file(tmp_path / "debug.log")
    LOG.debug("connect 127.0.0.1, run winvm.sys, C:\\winvm\\run\\agent.pyz, 20261121.052421.ad79c2.x")
    end()
    assert debuglog.LEFT_OUT not in (tmp_path / "debug.log").read_text()


def test_what_a_guest_worded_is_escaped_and_cut(tmp_path: Path) -> None:
    end = debuglog.to_file(tmp_path / "debug.log")
    LOG.debug("said %s", "\x1b[31m\nforged line " + "x" * 100_000)
    end()
    text = (tmp_path / "debug.log").read_text()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "\\x1b[31m\\n" in text
    assert len(text) < debuglog.LINE_CHARACTERS + 50


def test_the_file_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debuglog, "FILE_BYTES", 20_000)
    end = debuglog.to_file(tmp_path / "debug.log")
    for number in range(2000):
        LOG.debug("line %d %s", number, "x" * 80)
    end()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 45_000
    assert "line 1999 " in (tmp_path / "debug.log").read_text()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["debug.log", "debug.log.1"]


def test_verbose_shows_programs_on_stderr_and_otherwise_nothing_is_shown(tmp_path: Path) -> None:
    (tmp_path / "winvm.toml").write_text("")
    command = ["--config", str(tmp_path / "winvm.toml"), "doctor"]
    quiet = CliRunner().invoke(winvm, command)
    assert "winvm.programs" not in quiet.stderr
    loud = CliRunner().invoke(winvm, ["--verbose", *command])
    assert "winvm.programs: start " in loud.stderr
    assert "winvm.programs" not in loud.stdout


def test_the_password_of_a_guest_is_in_no_line(tmp_path: Path) -> None:
    heard = io.StringIO()
    end = debuglog.to_stderr(heard)
    try:
        with serving(tmp_path) as server:
            endpoint = WinRmEndpoint("127.0.0.1", server.port, USER, PASSWORD, server.certificate)
            transport = WinRmTransport(endpoint)
            transport.run([sys.executable, "-c", "print(1)"], Deadline.after(20))
            transport.close()
        LOG.debug("authenticated with %s", PASSWORD)
    finally:
        end()
    assert "winvm.winrm: open a shell: answered" in heard.getvalue()
    assert f"authenticated with {debuglog.LEFT_OUT}" in heard.getvalue()
    assert PASSWORD not in heard.getvalue()
