"""Dumps of real systems, read to the values that other readers give. Needs WINVM_SAMPLES."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.dumps.attribution import AddressMap
from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.kerneldump import read_header
from harness.dumps.formats.reader import summarise
from harness.dumps.formats.triage import Triage
from harness.dumps.signature import dump_signature
from harness.dumps.summary import Found, Module, StackWord, Summary
from harness.dumps.symbols import symbolise

TOP = 0xFFFF850429890EE8
FROM_TOP = (
    "000 ntoskrnl.exe+40F4E1 018 amdppm.sys+334C 040 ntoskrnl.exe+3CC052 050 ntoskrnl.exe+D5D08 "
    "068 ntoskrnl.exe+D5D08 098 ntoskrnl.exe+0 0A8 ntoskrnl.exe+317E25 0B0 ntoskrnl.exe+3FE942 "
    "0B8 ntoskrnl.exe+D5D08 0C8 ntoskrnl.exe+3CBFB0 0E0 ntoskrnl.exe+32BF97 100 ntoskrnl.exe+317E25 "
    "220 ntoskrnl.exe+3FD0D8 230 ACPI.sys+9A704 270 ntoskrnl.exe+211C8F"
)
FROM_FAULT = (
    "008 amdppm.sys+22E2C 028 amdppm.sys+313F 048 amdppm.sys+F3A0 058 amdppm.sys+3234 068 amdppm.sys+F538 "
    "088 amdppm.sys+20E8F 0B8 amdppm.sys+312D4 0C8 amdppm.sys+13030 0D0 amdppm.sys+10BC8 "
    "0E8 amdppm.sys+283F6 110 amdppm.sys+10BC8 190 amdppm.sys+FA70 200 Wdf01000.sys+96DA0 "
    "218 amdppm.sys+1F852 258 Wdf01000.sys+7C027"
)


@pytest.fixture(scope="module")
def triage(samples: Path) -> Summary:
    return summarise(samples / "triage_x64.dmp")


@pytest.fixture(scope="module")
def wine(samples: Path) -> Summary:
    return summarise(samples / "wine-null-write.mdmp")


def test_header_and_system(triage: Summary) -> None:
    assert (triage.type, triage.arch, triage.truncated, triage.warnings) == ("triage", "x64", False, ())
    system = triage.system
    assert (system["build"], system["processors"], system["uptime_s"]) == (19041, 16, 3.7470697)
    assert system["time"] == "2021-02-21T01:38:22.987765Z"
    assert system["build_lab"] == "19041.1.amd64fre.vb_release.191206-1406"
    assert (system["processor"], system["mhz"], system["vendor"]) == (0, 3593, "AuthenticAMD")
    assert system["thread"] == 0xFFFFC08BDE9E1640
    assert system["kernel_base"] == 0xFFFFF8047BA00000


def test_bugcheck_exception_and_fault(triage: Summary) -> None:
    assert triage.bugcheck
    assert (triage.bugcheck.code, triage.bugcheck.name) == (
        0x1000007E,
        "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M",
    )
    assert triage.bugcheck.parameters == (
        *(0xFFFFFFFFC0000005, 0xFFFFF8048B58334C, 0xFFFF850429891EE8, 0xFFFF850429891720),
    )
    assert triage.exception
    assert triage.exception.code == 0xC0000005
    assert triage.exception.parameters == (1, (1 << 64) - 1)
    assert triage.fault
    assert (triage.fault.module, triage.fault.offset) == ("amdppm.sys", 0x334C)
    assert dump_signature(triage) == "7e-amdppm.sys"


def test_registers(triage: Summary) -> None:
    expected = {
        **{"rip": 0xFFFFF8048B58334C, "rsp": 0xFFFF850429892120, "rax": 0xFFFFC08BE4DA6240, "rcx": 0x20},
        **{"rdx": 1, "rbx": 1, "rbp": 0xFFFFF8048B58F598, "rsi": 0xFFFFC08BE457FCF0, "r9": 0x44},
        **{"rdi": 0xFFFFC08BE52E7310, "r8": 0xFFFF9B0003360008, "r10": 0x20, "r11": 0x20, "r12": 0x15},
        **{"r13": 0xFFFFF8048B590B01, "r14": 0, "r15": 0x15, "eflags": 0x50246, "cs": 0x10, "ss": 0x18},
        **{"ds": 0x2B, "es": 0x2B, "fs": 0x53, "gs": 0x2B, "context_flags": 0x10001F, "mxcsr": 0x1F80},
    }
    assert triage.registers == expected


def test_drivers(triage: Summary) -> None:
    assert len(triage.modules) == 151
    root = "\\SystemRoot\\System32\\"
    store = f"{root}DriverStore\\FileRepository\\swenum.inf_amd64_16a14542b63c02af\\swenum.sys"
    for index, path, base, size, stamp, checksum in (
        (0, "\\SystemRoot\\system32\\ntoskrnl.exe", 0xFFFFF8047BA00000, 0x1046000, 0x0D8333E6, 0xA5938C),
        (1, "\\SystemRoot\\system32\\hal.dll", 0xFFFFF80479440000, 0x6000, 0x1A7BE8E9, 0xCE9F),
        (143, f"{root}drivers\\amdppm.sys", 0xFFFFF8048B580000, 0x3B000, 0xC9C03000, 0x38E6B),
        (149, store, 0xFFFFF8048B670000, 0xC000, 0xE117266B, 0x82C9),
        (150, f"{root}drivers\\rdpbus.sys", 0xFFFFF8048B680000, 0xE000, 0x84DFD52A, 0x106CE),
    ):
        assert triage.modules[index] == Module(path.rpartition("\\")[2], path, base, size, stamp, checksum)
    assert max(len(module.path) for module in triage.modules) == 104
    assert [(m.name, m.base, m.end) for m in triage.unloaded] == [
        ("dam.sys", 0xFFFFF80487DE0000, 0xFFFFF80487DFC000),
        ("WdBoot.sys", 0xFFFFF80479D30000, 0xFFFFF80479D42000),
        ("hwpolicy.sys", 0xFFFFF804802C0000, 0xFFFFF804802D1000),
        ("mcupdate.dll", 0xFFFFF804793E0000, 0xFFFFF80479409000),
    ]


def shown(words: tuple[StackWord, ...], origin: int) -> str:
    return " ".join(
        f"{word.location - origin:03X} {word.place.module}+{word.place.offset:X}" for word in words[:15]
    )


def test_stack_from_the_fault(triage: Summary) -> None:
    assert len(triage.words) == 63
    assert Counter(word.place.module for word in triage.words) == {
        "ntoskrnl.exe": 33,
        "Wdf01000.sys": 17,
        "amdppm.sys": 13,
    }
    assert shown(triage.words, triage.registers["rsp"]) == FROM_FAULT
    likely = {(word.place.module, word.place.offset) for word in triage.words if word.called is not False}
    real = {0x313F, 0x3234, 0x20E8F, 0x283F6, 0x1F852}
    assert {("amdppm.sys", offset) for offset in real} <= likely
    assert ("amdppm.sys", 0x10BC8) not in likely


def test_stack_and_memory_from_the_top(samples: Path, triage: Summary) -> None:
    with DumpFile(samples / "triage_x64.dmp") as file:
        body = Triage(file, read_header(file), [])
        words = AddressMap(triage.modules, triage.unloaded, body.memory).scan(TOP)
        assert len(words) == 156
        assert len({word.place.address for word in words}) == 112
        assert shown(tuple(words), TOP) == FROM_TOP
        assert body.memory.read(0xFFFFF8048B58334C, 16).hex() == "43891401eb0b6643891401eb04438814"
        assert len(body.memory.read(TOP, 0x10000)) == 0x2118
        assert body.memory.read(0xFFFFF8047C62A7A0, 0x9C) == file.read(0x206A8, 0x9C)
        assert body.memory.read(0xFFFFF804780D1BC0, 0x100) == file.read(0x13A0FA, 0x100)


def test_every_length_of_a_cut_triage_dump(samples: Path, tmp_path: Path, triage: Summary) -> None:
    data = (samples / "triage_x64.dmp").read_bytes()
    for size in (0x100, 0x2000, 0x2079, 0x10000, 0x15D00, 0x18700, 0x20000, 0x13A28B):
        cut = tmp_path / "cut.dmp"
        cut.write_bytes(data[:size])
        found = summarise(cut)
        assert found.truncated
        assert found.warnings
        assert found.bugcheck == triage.bugcheck
        if size >= 0x18700:  # the exception record is within the saved stack, which is whole
            assert found.fault
            assert (found.fault_source, found.fault.offset) == ("exception record", 0x334C)
    assert len(found.modules) == 151
    assert "99% are usable" in found.warnings[0]
    cut.write_bytes(data[:-1])
    found = summarise(cut)
    assert found.truncated
    assert found.warnings[0].startswith("The file is truncated: 1444531 of at least 1444532 bytes.")
    assert found.words == triage.words


def test_the_dump_that_wine_wrote(wine: Summary) -> None:
    assert (wine.type, wine.arch, wine.system["build"], wine.system["wine"]) == (
        *("user-minidump", "x64", 19043, True),
    )
    assert (wine.system["process_id"], wine.system["thread_id"]) == (312, 0x148)
    assert wine.exception
    assert (wine.exception.code, wine.exception.flags, wine.exception.parameters) == (0xC0000005, 0, (1, 0))
    assert len(wine.modules) == 12
    driver = next(module for module in wine.modules if module.name == "tdrv.sys")
    assert (driver.base, driver.size, driver.timestamp, driver.checksum) == (
        *(0x6FFFFE6A0000, 0x9000, 0x6B00ECFB, 0xF4EC),
    )
    assert wine.fault
    assert (wine.fault.module, wine.fault.offset) == ("tdrv.sys", 0x1285)
    assert (wine.registers["rsp"], wine.registers["rcx"]) == (0x7FFFFEEFF930, 0x7FFFFECFEA80)
    assert (wine.registers["rbp"], wine.registers["eflags"]) == (0x6FFFFE6A1196, 0x10246)
    first = [(word.location - 0x7FFFFEEFF928, word.place.module, word.place.offset) for word in wine.words]
    assert first[0] == (0x60, "ntoskrnl.exe", 0x13006)
    assert {(0x90, "msvcrt.dll", 0x4409A), (0xD0, "ntoskrnl.exe", 0x1FC8F)} <= set(first)
    assert len(first) == 29  # 30 with the stale word below the stack pointer
    assert dump_signature(wine) == "c0000005-tdrv.sys"


@pytest.mark.parametrize("name", ["d1", "c4", "139"])
@pytest.mark.parametrize("with_symbols", [False, True])
def test_the_true_chain_of_code_that_was_run(name: str, with_symbols: bool, samples: Path) -> None:
    folder = samples / "unwind"
    truth = [line.split() for line in (folder / "truth.txt").read_text().splitlines()]
    summary = summarise(folder / f"{name}.dmp")
    assert [hex(frame.place.address) for frame in summary.stack] == [address for address, _ in truth]
    assert {frame.found for frame in summary.stack[1:]} == {Found.UNWOUND}
    if with_symbols:
        summary = symbolise(summary, folder)
        functions = [symbol.partition("!")[2].partition("+")[0] for _, symbol in truth]
        assert [frame.place.frames[0].function for frame in summary.stack] == functions
        assert summary.warnings == ()
        assert dump_signature(summary).endswith("-drv.sys-TouchFreed")


def test_the_chain_of_a_minidump_that_keeps_no_function_table(triage: Summary) -> None:
    """As a debugger with the system's symbols unwinds it; scanned frames may come between, none in front."""
    found = [f"{frame.place.module}+{frame.place.offset:X}" for frame in triage.stack]
    offsets = {
        "amdppm.sys": "334C 313F 3234 20E8F 283F6 1F852",
        "Wdf01000.sys": "7C027 16F81 7B227 79E21 799DA 7B6B1 7B47A 8299E CC5F A866",
        "ntoskrnl.exe": "252F55 7548A6 2E0D1E 36AB7C 723760 72362F 726BDD 7BDF0C 36C2EC 225975 317E25 3FD0D8",
    }
    true = [f"{module}+{offset}" for module, texts in offsets.items() for offset in texts.split()]
    assert found[:4] == true[:4]
    at = iter(found)
    assert all(address in at for address in true), "in this order"
    exact = [frame.found for frame in triage.stack[1:4]]
    assert exact == [Found.CODE] * 3
    assert len(found) - len(true) <= 1
    guesses = [frame for frame in triage.stack if frame.found is Found.SCAN]
    assert len(guesses) <= 7
    assert all(frame.exact for frame in triage.stack[:4])
    assert not any(frame.exact for frame in triage.stack[4:])
