"""SFTP servers of a hostile guest: what they send is bounded, and their messages are escaped."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineError, TransportError
from harness.transports.sftp import DriveMap, SftpEndpoint, SftpTransfer
from tests.fakes.hostile_sftp import hostile
from tests.fakes.sftp_server import make_key

GROWTH_LIMIT_KIB = 160 << 10
PATH = r"C:\folder\file.bin"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("host", "client"):
        make_key(folder / name)
    return folder


def transfer(port: int, keys: Path) -> SftpTransfer:
    endpoint = SftpEndpoint("127.0.0.1", port, "root", keys / "host.pub", keys / "client")
    return SftpTransfer(endpoint, DriveMap({"C:": "/x"}))


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(
    ("mode", "said"),
    [("names", "sent more bytes|more than 50000 names"), ("packet", "sent more bytes|Invalid packet")],
)
def test_answers_without_end_are_cut(mode: str, said: str, keys: Path) -> None:
    before, started = peak_kib(), time.monotonic()
    with hostile(mode, keys / "host", keys / "client") as port, pytest.raises(TransportError, match=said):
        transfer(port, keys).size(PATH, Deadline.after(30))
    assert peak_kib() - before < GROWTH_LIMIT_KIB
    assert time.monotonic() - started < 20


def test_a_file_that_gives_more_than_it_has_is_refused(keys: Path, tmp_path: Path) -> None:
    before = peak_kib()
    raises = pytest.raises((TransportError, DeadlineError))
    with hostile("reads", keys / "host", keys / "client") as port, raises:
        transfer(port, keys).pull(PATH, tmp_path / "got", Deadline.after(20), 1 << 32)
    assert not list(tmp_path.iterdir())
    assert peak_kib() - before < GROWTH_LIMIT_KIB


def test_words_of_the_server_are_escaped(keys: Path) -> None:
    raises = pytest.raises(TransportError)
    with hostile("words", keys / "host", keys / "client") as port, raises as raised:
        transfer(port, keys).size(PATH, Deadline.after(20))
    assert r"\x1b[2J" in raised.value.message
    assert "\x1b" not in raised.value.message
