"""tests/second_driver is what `winvm new-driver second` writes today, and one scenario module besides."""

from __future__ import annotations

from pathlib import Path

from harness.scaffold import write_driver

COMMITTED = Path(__file__).resolve().parents[1] / "second_driver"
ADDED = "scenarios/twist.py"
NOT_COMMITTED = {"build", "artifacts", "__pycache__", "local.mk"}


def files(folder: Path) -> dict[str, str]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    kept = [
        path.relative_to(folder) for path in found if not NOT_COMMITTED & set(path.relative_to(folder).parts)
    ]
    return {path.as_posix(): (folder / path).read_text() for path in kept}


def test_it_is_what_the_command_writes(tmp_path: Path) -> None:
    write_driver(tmp_path / "second", "second")
    committed = files(COMMITTED)
    assert committed.pop(ADDED)
    assert committed == files(tmp_path / "second"), "write it anew: winvm new-driver second"
