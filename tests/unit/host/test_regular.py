"""FIFOs, devices and folders in a file's place are refused at once, sparse terabytes too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.debuggers.kd.capture import file as capture_file
from harness.errors import ConfigurationError, KdError
from harness.host.fileend import last_text
from harness.host.regular import open_regular
from harness.report.recorded import RecordedRun


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"x"


@pytest.mark.timeout(10)
def test_a_fifo_a_device_and_a_folder_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)
        with pytest.raises(KdError, match="not a regular file"), capture_file.opened(path):
            pass
    assert last_text(tmp_path / "fifo", 10) == ""


@pytest.mark.timeout(10)
def test_results_that_are_a_fifo_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "results.json")
    with pytest.raises(ConfigurationError, match="holds no results of a run: it is not a regular file"):
        RecordedRun(tmp_path)


@pytest.mark.timeout(10)
def test_a_run_whose_events_are_a_fifo_has_none(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"schema": 1, "run": "r", "results": [\n')
    os.mkfifo(tmp_path / "run.jsonl")
    assert list(RecordedRun(tmp_path).events()) == []


def test_a_sparse_terabyte_is_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(KdError, match="larger than 4 GiB"), capture_file.opened(tmp_path / "sparse"):
        pass
