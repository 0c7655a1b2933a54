"""Crashes and missing lines that Wine's DbgPrint makes of `%wZ`: with the stack as the witness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.guests.wine.print_limit import crash_limit, missing_line_limit
from harness.journal import Journal
from harness.project import config
from harness.toolchain.builds import build_drivers
from harness.toolchain.wine_limits import shifted_prints

SOURCE = """#include <ntifs.h>
static UNICODE_STRING name = RTL_CONSTANT_STRING(L"x");
__attribute__((noinline)) static VOID Harmless(int n) { DbgPrint("t: %d %wZ\\n", n, &name); }
__attribute__((noinline)) static VOID Shifted(int n) { DbgPrint("t: %wZ %d\\n", &name, n); }
__attribute__((noinline)) static VOID Fatal(int n) {
    DbgPrint("t: %wZ %d%% of %s\\n",
             &name, n, "all");
}
__attribute__((noinline)) static VOID Two(int n) {
    DbgPrint("t: first %wZ %s\\n", &name, "x");
    DbgPrint("t: second %wZ %d %s\\n", &name, n, "x");
}
__attribute__((noinline)) static VOID Plain(int n) { DbgPrint("t: %d %s\\n", n, "all"); }
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    int n = p->Length;
    (void)d; Harmless(n); Shifted(n); Fatal(n); Two(n); Plain(n);
    return STATUS_SUCCESS;
}
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prints")
    (folder / "t.c").write_text(SOURCE)
    (folder / "winvm.toml").write_text('[driver]\nname = "t"\nsources = ["t.c"]\n')
    return build_drivers(config.load(folder / "winvm.toml"), None, Journal())["release"]


def frame(module: str, function: str, line: int, found: str = "unwound") -> dict[str, Any]:
    frames = [{"function": function, "file": "C:\\src\\t.c", "line": line}] if function else []
    return {"module": module, "offset": 0x10, "address": 0x10, "found": found, "frames": frames}


def crashed(function: str, line: int, found: str = "unwound", above: str = "ntdll.dll") -> dict[str, Any]:
    top = [frame(above, "", 0, "registers")] if above else []
    return {"stack": [*top, frame("t.sys", function, line, found), frame("t.sys", "DriverEntry", 12)]}


def test_a_crash_inside_a_shifted_print_is_a_limit(driver: Path) -> None:
    limit = crash_limit(crashed("Fatal", 7), driver)
    assert limit
    assert limit.certain
    assert limit.text.startswith(
        "the crash is inside the print at t.c:6, 't: %wZ %d%% of %s\\n': Wine takes no"
    )


def test_the_nearest_of_several_prints_is_named(driver: Path) -> None:
    for line, text in ((10, "first"), (11, "second")):
        limit = crash_limit(crashed("Two", line), driver)
        assert limit
        assert f"t.c:{line}, 't: {text} " in limit.text


def test_a_frame_of_a_scan_makes_it_possible_only(driver: Path) -> None:
    limit = crash_limit(crashed("Fatal", 7, found="scan"), driver)
    assert limit
    assert not limit.certain


@pytest.mark.parametrize(
    "analysis",
    [
        crashed("Fatal", 7, above=""),
        crashed("Fatal", 12),
        crashed("Shifted", 4),
        crashed("Harmless", 3),
        crashed("Plain", 13),
        {"stack": []},
        {"stack": [frame("ntdll.dll", "", 0)]},
    ],
)
def test_any_other_crash_is_the_driver_s(driver: Path, analysis: dict[str, Any]) -> None:
    assert crash_limit(analysis, driver) is None


def test_without_a_pdb_the_code_of_the_print_is_the_witness(driver: Path, tmp_path: Path) -> None:
    bare = tmp_path / driver.name
    bare.write_bytes(driver.read_bytes())
    fatal = next(one.code for one in shifted_prints(driver) if "of %s" in one.text)
    (prints,) = [one for one in shifted_prints(bare) if one.code == fatal]
    assert prints.place is None
    crash = crashed("", 0, found="scan")
    crash["stack"][1]["offset"] = fatal + 9
    limit = crash_limit(crash, bare)
    assert limit
    assert limit.text.startswith("the crash is inside the print 't: %wZ %d%% of %s\\n': Wine takes no")
    assert not limit.certain
    for offset in (0x10, fatal + 0x1000):
        crash["stack"][1]["offset"] = offset
        assert crash_limit(crash, bare) is None
    assert "'t: %wZ %d\\n'" in missing_line_limit(bare)


def test_a_missing_line_is_told_of_shifted_prints_alone(driver: Path, tmp_path: Path) -> None:
    limit = missing_line_limit(driver)
    assert "t.c:4" in limit
    assert "t.c:6" in limit
    assert "t.c:3" not in limit
    assert missing_line_limit(tmp_path / "none.sys") == ""
