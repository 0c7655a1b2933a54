"""What WinRM refuses before it sends anything, and what it accepts whatever the host's clock says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import AuthenticationError, ConfigurationError
from harness.transports.winrm import WinRmTransport, _command_line
from harness.transports.wsman import WinRmEndpoint
from tests.fakes.winrmd_endpoint import PASSWORD, USER, serving

PYTHON = sys.executable


def soon() -> Deadline:
    return Deadline.after(10.0)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([r"C:\a.exe", "x" * 32_758], "a.exe' has 32,767 UTF-16 units; Windows takes at most 32,766"),
        ([r"C:\a.exe", "\N{GRINNING FACE}" * 16_379], "has 32,767 UTF-16 units; .* at most 32,766"),
        ([r"C:\Windows\CMD.EXE", "/c", "x" * 8189], "has 8,192 UTF-16 units; Windows takes at most 8,191"),
    ],
)
def test_a_line_that_windows_would_cut_is_refused_with_both_numbers(argv: list[str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        _command_line(argv)
    assert _command_line([*argv[:-1], argv[-1][:-1]])[0] == argv[0], "a shorter one fits"


@pytest.mark.parametrize(
    "content", [b"", b"\0\xff" * 500, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_certificate_file_is_named(tmp_path: Path, content: bytes) -> None:
    damaged = tmp_path / "damaged.pem"
    damaged.write_bytes(content)
    transport = WinRmTransport(WinRmEndpoint("127.0.0.1", 9, USER, PASSWORD, damaged))
    with pytest.raises(
        AuthenticationError, match=r"damaged\.pem cannot be used: it is not a certificate"
    ) as raised:
        transport.run([PYTHON, "-c", ""], soon())
    assert "winvm image build" in raised.value.remedy
    transport.close()


@pytest.mark.parametrize("years", [-30, 30])
def test_a_host_clock_that_is_decades_off_does_not_matter(tmp_path: Path, years: float) -> None:
    with serving(tmp_path, years=years) as far:
        transport = WinRmTransport(WinRmEndpoint("127.0.0.1", far.port, USER, PASSWORD, far.certificate))
        assert transport.run([PYTHON, "-c", "print(1)"], soon()).stdout == b"1\n"
        transport.close()
