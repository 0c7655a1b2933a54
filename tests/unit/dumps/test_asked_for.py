"""Crashes that someone asked for blame nobody but the driver that certainly called for them itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.crash.analysis import likely_cause
from harness.dumps.exports import exported
from harness.dumps.formats.reader import summarise
from harness.dumps.image import Image
from harness.dumps.signature import dump_signature
from harness.dumps.summary import Summary
from harness.outcome import KernelCrash
from tests.fakes.emulated_crash import DRIVER, NT, Built, Crashed, Run, build, write_dump

pytest.importorskip("unicorn", reason="unicorn, which runs the code, is not installed")

ASKED = (0xE2, 0x1C8, 0xDEADDEAD)
KERNEL = """
E N void KeBugCheck(u64 code) { volatile u64 own[6]; own[0] = code; KeBugCheckEx(code, 0, 0, 0, 0); sink++; }
E N void KeAsk(u64 code) { volatile u64 own[4]; own[0] = code; KeBugCheckEx(own[0], 0, 0, 0, 0); sink++; }
"""
SOURCE = """
typedef unsigned long long u64;
#define N __attribute__((noinline))
#define I __declspec(dllimport)
I u64 IofCallDriver(u64 (*entry)(u64), u64 x);
I void KeBugCheckEx(u64 code, u64 a, u64 b, u64 c, u64 d);
I void KeBugCheck(u64 code);
I void KeAsk(u64 code);
volatile u64 sink;
int _fltused;
N u64 Asks(u64 x) { volatile u64 own[3]; own[0] = x; %s; sink++; return own[0]; }
int DriverEntry(void) { sink = IofCallDriver(Asks, 16); return 0; }
"""
DIRECT = "KeBugCheckEx(x, 1, 2, 3, 4)"


def made(folder: Path, statement: str = DIRECT) -> tuple[Built, Crashed]:
    built = build(folder, 0, source=SOURCE % statement, kernel=KERNEL)
    crashed = Run(built).bugcheck()
    assert crashed
    return built, crashed


def said(found: Summary, code: int) -> str:
    return likely_cause(KernelCrash("bugcheck", code, (1, 2, 3, 4), 0.0), found)


@pytest.mark.parametrize("code", ASKED)
@pytest.mark.parametrize("statement", [DIRECT, "KeBugCheck(x)"])
def test_a_driver_that_calls_for_the_bugcheck_is_named(code: int, statement: str, tmp_path: Path) -> None:
    built, crashed = made(tmp_path, statement)
    found = summarise(write_dump(tmp_path, built, crashed, bugcheck=(code, 1, 2, 3, 4)))
    assert [frame.place.address for frame in found.stack[1:]] == list(crashed.chain)
    assert found.fault
    assert found.fault.address == next(at for at in crashed.chain if at >= DRIVER)
    assert dump_signature(found) == f"{code:x}-drv.sys"
    assert "crashed the system on purpose" in said(found, code)


@pytest.mark.parametrize("code", ASKED)
def test_a_driver_that_only_called_code_that_asked_is_not_named(code: int, tmp_path: Path) -> None:
    built, crashed = made(tmp_path, "KeAsk(x)")
    found = summarise(write_dump(tmp_path, built, crashed, bugcheck=(code, 1, 2, 3, 4)))
    assert dump_signature(found) == f"{code:x}-ntoskrnl.exe"
    assert said(found, code).startswith("The crash was asked for: ")


@pytest.mark.parametrize("code", ASKED)
def test_a_driver_that_was_interrupted_is_not_named(code: int, tmp_path: Path) -> None:
    built, _ = made(tmp_path)
    crashed = Run(built).crash(8)
    assert crashed
    found = summarise(write_dump(tmp_path, built, crashed, bugcheck=(code, 0, 0, 0, 0)))
    assert any(frame.place.module == "drv.sys" for frame in found.stack)
    assert dump_signature(found) == f"{code:x}-ntoskrnl.exe"
    assert said(found, code).startswith("The crash was asked for: ")


@pytest.mark.parametrize(("driver", "named"), [("", False), ("I8042prt.SYS", True)])
def test_a_keyboard_driver_carries_out_what_the_user_asked_for(
    driver: str, named: bool, tmp_path: Path
) -> None:
    built, crashed = made(tmp_path)
    dump = write_dump(tmp_path, built, crashed, bugcheck=(0xE2, 0, 0, 0, 0), driver="i8042prt.sys")
    found = summarise(dump, driver)
    assert dump_signature(found) == ("e2-i8042prt.sys" if named else "e2-ntoskrnl.exe")


def without_exports(image: bytes) -> bytes:
    at = int.from_bytes(image[0x3C:0x40], "little") + 24 + 112
    return image[:at] + bytes(8) + image[at + 8 :]


@pytest.mark.parametrize(("statement", "named"), [(DIRECT, True), ("KeBugCheck(x)", False)])
def test_without_exports_only_the_caller_right_under_the_bugcheck_is_named(
    statement: str, named: bool, tmp_path: Path
) -> None:
    built, crashed = made(tmp_path, statement)
    bare = Built(built.folder, without_exports(built.nt), built.driver, built.functions)
    found = summarise(write_dump(tmp_path, bare, crashed, bugcheck=(0xE2, 1, 2, 3, 4)))
    assert dump_signature(found) == ("e2-drv.sys" if named else "e2-ntoskrnl.exe")


def test_exports_are_found_by_name(tmp_path: Path) -> None:
    built, _ = made(tmp_path)

    class Loaded:
        def read(self, address: int, size: int) -> bytes:
            return built.nt[address:][:size] if address >= 0 else b""

    image = Image(Loaded(), 0)
    for name in ("IofCallDriver", "KeAsk", "KeBugCheck", "KeBugCheckEx", "NtStart"):
        assert exported(image, name) == built.functions[name] - NT
    for name in ("", "A", "KeBugCheckE", "KeBugCheckEx2", "Zz"):
        assert exported(image, name) is None
    assert exported(Image(Loaded(), 0x1000), "KeAsk") is None
