"""A run's summary.json may be anybody's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.coverage.recorded import SUMMARY, recorded_coverage


def written(run: Path, content: str) -> Path:
    path = run / SUMMARY
    path.parent.mkdir(parents=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"percent": "x"}',
        '{"percent": 1.0, "files": []}',
        "[" * 100_000,
        '{"percent": 1e999}',
    ],
)
def test_another_document_is_no_coverage(tmp_path: Path, content: str) -> None:
    written(tmp_path, content)
    assert recorded_coverage(tmp_path) is None


def test_names_are_shown_without_control_characters(tmp_path: Path) -> None:
    document = {"percent": 50.0, "files": {"a\x1b[31m.c": {"lines": 2, "covered": 1}}, "troubles": ["\x07"]}
    written(tmp_path, json.dumps(document))
    found = recorded_coverage(tmp_path)
    assert found is not None
    assert "\x1b" not in found.files[0][0]
    assert "\x07" not in found.troubles[0]


def test_neither_a_missing_file_nor_a_fifo_blocks(tmp_path: Path) -> None:
    assert recorded_coverage(tmp_path) is None
    (tmp_path / "coverage").mkdir()
    os.mkfifo(tmp_path / SUMMARY)
    assert recorded_coverage(tmp_path) is None
