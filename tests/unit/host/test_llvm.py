"""LLVM's programs are found by a range of versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.host import llvm, programs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(folder: Path, name: str, version: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\necho {name} version {version}\n")
    (folder / name).chmod(0o755)


def test_the_version_asked_for_comes_first(folder: Path) -> None:
    program(folder, "llvm-ml-20", "20.1.0")
    program(folder, "llvm-ml-19", "19.1.7")
    assert llvm.found("llvm-ml-19") == "llvm-ml-19"


def test_a_newer_one_is_taken_and_run(folder: Path) -> None:
    program(folder, "llvm-ml-21", "21.1.0")
    program(folder, "llvm-ml-18", "18.1.0")
    done = programs.run(["llvm-ml-19", "--version"], Deadline.after(10))
    assert done.text == "llvm-ml-21 version 21.1.0\n"


def test_one_without_a_number_only_if_it_is_new_enough(folder: Path) -> None:
    program(folder, "llvm-ml", "18.1.8")
    assert llvm.found("llvm-ml-19") == "llvm-ml-19"
    program(folder, "llvm-rc", "22.1.1")
    assert llvm.found("llvm-rc-19") == "llvm-rc"


def test_other_programs_keep_their_names(folder: Path) -> None:
    program(folder, "python3.12", "3.12.1")
    assert llvm.found("python3-19") == "python3-19"
    with pytest.raises(programs.MissingProgramError, match="llvm-nothing-19 is not installed"):
        programs.run(["llvm-nothing-19"], Deadline.after(10))
