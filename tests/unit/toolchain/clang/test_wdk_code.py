"""Drivers written for Visual C++ and the WDK compile, link and import what they should, with real clang."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pefile
import pytest

from harness.errors import BuildError
from harness.toolchain.clang.compiler import LOG, compile_driver
from harness.toolchain.clang.sources import folder_sources, listed_sources
from tests.unit.toolchain.clang.wdk_code import ENTRY, ONE_FILE, PLAIN, UNLOAD


def build(folder: Path, name: str = "t", build_name: str = "release") -> Path:
    sources = listed_sources(folder, folder_sources(folder), build_name)
    return compile_driver(sources, name, folder, folder / "out").driver


def imports(driver: Path) -> dict[str, set[str]]:
    with pefile.PE(str(driver)) as image:
        return {
            entry.dll.decode().lower(): {(found.name or b"").decode() for found in entry.imports}
            for entry in image.DIRECTORY_ENTRY_IMPORT
        }


def sections(driver: Path) -> set[str]:
    with pefile.PE(str(driver)) as image:
        return {section.Name.rstrip(b"\0").decode() for section in image.sections}


@pytest.mark.parametrize("name", ONE_FILE)
def test_it_compiles_and_links(tmp_path: Path, name: str) -> None:
    file, text = ONE_FILE[name]
    (tmp_path / file).write_text(text)
    driver = build(tmp_path)
    with pefile.PE(str(driver)) as image:
        assert image.OPTIONAL_HEADER.Subsystem == 1
        assert image.verify_checksum()
    assert driver.with_suffix(".pdb").stat().st_size > 10_000


def test_alloc_text_places_routines(tmp_path: Path) -> None:
    file, text = ONE_FILE["alloc_text"]
    (tmp_path / file).write_text(text)
    assert {"INIT", "PAGE"} <= sections(build(tmp_path))


def test_a_plain_store_in_try_is_guarded(tmp_path: Path) -> None:
    """The handler's scope table covers the store: there is an exception handler in the unwind information."""
    file, text = ONE_FILE["what_mingw_lacks"]
    (tmp_path / file).write_text(text)
    assert "__C_specific_handler" in imports(build(tmp_path))["ntoskrnl.exe"]


def test_imports_come_from_the_module_that_exports_them(tmp_path: Path) -> None:
    declared = "#include <ntddk.h>\nPVOID NTAPI FltGetRoutineAddress(PCSTR);\n"
    used = declared + PLAIN.replace("(void)p;", '(void)p; FltGetRoutineAddress("x");')
    (tmp_path / "t.c").write_text(used)
    assert imports(build(tmp_path))["fltmgr.sys"] == {"FltGetRoutineAddress"}


def test_hals_routines_come_from_hal(tmp_path: Path) -> None:
    """A new ntoskrnl.exe exports them, too, and an older one does not."""
    (tmp_path / "t.c").write_text(PLAIN.replace("(void)p;", "(void)p; KeStallExecutionProcessor(1);"))
    assert imports(build(tmp_path))["hal.dll"] == {"KeStallExecutionProcessor"}


