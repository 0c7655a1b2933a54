"""Analyses of the crashes in tests/golden/crashes: a new case is a new folder there; its README says how."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.crash.analysis import Circumstances, analyse, analysis_document, analysis_markdown
from harness.dumps.formats.reader import summarise
from harness.dumps.summary import Found, Frame, Place, StackFrame, Summary
from harness.dumps.symbols import symbolise
from harness.guests.wine import log_hints
from harness.outcome import CrashRecord, KernelCrash
from harness.results import crash_document, write_json
from tests.fakes import dump_writer as writer

CASES = sorted(path.parent for path in (Path(__file__).parents[2] / "golden/crashes").glob("*/crash.json"))
DRIVER = "winvm.sys"


def crash_of(case: Path) -> KernelCrash:
    document = json.loads((case / "crash.json").read_text())
    crash = KernelCrash(
        kind=document["kind"],
        code=int(document["code"], 16),
        parameters=tuple(int(value, 16) for value in document["parameters"]),
        time=0.0,
        text=document.get("text", ""),
    )
    return log_hints.hinted(crash, ())


def circumstances_of(case: Path) -> Circumstances:
    document = json.loads((case / "crash.json").read_text())
    return Circumstances(document["scenario"], DRIVER, document.get("last_operation", ""), tail_of(case))


def place(document: dict[str, Any]) -> Place:
    frames = tuple(Frame(*frame) for frame in document.get("frames", []))
    return Place(int(document["address"], 16), document.get("module"), document.get("offset"), frames)


def summary_of(case: Path) -> Summary | None:
    if (case / "minidump.dmp").is_file():
        summary = summarise(case / "minidump.dmp")
        return symbolise(summary, case) if list(case.glob("*.pdb")) else summary
    if not (case / "dump.json").is_file():
        return None
    document = json.loads((case / "dump.json").read_text())
    stack = tuple(
        StackFrame(place(word), 8 * index, 8 * index, Found.UNWOUND)
        for index, word in enumerate(document["stack"])
    )
    return Summary(
        "user-minidump",
        "x64",
        {},
        None,
        None,
        {},
        place(document["fault"]),
        document.get("source", ""),
        (),
        (),
        stack,
        False,
        (),
    )


def tail_of(case: Path) -> list[str]:
    if (case / "dbgprint.txt").is_file():
        lines = (case / "dbgprint.txt").read_text().splitlines()
        return [line for line in lines if not log_hints.is_noise(line)]
    return [line.partition(" ")[2] for line in (case / "dbgprint-tail.txt").read_text().splitlines()]


def answer(case: Path) -> dict[str, Any]:
    return analysis_document(crash_of(case), circumstances_of(case), summary_of(case))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_crash(case: Path, golden: Callable[[str, str], None]) -> None:
    document = answer(case)
    golden(f"crashes/{case.name}/analysis.json", json.dumps(document, indent=1) + "\n")
    golden(f"crashes/{case.name}/analysis.md", analysis_markdown(document))


def test_there_are_cases() -> None:
    assert len(CASES) >= 6


def test_a_crash_folder_as_a_run_leaves_it_is_a_case(tmp_path: Path) -> None:
    writer.write(tmp_path, writer.minidump(0x180000000, 0x5000, 1, 0x1234), "minidump.dmp")
    crash = KernelCrash("exception", 0xC0000005, (0xC0000005, 0x180001234, 0, 1), 1.0)
    write_json(tmp_path / "crash.json", crash_document(CrashRecord(crash, "s", tmp_path, "")))
    (tmp_path / "dbgprint-tail.txt").write_text("1.500000 winvm: one\n2.500000 two words\n")
    kept = analyse(
        crash, Circumstances("s", DRIVER, tail=["winvm: one", "two words"]), tmp_path, symbols=None
    )
    assert answer(tmp_path) == kept == json.loads((tmp_path / "analysis.json").read_text())


def test_files_are_written_beside_the_dump(tmp_path: Path) -> None:
    writer.write(tmp_path, writer.minidump(0x180000000, 0x5000, 1, 0x1234), "minidump.dmp")
    crash = KernelCrash("exception", 0xC0000005, (0xC0000005, 0x180001234, 0, 1), 0.0)
    document = analyse(crash, Circumstances("s", DRIVER, tail=["one"]), tmp_path, symbols=tmp_path)
    assert document["signature"] == "c0000005-tiny.sys"
    assert json.loads((tmp_path / "analysis.json").read_text()) == document
    assert "tiny.sys+0x1234" in (tmp_path / "analysis.md").read_text()


def test_a_broken_dump_costs_only_its_part(tmp_path: Path) -> None:
    (tmp_path / "minidump.dmp").write_bytes(b"garbage")
    crash = KernelCrash("bugcheck", 0xE2, (1, 2, 3, 4), 0.0)
    document = analyse(crash, Circumstances("s", DRIVER), tmp_path, symbols=None)
    assert document["signature"] == "e2-winvm.sys"
    assert "not a crash dump" in document["warnings"][0]


def test_text_of_the_guest_stays_text(tmp_path: Path) -> None:
    hostile = "`<script>alert(1)</script>` \x1b[2J ![x](http://y)"
    crash = KernelCrash("bugcheck", 0xE2, (1, 2, 3, 4), 0.0)
    found = Circumstances(hostile, DRIVER, last_operation=hostile, tail=[hostile])
    shown = analysis_markdown(analysis_document(crash, found, None))
    assert "\x1b" not in shown
    for line in shown.splitlines():
        assert "<script>" not in line or line.startswith("    ") or line.count("`") == 2


def test_a_code_without_a_name_is_not_called_unknown() -> None:
    crash = KernelCrash("bugcheck", 0x57564D01, (0, 0, 0, 0), 0.0)
    shown = analysis_markdown(analysis_document(crash, Circumstances("s", DRIVER), None))
    assert "- what: `bugcheck 0x57564d01 (0x0, 0x0, 0x0, 0x0)`\n" in shown


def test_the_stack_is_kept_down_to_the_driver_and_its_caller() -> None:
    crash = KernelCrash("exception", 0xC0000005, (0xC0000005, 0x10, 0, 0), 0.0)
    foreign = StackFrame(Place(0x10, "ntdll.dll", 0x10), 0, 0, Found.SCAN)
    own = StackFrame(Place(0x20, DRIVER, 0x20), 0, 0, Found.UNWOUND)
    for before, kept in ((3, 32), (40, 42), (300, 128)):
        stack = (*[foreign] * before, own, *[foreign] * 200)
        summary = Summary("none", "x64", {}, None, None, {}, None, "", (), (), stack, False, ())
        document = analysis_document(crash, Circumstances("s", DRIVER), summary)
        assert len(document["stack"]) == kept
