"""What codes, kinds and parameters mean, against facts of Microsoft's Bug Check Code Reference."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from harness.dumps.attribution import is_core
from harness.dumps.bugcheck import addresses, blames_stack, code_addresses, explanation, lookup
from harness.dumps.formats.reader import summarise
from harness.dumps.summary import Summary
from tests.fakes import dump_writer as writer

A, B, C, D = 0xFFFFF80200001000, 0xFFFFF80200002000, 0xFFFFF80200003000, 0xFFFFF80200004000
STATUS_SIGN_EXTENDED = 0xFFFFFFFFC0000005

FACTS: list[tuple[int, tuple[int, int, int, int], tuple[str, ...]]] = [
    (0xA, (0x10, 2, 1, A), ("address touched 0x10", "(DISPATCH_LEVEL)", "(write)", f"instruction {A:#x}")),
    (0xA, (0x10, 2, 8, A), ("access 0x8 (execute)",)),
    (0xD1, (0x10, 2, 0, A), ("access 0x0 (read)",)),
    (0xC5, (0x10, 2, 1, A), ("Pool structures", "(write)")),
    (0x50, (A, 2, B, 2), ("access 0x2 (write)", "(there is no valid page table entry)")),
    (0x50, (A, 0x10, B, 0), ("access 0x10 (execute)", "(the page table entry is marked as free)")),
    (0x50, (A, 0, B, 4), ("(address is not canonical",)),
    (0x50, (A, 0, B, 0xF), ("(kernel mode must not access this user-mode address)",)),
    (0x1A, (0x41792, A, 1, 2), ("PTE 0x", "PTE low part 0x1", "PTE high part 0x2")),
    (0x1A, (0x1236, A, B, 3), (f"MDL {A:#x}", "page frame number 0x3")),
    (0x1A, (0x61946, 0, 0, 0), ("flawed MDL",)),
    (0x1A, (0x5305, A, 0x10, 0), ("freed address is no pool address", "region size 0x10")),
    (0x9F, (1, A, 0, 0), ("power request open", f"device object {A:#x}")),
    (0x9F, (2, A, B, C), ("PoStartNextPowerIrp", f"driver object {C:#x}")),
    (0x9F, (3, A, B, C), (f"PDO of the stack {A:#x}", f"blocked IRP {C:#x}")),
    (0x9F, (4, 300, A, B), ("plug and play lock", "seconds waited 0x12c")),
    (0x9F, (6, A, 1, 0), ("directed power transition callback failed", "POP_FX_DEVICE")),
    (0xC1, (2, 0, 0x40, 0x30), ("IRQL 0x2", "bytes 0x40", "allocated at a wrong IRQL")),
    (0xC1, (A, B, 0, 0x24), (f"address freed {A:#x}", "after the end of the block")),
    (0xC2, (0x7, 0, 1, A), ("pool freed twice", f"block freed {A:#x}")),
    (0xC2, (0xA, A, 0x41414141, 0x42424242), ("wrong tag", "('AAAA')", "('BBBB')")),
    (0xC2, (0x9B, 0, 8, A), ("pool tag 0", f"caller {A:#x}")),
    (0xC4, (0x0, 2, 1, 0), ("allocation of zero bytes", "pool type 0x1")),
    (0xC4, (0x62, A, 0, 3), ("without freeing its pool", "allocations left 0x3")),
    (0xC4, (0x2000, A, 0, 0x33323144), (f"address in the driver {A:#x}", "pool tag 0x33323144 ('D123')")),
    (0xC4, (0x1004, A, B, C), (f"owner {B:#x}", f"current thread {C:#x}")),
    (0xC4, (0x20003, A, B, 0), ("rule IrqlDispatch", f"rule text {A:#x}")),
    (0xC4, (0x9400C, A, B, C), ("rule WlanTimedScan", f"supplemental state {C:#x}")),
    (0xC9, (0x6, 0x103, A, 0), ("(STATUS_PENDING)", f"IRP {A:#x}")),
    (0xC9, (0x20E, A, B, 0), ("STATUS_NOT_SUPPORTED", f"address in the driver {A:#x}", f"IRP {B:#x}")),
    (0xC9, (0x224, A, B, 0xC00000BB), ("status expected 0xc00000bb (STATUS_NOT_SUPPORTED)",)),
    (0xCE, (A, 8, B, 0), ("(execute)", "unloaded driver")),
    (0xD5, (A, 1, B, 0), ("after it was freed", "(write)")),
    (0xD6, (A, 0, B, 0), ("ran over the end", "(read)")),
    (0xE3, (A, B, 0, 0), (f"resource {A:#x}", f"thread {B:#x}")),
    (0xE6, (0x3, 2, 0, 0), ("common buffers freed too often", "freed too many 0x2")),
    (0xE6, (0x13, 2, 2, 5), ("higher IRQL than allowed", "highest IRQL allowed 0x2 (DISPATCH_LEVEL)")),
    (0xE6, (0x26, A, B, 6), ("IOMMU", f"device object {A:#x}")),
    (0x10D, (0x4, 0, A, 0), ("NULL argument", f"caller {A:#x}")),
    (0x10D, (0x6, 3, A, 0), ("fatal request error", "sent a second time", f"WDFREQUEST {A:#x}")),
    (0x10D, (0xB, A, 1, 0), ("lock misused", "does not hold it", f"spin lock {A:#x}")),
    (0x10D, (0xE, 0, 2, 0), ("IRQL before 0x0 (PASSIVE_LEVEL)", "IRQL after 0x2 (DISPATCH_LEVEL)")),
    (0x119, (2, 0, 0, 0), ("failed to submit a command",)),
    (0x124, (0, A, 0xB2000000, 0x11), ("machine check", "MCi_STATUS high 0xb2000000")),
    (0x133, (0, 0x501, 0x500, A), ("ticks 0x501", "ticks allowed 0x500")),
    (0x133, (1, 0x1E00, A, 0), ("DISPATCH_LEVEL or above", "watchdog period 0x1e00")),
    (0x139, (3, A, B, 0), ("LIST_ENTRY", f"trap frame {A:#x}", f"exception record {B:#x}")),
    (0x139, (0x1D, A, B, 0), ("balanced tree",)),
    (0x13A, (0x11, A, B, 0), ("double free", f"heap {A:#x}")),
    (0x154, (A, B, 0, 0), ("compressed memory store", f"store {A:#x}")),
    (0x1CA, (1, 2, 3, 4), ("synthetic watchdog", "clock processor 0x4")),
    (0x109, (A, B, C, 0x1C), ("(driver object)",)),
    (0x101, (0x18, 0, A, 3), ("does not answer clock interrupts", "processor 0x3")),
    (0xC8, (0x20003, A, B, 0), ("interrupt routine changed the IRQL", f"interrupt routine {A:#x}")),
    (0x7A, (A, 0xC000009C, 1, B), ("(STATUS_DEVICE_DATA_ERROR)",)),
    (0x1D5, (0x6D766E6977, A, B, 5000), ("('winvm')", f"responsible thread {B:#x}")),
    (0x7F, (8, 0, 0, 0), ("double fault",)),
    (0x100000EA, (A, B, C, 1), ("spins in a driver",)),
    (0x4E, (1, 7, 8, 0), ("head of a list", "list head 0x7", "pages available 0x8")),
    (0x4E, (2, 7, 8, 9), ("entry of a list", "entry removed 0x7", "reference count 0x9")),
    (0x4E, (6, 7, A, 9), ("page frame number 0x7", f"prototype PTE {A:#x}", "PTE contents 0x9")),
    (0x4E, (7, 7, 8, 0), ("unlocked a page more often than it locked it", "share count 0x8")),
    (0x4E, (0x8D, 7, 0, 0), ("free list damaged", "hardware")),
    (0x4E, (0x8F, 7, 8, 0), ("free or zeroed list", "new page 0x7", "old page 0x8")),
    (0x4E, (0x99, 7, 8, 0), ("page state 0x8",)),
    (0x122, (6, 0xC000009A, 1, 4), ("STATUS_INSUFFICIENT_RESOURCES", "source type 0x4 (PCI Express error)")),
    (0x11D, (8, 7, 0, 0), ("rundown protection", "logger ID 0x7")),
    (0x11D, (9, A, 0, 0), (f"ETW_GUID_ENTRY {A:#x}",)),
    (0x1DE, (2, 3, 0, 0), ("above DISPATCH_LEVEL", "IRQL 0x3")),
    (0x1DE, (8, A, 9, 0), (f"WIFI_ADAPTER_TX_DEMUX {A:#x}", "its type 0x9")),
    (0x125, (0, A, 1, 2), ("machine check", f"WHEA_ERROR_RECORD {A:#x}", "MCi_STATUS high 0x1")),
    (0x27, (0xCA55001E, A, B, 0), ("RDBSS_BUG_CHECK_CACHESUP", "line 0x1e", f"context {B:#x}")),
    (0x27, (0xC10E0002, 0, 0, 0), ("RDBSS_BUG_CHECK_CLOSE", "line 0x2")),
    (0x23, (0x1902A5, A, B, 0), ("file 0x19, line 0x2a5",)),
    (0x1F2, (A, 4, B, 0x184), ("right redzone of a global variable", "access write", "cell not valid")),
    (0x1F2, (A, 4, B, 0x3), ("only the first 3 bytes valid", "access read", "at least partly valid")),
    (0x77, (1, 5, 0, A), ("from a disk", "in place of the signature 0x5", f"the signature {A:#x}")),
    (0x77, (0xC000009C, 0xC000009D, 1, 4096), ("STATUS_DEVICE_NOT_CONNECTED", "page file 0x1", "0x1000")),
    (0x7A, (1, 0xC000009D, A, B), ("lock type 0x1", f"process {A:#x}", f"address {B:#x}")),
    (0x7A, (3, 0xC000009D, A, B), (f"InPageSupport {A:#x}",)),
    (0x7A, (A, 0xC000009D, 5, B), (f"PTE {A:#x}", "PTE contents 0x5")),
    (0x100000D1, (0x10, 2, 1, A), ("raised IRQL", "(write)", f"instruction {A:#x}")),
    (0xC8, (0x20003, A, B, 0), ("IRQL DISPATCH_LEVEL, expected PASSIVE_LEVEL", f"KINTERRUPT {B:#x}")),
    (0x12B, (A, 7, 0, 0), ("single-bit error", "page 0x7")),
    (0x12B, (1, 64, A, B), ("did not unpack", "compressed size 0x40", f"target buffer {B:#x}")),
    (0xD2, (A, 64, 0, 1), ("NdisMAllocateSharedMemory", "bytes 0x40")),
    (0xD2, (A, B, C, 2), ("halted without deregistering", f"timer queue {B:#x}")),
    (0x18D, (5, A, B, C), ("execute not allowed, write not allowed",)),
    (0xBC, (0x0100A8C0, 0xAABBCCDD, 0xEEFF0000, 0), ("192.168.0.1", "(Ethernet)")),
    (0xA, (0x10, 2, 9, A), ("(write, execute)",)),
    (0x7C, (0x23, 1, A, B), ("on the wrong thread", f"thread expected {B:#x}")),
    (0xC4, (0x2000, A, 0x200, 0), ("(NonPagedPoolNx)",)),
]


@pytest.mark.parametrize(("code", "values", "words"), FACTS, ids=[f"{fact[0]:#x}" for fact in FACTS])
def test_a_kind_and_its_parameters_are_explained(
    code: int, values: tuple[int, int, int, int], words: tuple[str, ...]
) -> None:
    said = explanation(code, values)
    for expected in words:
        assert expected in said, said
    assert "detail" not in said


@pytest.mark.parametrize(
    ("code", "values", "blamed"),
    [
        (0xC4, (0x2000, A, 1, 2), [A]),
        (0xC4, (0xC5, A, 1, 0), [A]),
        (0xC4, (0xDA, A, B, 0), [B]),
        (0xC4, (0xE3, A, B, 0), [A]),
        (0xC4, (0xF6, 0x44, A, B), [B]),
        (0xC4, (0xFA, A, 0, 2), [A]),
        (0xC4, (0x111, A, 5, 2), [A]),
        (0x10D, (0xF, A, 0, 0), [A]),
        (0xC9, (0x20E, A, B, 0), [A]),
        (0xC9, (0x7, A, B, 0), [A]),
        (0xC9, (0x1, A, 0, 0), []),
        (0xC9, (0x5, A, 0, 2), []),
        (0xC9, (0x21B, 0, A, 0), []),
        (0xC1, (A, B, C, 0x30), []),
        (0xC1, (A, B, 0, 0x24), []),
        (0xC2, (0x9C, 0, 8, A), [A]),
        (0xC2, (0x7, 0, 1, A), []),
        (0x9F, (3, A, B, C), []),
        (0xE1, (A, 2, B, C), [A]),
        (0xC7, (2, A, B, C), [A]),
        (0xC7, (0, A, B, C), []),
        (0xE4, (2, A, B, 0), [B]),
        (0x100000D1, (0x10, 2, 1, A), [A]),
        (0x149, (1, B, C, A), [A]),
        (0x1F2, (A, 4, B, 0x184), [B]),
        (0x135, (STATUS_SIGN_EXTENDED, A, B, 0), [B]),
        (0x44, (A, 0, 0, 0), []),
        (0xE3, (A, B, C, 0), []),
        (0x4321, (A, B, C, D), []),
    ],
)
def test_only_addresses_of_code_are_blamed(
    code: int, values: tuple[int, int, int, int], blamed: list[int]
) -> None:
    assert code_addresses(code, values) == blamed


def test_parameters_by_role_leave_out_what_leads_nowhere() -> None:
    assert addresses(0x7E, (STATUS_SIGN_EXTENDED, A, B, 0)) == {
        "code": STATUS_SIGN_EXTENDED,
        "ip": A,
        "xr": B,
    }
    assert addresses(0xC9, (5, A, 0, 2)) == {"kind": 5, "device": A, "irql": 2}


def test_an_unknown_kind_shows_what_there_is() -> None:
    said = explanation(0xC4, (0x9999, 1, 2, 3))
    assert "kind 0x9999 (not documented); detail 0x1; detail 0x2; detail 0x3" in said


def test_an_unknown_kind_leaves_parameters_that_every_kind_has() -> None:
    said = explanation(0x139, (0x99, A, B, C))
    assert said.endswith(f": kind 0x99 (not documented); trap frame {A:#x}; exception record {B:#x}.")


def test_parameters_that_the_documentation_does_not_have_are_not_made_up() -> None:
    assert explanation(0xE2, (1, 2, 3, 4)) == "Someone asked for this crash."


def test_an_undocumented_code_is_called_so() -> None:
    assert "not documented" in explanation(0x57564D01, (1, 2, 3, 4))
    assert lookup(0x57564D01).name == "UNKNOWN"
    assert "not documented" not in explanation(0x18B, (1, 2, 3, 4))


@pytest.mark.parametrize("code", [0x124, 0x80, 0x7A, 0xEF, 0x101, 0x9C, 0xF4, 0x9F, 0x161, 0])
def test_these_codes_blame_nobody_on_the_stack(code: int) -> None:
    assert not blames_stack(code)


@pytest.mark.parametrize("code", [0xA, 0xC4, 0x133, 0x139, 0xE2, 0x57564D01])
def test_these_codes_blame_the_stack(code: int) -> None:
    assert blames_stack(code)


def dump(folder: Path, code: int, values: tuple[int, ...], rip: int = writer.KERNEL + 0x2345) -> Summary:
    """A full dump with this bugcheck, whose context stands in the kernel, with bad.sys on the stack."""
    data = bytearray(writer.full(writer.guest()))
    struct.pack_into("<I4x4Q", data, 0x38, code, *values)
    struct.pack_into("<Q", data, 0x348 + 0xF8, rip)
    return summarise(writer.write(folder, bytes(data)))


@pytest.mark.parametrize(
    ("code", "values"),
    [
        (0xC4, (0x2000, writer.DRIVER + 0x1234, 0, 0)),
        (0x10D, (0xF, writer.DRIVER + 0x1234, 0, 0)),
        (0xC9, (0x20E, writer.DRIVER + 0x1234, A, 0)),
    ],
)
def test_the_address_in_the_driver_is_the_fault(code: int, values: tuple[int, ...], tmp_path: Path) -> None:
    found = dump(tmp_path, code, values)
    assert found.fault
    assert (found.fault.module, found.fault.offset) == ("bad.sys", 0x1234)
    assert found.fault_source == "bugcheck parameter"


@pytest.mark.parametrize(
    ("code", "values"),
    [(0xC9, (1, writer.DRIVER + 0x1234, 0, 0)), (0xC1, (writer.DRIVER + 0x1234, 0, 8, 0x30))],
)
def test_an_irp_or_an_irql_is_no_address(code: int, values: tuple[int, ...], tmp_path: Path) -> None:
    found = dump(tmp_path, code, values)
    assert found.fault
    assert (found.fault.module, found.fault.offset, found.fault_source) == ("bad.sys", 0x1456, "stack")


@pytest.mark.parametrize("code", [0x124, 0x80, 0xEF, 0x101])
def test_hardware_and_watchdogs_do_not_blame_a_word_on_the_stack(code: int, tmp_path: Path) -> None:
    found = dump(tmp_path, code, (0, 0, 0, 0))
    assert found.stack
    assert found.fault
    assert (found.fault.module, found.fault_source) == ("ntoskrnl.exe", "context")


def test_an_unloaded_driver_that_is_called_is_blamed(tmp_path: Path) -> None:
    found = dump(tmp_path, 0xCE, (writer.UNLOADED + 0x10, 8, writer.KERNEL + 0x2345, 0))
    assert found.fault
    assert found.fault.module == "<Unloaded old.sys>"


@pytest.mark.parametrize("name", ["kdump.sys", "kdfilter.sys", "win32kext.sys", "kd.sys"])
def test_a_driver_is_not_core_for_how_its_name_begins(name: str) -> None:
    assert not is_core(name)


def test_system_modules_are_core_unless_under_test() -> None:
    assert is_core("KDNET.dll")
    assert is_core("win32kfull.sys")
    assert is_core("storport.sys")
    assert not is_core("StorPort.sys", driver="storport.SYS")
