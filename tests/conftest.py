"""Shared by all tests: `--update` rewrites golden files; real artefacts; a small disk to be filled."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs tests in the background has them ignore Ctrl-C, and so would the programs that tests
    # start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update", action="store_true", help="rewrite golden files with what the code gives now"
    )
    parser.addoption("--long", action="store_true", help="also run the tests that take many minutes")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, actual)` compares with tests/golden/<name>, or writes it under `--update`."""

    def compare(name: str, actual: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--update"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(actual, encoding="utf-8")
        assert file.is_file(), f"{file} is missing: run pytest with --update"
        assert actual == file.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder of artefacts made by real kernels, from WINVM_SAMPLES."""
    named = os.environ.get("WINVM_SAMPLES")
    if not named:
        pytest.skip("WINVM_SAMPLES is not set: no artefacts of real kernels to test against")
    return Path(named)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this process may not mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
