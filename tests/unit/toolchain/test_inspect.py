"""The static checks refuse each kind of bad driver: real ones, which clang builds with one defect."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pefile
import pytest

from harness.errors import BuildError, ConfigurationError, ImageError
from harness.toolchain.identity import code_digest
from harness.toolchain.inspect import inspect_driver, is_signed, require_frameworks, uses_kmdf
from harness.toolchain.sign import TestCertificate, sign
from tests.fakes.tiny_driver import IMPORT_LIBRARIES, LINK, SOURCE, build_tiny_driver, import_library

Build = Callable[..., Path]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> TestCertificate:
    return TestCertificate.ensure(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def signed(tmp_path: Path, certificate: TestCertificate) -> Build:
    def build(**options: Any) -> Path:
        driver = build_tiny_driver(tmp_path, **options)
        sign(driver, certificate)
        return driver

    return build


def violations(driver: Path) -> list[str]:
    with pytest.raises(BuildError, match="static check") as caught:
        inspect_driver(driver)
    return caught.value.detail.splitlines()


def without(option: str) -> list[str]:
    return [given for given in LINK if not given.startswith(option)]


def test_a_good_driver_passes(signed: Build) -> None:
    assert inspect_driver(signed()) == []


def test_unsigned(tmp_path: Path) -> None:
    assert violations(build_tiny_driver(tmp_path)) == ["no Authenticode signature"]


def header(driver: Path, change: Callable[[bytearray, int], None]) -> None:
    """Changes the PE header, whose offset `change` gets, and corrects the checksum."""
    content = bytearray(driver.read_bytes())
    change(content, int.from_bytes(content[0x3C:0x40], "little"))
    driver.write_bytes(content)
    with pefile.PE(data=bytes(content), fast_load=True) as image:
        image.OPTIONAL_HEADER.CheckSum = image.generate_checksum()
        driver.write_bytes(image.write())


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_header_without_a_place_for_the_signature(signed: Build, count: int) -> None:
    def change(content: bytearray, at: int) -> None:
        content[at + 24 + 108 : at + 24 + 112] = count.to_bytes(4, "little")

    driver = signed()
    header(driver, change)
    for read in (inspect_driver, is_signed, uses_kmdf):
        with pytest.raises(
            BuildError, match=rf"has {count} data directories in its header; the fifth is the sig"
        ):
            read(driver)
    assert len(code_digest(driver)) == 64


def test_sections_without_attributes(signed: Build) -> None:
    def change(content: bytearray, at: int) -> None:
        sections = at + 24 + int.from_bytes(content[at + 20 : at + 22], "little")
        for number in range(int.from_bytes(content[at + 6 : at + 8], "little")):
            content[sections + 40 * number + 36 : sections + 40 * number + 40] = bytes(4)

    driver = signed()
    header(driver, change)
    (said,) = (line for line in violations(driver) if "entry point" in line)
    assert "whose attributes 0x00000000 do not allow execution" in said


def test_a_header_without_sections(signed: Build) -> None:
    driver = signed()
    header(driver, lambda content, at: content.__setitem__(slice(at + 6, at + 8), bytes(2)))
    assert any("is in no section" in line for line in violations(driver))


@pytest.mark.parametrize(
    ("offset", "value", "said"),
    [
        (6, b"\xff\xff", r"the header counts 65535 sections"),
        (24 + 32, bytes(8), r"alignment of sections is 0"),
        (24 + 112 + 8, b"\0\0\0\x7f", r"the imports are at 0x7f000000, behind the image's end"),
    ],
)
def test_a_header_that_tells_of_more_than_there_is(
    signed: Build, offset: int, value: bytes, said: str
) -> None:
    driver = signed()
    header(
        driver,
        lambda content, at: content.__setitem__(slice(at + offset, at + offset + len(value)), value),
    )
    found = violations(driver)
    assert any(re.search(said, line) for line in found), found
    assert len(found) < 12


def test_a_driver_that_was_cut_short(signed: Build) -> None:
    driver = signed()
    content = driver.read_bytes()[:0x500]
    driver.write_bytes(content)
    header(driver, lambda content, at: None)
    assert any(
        re.fullmatch(r"section \S+ ends at byte \d+ of a file that has 1280: it was cut short", line)
        for line in violations(driver)
    )


def test_subsystem(signed: Build) -> None:
    found = violations(signed(link=[*without("/subsystem"), "/subsystem:console"]))
    assert found == ["subsystem is 3, not native (1)"]


def test_checksum(signed: Build) -> None:
    driver = signed()
    data = bytearray(driver.read_bytes())
    data[0x50] ^= 0xFF  # inside the DOS stub, which nothing else looks at
    driver.write_bytes(data)
    found = violations(driver)
    assert len(found) == 1
    assert found[0].startswith("checksum 0x")


def test_init_that_stays(signed: Build) -> None:
    assert inspect_driver(signed(link=without("/section"))) == ["section INIT is not discardable"]


def test_no_init(signed: Build) -> None:
    found = inspect_driver(signed(source=SOURCE.replace('section("INIT")', 'section(".text")')))
    assert found == ["no INIT section: initialisation code stays in memory for ever"]


def test_no_pageable_code(signed: Build) -> None:
    found = inspect_driver(signed(source=SOURCE.replace('section("PAGE")', 'section(".text")')))
    assert found == ["no code in a PAGE section: pageable routines are locked in memory"]


def test_user_mode_import(signed: Build) -> None:
    source = SOURCE.replace("DbgPrint(", "GetTickCount(")
    found = violations(signed(source=source, libraries=[IMPORT_LIBRARIES / "libkernel32.a"]))
    assert found == ["imports from kernel32.dll, not a kernel module: GetTickCount"]


def test_import_that_windows_does_not_export(signed: Build, tmp_path: Path) -> None:
    library = import_library(tmp_path, "ntoskrnl.exe", "IoInventedByMe")
    found = violations(signed(source=SOURCE.replace("DbgPrint(", "IoInventedByMe("), libraries=[library]))
    assert found == ["imports IoInventedByMe, which ntoskrnl.exe of Windows does not export"]


def test_import_from_hal(signed: Build) -> None:
    source = SOURCE.replace("DbgPrint(", "KeStallExecutionProcessor(")
    assert inspect_driver(signed(source=source, libraries=[IMPORT_LIBRARIES / "libhal.a"])) == []


def test_32_bit(tmp_path: Path) -> None:
    source = "long __stdcall DriverEntry(void *a, void *b) { (void)a; (void)b; return 0; }"
    link = [
        "/driver",
        "/subsystem:native",
        "/entry:DriverEntry",
        "/nodefaultlib",
        "/machine:x86",
        "/safeseh:no",
    ]
    driver = build_tiny_driver(
        tmp_path, source=source, link=link, libraries=[], target="i686-w64-windows-gnu"
    )
    assert "machine is 0x014c, not x64" in violations(driver)


def test_all_violations_are_reported_at_once(tmp_path: Path) -> None:
    source = SOURCE.replace('section("PAGE")', 'section(".text")').replace("DbgPrint(", "GetTickCount(")
    link = [*without("/subsystem"), "/subsystem:windows"]
    driver = build_tiny_driver(
        tmp_path, source=source, link=link, libraries=[IMPORT_LIBRARIES / "libkernel32.a"]
    )
    found = violations(driver)
    assert len(found) == 3
    assert all(any(word in line for line in found) for word in ("subsystem", "kernel32", "signature"))


def test_what_is_no_pe_file(tmp_path: Path) -> None:
    driver = tmp_path / "text.sys"
    driver.write_text("MZ, but that is all")
    with pytest.raises(BuildError, match="not a PE file"):
        inspect_driver(driver)


def test_what_wine_lacks_is_a_note(signed: Build, tmp_path: Path) -> None:
    exports = tmp_path / "exports.json"
    driver = signed()
    exports.write_text(json.dumps({"ntoskrnl.exe": {"implemented": ["DbgPrint"], "stubs": []}}))
    assert inspect_driver(driver, exports) == []
    exports.write_text(json.dumps({"ntoskrnl.exe": {"implemented": [], "stubs": ["DbgPrint"]}}))
    assert "ntoskrnl.exe!DbgPrint is not implemented by Wine" in inspect_driver(driver, exports)[0]
    exports.write_text(json.dumps({"ntoskrnl.exe": {"implemented": [], "stubs": []}}))
    assert "ntoskrnl.exe!DbgPrint is unknown to Wine" in inspect_driver(driver, exports)[0]


@pytest.mark.parametrize("text", ["", "[]", '{"ntoskrnl.exe": {}}'])
def test_a_damaged_list_of_wines_exports(signed: Build, tmp_path: Path, text: str) -> None:
    exports = tmp_path / "exports.json"
    exports.write_text(text)
    with pytest.raises(ImageError, match=r"exports\.json is not the list"):
        inspect_driver(signed(), exports)


def test_severity_is_the_projects_own(signed: Build) -> None:
    driver = signed(source=SOURCE.replace('section("PAGE")', 'section(".text")'))
    assert inspect_driver(driver, rules={"no-page-section": "ignore"}) == []
    with pytest.raises(BuildError, match="1 static check"):
        inspect_driver(driver, rules={"no-page-section": "refuse"})
    with pytest.raises(ConfigurationError, match="'no-such-rule', which is not a rule"):
        inspect_driver(driver, rules={"no-such-rule": "note"})
    with pytest.raises(ConfigurationError, match=r"Did you mean no-page-section\?"):
        inspect_driver(driver, rules={"no-page-sections": "ignore"})


def test_an_unknown_module_is_noted(signed: Build, tmp_path: Path) -> None:
    library = import_library(tmp_path, "otherdriver.sys", "OtherCall")
    found = inspect_driver(signed(source=SOURCE.replace("DbgPrint(", "OtherCall("), libraries=[library]))
    assert found == [
        "imports from otherdriver.sys, whose exports are not known here; it must be loaded before: OtherCall"
    ]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("ntoskrnl.exe", "ExAllocatePool2"),
        ("netio.sys", "WskRegister"),
        ("fltmgr.sys", "FltRegisterFilter"),
        ("ksecdd.sys", "BCryptGenRandom"),
        ("cng.sys", "BCryptOpenAlgorithmProvider"),
        ("ndis.sys", "NdisAllocateNetBufferList"),
        ("wdfldr.sys", "WdfVersionBind"),
    ],
)
def test_what_windows_exports_passes(signed: Build, tmp_path: Path, module: str, name: str) -> None:
    library = import_library(tmp_path, module, name)
    assert inspect_driver(signed(source=SOURCE.replace("DbgPrint(", f"{name}("), libraries=[library])) == []


def test_kmdf_needs_a_guest_that_has_it(signed: Build, tmp_path: Path) -> None:
    library = import_library(tmp_path, "WDFLDR.SYS", "WdfVersionBind")
    driver = signed(source=SOURCE.replace("DbgPrint(", "WdfVersionBind("), libraries=[library])
    exports = tmp_path / "exports.json"
    exports.write_text(json.dumps({"ntoskrnl.exe": {"implemented": [], "stubs": []}}))
    assert "this guest has no KMDF" in inspect_driver(driver, exports)[0]
    with pytest.raises(ConfigurationError, match=r"tiny\.sys is a KMDF driver, and this guest has no KMDF"):
        require_frameworks([driver], exports)
    require_frameworks([driver], None)
