"""What the static check says of right code that a Wine guest does otherwise: with function, file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.journal import Journal
from harness.project import config
from harness.toolchain.builds import build_drivers
from harness.toolchain.wine_limits import wine_limits

SOURCE = """#include <ntifs.h>
static VOID NTAPI Unload(PDRIVER_OBJECT d) { (void)d; DbgPrint("t: bye %ws\\n", L"x"); }
__attribute__((noinline)) static NTSTATUS Try(volatile int *p) {
    NTSTATUS s = 0;
    __try { *p = 1; } __except (EXCEPTION_EXECUTE_HANDLER) { s = GetExceptionCode(); }
    __try { *p = 1; } __except (s = GetExceptionCode(), EXCEPTION_EXECUTE_HANDLER) { *p = 2; }
    __try { *p = 1; }
    __except (GetExceptionCode() == STATUS_ACCESS_VIOLATION
              && (s = GetExceptionCode(), 1)) {
        s = GetExceptionCode();
    }
    return s;
}
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    d->DriverUnload = Unload;
    DbgPrint("t: open %wZ by %d\\n", p, 5);
    KeSetPriorityThread(KeGetCurrentThread(), 5);
    return Try((volatile int *)16);
}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits")
    (folder / "t.c").write_text(SOURCE)
    (folder / "winvm.toml").write_text('[driver]\nname = "t"\nsources = ["t.c"]\n')
    return build_drivers(config.load(folder / "winvm.toml"), None, Journal())["release"]


def test_formats_routines_and_caught_codes_are_named_with_their_lines(built: Path) -> None:
    found = {finding.rule: finding.text for finding in wine_limits(built)}
    assert found["wine-format"].startswith('t.c:16 in DriverEntry: "t: open %wZ by %d\\n": DbgPrint of Wine')
    assert found["wine-routine"].startswith(
        "t.c:17 in DriverEntry: KeSetPriorityThread succeeds and does nothing"
    )
    assert "wine-exception-code" not in found


NAMES = """
__attribute__((section("%s"), used)) static const char Packed[] = "x%%wZ";
"""


@pytest.mark.parametrize(("section", "notes"), [(".lprfn", 0), (".lcovmap", 0), (".rdata", 1)])
def test_what_coverage_adds_to_an_image_is_no_format(tmp_path: Path, section: str, notes: int) -> None:
    (tmp_path / "t.c").write_text(SOURCE.replace("open %wZ by", "open") + NAMES % section)
    (tmp_path / "winvm.toml").write_text('[driver]\nname = "t"\nsources = ["t.c"]\n')
    image = build_drivers(config.load(tmp_path / "winvm.toml"), None, Journal())["release"]
    assert [one.rule for one in wine_limits(image)].count("wine-format") == notes


def test_a_code_that_a_filter_takes_is_right(built: Path, tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text(SOURCE)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "copy.c").write_text(SOURCE)
    codes = [one for one in wine_limits(built, tmp_path) if one.rule == "wine-exception-code"]
    assert [one.text.split(": ")[0] for one in codes] == ["t.c:5", "t.c:10"]


def test_without_a_pdb_the_notes_have_no_line(built: Path, tmp_path: Path) -> None:
    alone = tmp_path / "t.sys"
    alone.write_bytes(built.read_bytes())
    assert [one.text.split(" ")[0] for one in wine_limits(alone)] == ['"t:', "KeSetPriorityThread"]


def test_the_notes_are_for_a_wine_guest_alone_and_can_be_turned_off(tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text(SOURCE)
    exports = tmp_path / "exports.json"
    exports.write_text('{"ntoskrnl.exe": {"implemented": [], "stubs": []}}')

    def notes(listed: Path | None, rules: str = "") -> str:
        (tmp_path / "winvm.toml").write_text(f'[driver]\nname = "t"\nsources = ["t.c"]\n{rules}')
        said: list[str] = []
        journal = Journal()
        journal.listen(lambda event: said.append(str(event)))
        build_drivers(config.load(tmp_path / "winvm.toml"), listed, journal)
        return "\n".join(said)

    assert "%wZ" not in notes(None)
    assert "%wZ" in notes(exports)
    assert "t.c:10: GetExceptionCode()" in notes(exports)
    assert "%wZ" not in notes(exports, '[check]\nrules = { "wine-format" = "ignore" }\n')