def test_an_object_type_is_read_through_two_pointers(tmp_path: Path) -> None:
    """PsProcessType is the import's slot: its content is the address of the kernel's variable."""
    file, text = ONE_FILE["object_types"]
    (tmp_path / file).write_text(text)
    driver = build(tmp_path)
    said = subprocess.run(
        ["llvm-objdump-19", "-d", "--no-show-raw-insn", str(driver)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert len([line for line in said.splitlines() if "mov" in line and "(%r" in line]) >= 2
    assert imports(driver)["ntoskrnl.exe"] >= {"PsProcessType"}


def test_two_files(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(
        "#include <ntddk.h>\nvoid Other(void);\n" + UNLOAD.replace("PAGED_CODE", "Other") + ENTRY
    )
    (tmp_path / "b.c").write_text('#include <ntddk.h>\nvoid Other(void) { DbgPrint("x"); }\n')
    build(tmp_path)


def test_an_inline_function_of_c_that_is_called_is_there(tmp_path: Path) -> None:
    """Visual C++ emits it and merges what two files emit; here one of them does."""
    head = "#include <ntddk.h>\ninline NTSTATUS Shared(PVOID p)\n{ return p ? 0 : STATUS_UNSUCCESSFUL; }\n"
    (tmp_path / "a.h").write_text(head)
    taken = "NTSTATUS (*volatile {0})(PVOID) = Shared;\n"
    (tmp_path / "b.c").write_text('#include "a.h"\n' + taken.format("InB"))
    (tmp_path / "t.c").write_text('#include "a.h"\n' + taken.format("InT") + UNLOAD + ENTRY)
    build(tmp_path)
    assert build(tmp_path).is_file()
    (tmp_path / "b.c").write_text(
        '#include "a.h"\nNTSTATUS Missing(PVOID);\n' + taken.format("InB").replace("Shared", "Missing")
    )
    with pytest.raises(BuildError, match="does not link"):
        build(tmp_path)


def test_ntstrsafe_in_two_files(tmp_path: Path) -> None:
    head = "#include <ntddk.h>\n#include <ntstrsafe.h>\n"
    (tmp_path / "a.c").write_text(
        head + "NTSTATUS Other(PWSTR b);\nNTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {\n"
        '  WCHAR b[16]; (void)d; (void)p; RtlStringCchPrintfW(b, 16, L"%d", 1); return Other(b); }\n'
    )
    (tmp_path / "b.c").write_text(
        head + 'NTSTATUS Other(PWSTR b) { return RtlStringCchCatW(b, 16, L"x"); }\n'
    )
    build(tmp_path)


def test_a_header_in_another_case_and_behind_backslashes(tmp_path: Path) -> None:
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "Public.h").write_text("#define ANSWER 42\n")
    (tmp_path / "t.c").write_text('#include "INC\\public.h"\n' + PLAIN + "int answer = ANSWER;\n")
    build(tmp_path)


def test_a_path_with_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "my driver.c").write_text(PLAIN)
    build(folder)


def test_resources_and_assembly(tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text(
        PLAIN.replace("(void)p;", "(void)p; Answer();").replace(
            "DRIVER_UNLOAD", "int Answer(void);\nDRIVER_UNLOAD"
        )
    )
    (tmp_path / "a.asm").write_text(".code\nAnswer proc\n  mov eax, 42\n  ret\nAnswer endp\nend\n")
    (tmp_path / "t.rc").write_text('#include <windows.h>\nSTRINGTABLE BEGIN 1 "text" END\n')
    assert ".rsrc" in sections(build(tmp_path))


def test_trace_calls_need_no_preprocessor(tmp_path: Path) -> None:
    (tmp_path / "trace.h").write_text(
        "// begin_wpp config\n// FUNC Trace{FLAG=ALL}(LEVEL, MSG, ...);\n// end_wpp\n"
    )
    (tmp_path / "t.c").write_text(
        '#include <ntddk.h>\n#include "trace.h"\n#include "t.tmh"\n'
        + PLAIN.partition("\n")[2].replace(
            "(void)p;", '(void)p; WPP_INIT_TRACING(d, p); Trace(1, "%!STATUS!", 0);'
        )
    )
    build(tmp_path)


def test_a_second_build_compiles_nothing_and_a_header_what_includes_it(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text("#define A 1\n")
    (tmp_path / "a.c").write_text('#include "a.h"\n' + PLAIN + "int a = A;\n")
    (tmp_path / "b.c").write_text("int b;\n")
    driver = build(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "objects").glob("*.o")}
    made = driver.stat().st_mtime_ns
    build(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert driver.stat().st_mtime_ns == made
    (tmp_path / "a.h").write_text("#define A 2\n")
    build(tmp_path)
    changed = {path.stem for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert changed == {"000-a"}


def test_the_same_sources_give_the_same_bytes_anywhere(tmp_path: Path) -> None:
    images = []
    for name in ("one", "another"):
        folder = tmp_path / name / "project"
        folder.mkdir(parents=True)
        (folder / "t.c").write_text(PLAIN + "const char *file = __FILE__;\n")
        driver = build(folder)
        images.append((driver.read_bytes(), driver.with_suffix(".pdb").read_bytes()))
        assert str(folder).encode() not in images[-1][0]
    assert images[0] == images[1]


def test_the_first_errors_are_shown_and_all_are_kept(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.c").write_text("".join(f"int {name}{n} = missing{n};\n" for n in range(8)))
    with pytest.raises(BuildError, match="2 of 2 files of t do not compile") as caught:
        build(tmp_path)
    shown = caught.value.detail
    assert shown.count("error: use of undeclared identifier") == 5
    assert "11 more errors" in shown
    kept = (tmp_path / "out" / LOG).read_text()
    assert kept.count("error: use of undeclared identifier") == 16
    (tmp_path / "a.c").write_text(PLAIN)
    (tmp_path / "b.c").write_text("int b;\n")
    build(tmp_path)
    assert not (tmp_path / "out" / LOG).exists()


def test_a_missing_entry_point_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "t.cpp").write_text(
        "#include <ntddk.h>\nNTSTATUS DriverEntry(PDRIVER_OBJECT, PUNICODE_STRING) { return 0; }\n"
    )
    with pytest.raises(BuildError) as caught:
        build(tmp_path)
    assert 'extern "C"' in caught.value.remedy


def test_a_checked_build_is_one_for_debugging(tmp_path: Path) -> None:
    (tmp_path / "t.c").write_text(PLAIN + "#if !DBG\n#error release\n#endif\n")
    build(tmp_path, build_name="checked")
    with pytest.raises(BuildError):
        build(tmp_path, build_name="release")


def test_what_matches_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"names 'src/\*\.c'"):
        listed_sources(tmp_path, ["src/*.c"], "release")
