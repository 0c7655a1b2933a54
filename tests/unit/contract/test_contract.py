"""The contract generator: what it reads from a header, what it writes, and that drift is noticed."""

import ctypes
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from harness.contract.render import HEADER, OUTPUT, drift, hash_header, main, render
from harness.contract.rows import Contract, read_contract
from harness.errors import ContractError

SMALL = """
#define MINE_CONTRACT_VERSION 7
#define MINE_BASE 0x900
#define MINE_DEVICES(X) X(ONE, "One", "OneLink")
#define MINE_IOCTLS(X) \\
    X(ONE, POKE, FILE_DEVICE_UNKNOWN, MINE_BASE, METHOD_NEITHER, FILE_READ_ACCESS|FILE_WRITE_ACCESS)
#define MINE_PAIR_FIELDS(FIELD, ARRAY) \\
    FIELD(MINE_PAIR, 0, uint16_t, left) ARRAY(MINE_PAIR, 2, uint8_t, right, 6)
#define MINE_STRUCTURES(X) X(MINE_PAIR, 8, 2, MINE_PAIR_FIELDS)
#define MINE_CONSTANTS(X) X(MINE_LIMIT, 12u)
#define MINE_STRINGS(X) X(MINE_TEXT, "say \\"hi\\"")
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    header = tmp_path / "mine.h"
    header.write_text(SMALL)
    return header


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("generated_contract", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def contract() -> Contract:
    return read_contract(HEADER)


def test_committed_module_is_what_the_header_says(contract: Contract) -> None:
    assert drift(render(contract, HEADER.name), OUTPUT) == ""


@pytest.mark.parametrize(
    ("device", "operation", "code"),
    [
        ("WINVM", "HELLO", 0x222000),
        ("CR42", "GET_R1", 0x222000),
        ("CR42", "SET_R3", 0x222014),
        ("WINDDK", "MAP", 0x222014),
        ("WINDDK", "FILL_HEAP", 0x222018),
        ("PROCLOOK", "NEWEST", 0x222004),
        ("MSGBOARD", "SHOW", 0x222006),
        ("MSGBOARD", "LOOKUP", 0x22200E),
        ("MSGBOARD", "GET_IN_DIRECT", 0x222009),
        ("FAULT", "BUGCHECK", 0x22A404),
    ],
)
def test_public_control_codes(contract: Contract, device: str, operation: str, code: int) -> None:
    codes = {(ioctl.device, ioctl.operation): ioctl.code for ioctl in contract.ioctls}
    assert codes[device, operation] == code


def test_codes_are_unique_within_a_device(contract: Contract) -> None:
    codes = [(ioctl.device, ioctl.code) for ioctl in contract.ioctls]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("name", "size"),
    [("Hello", 48), ("Registers", 12), ("User", 516), ("HeapRequest", 16), ("ProcessNote", 24)],
)
def test_generated_structures_have_the_wire_size(name: str, size: int) -> None:
    assert ctypes.sizeof(getattr(load(OUTPUT), name)) == size


def test_generated_module_says_how_to_ask_for_hello(contract: Contract) -> None:
    module = load(OUTPUT)
    assert module.HELLO_DEVICE == r"\\.\Winvm"
    assert module.HELLO_CODE == 0x222000
    assert contract.hash == module.CONTRACT_HASH
    assert len(module.FAULT_SEQUENCE) == 30


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "X(CR42,     SET_R1,            FILE_DEVICE_UNKNOWN, 0x803",
            "X(CR42, SET_R1, FILE_DEVICE_UNKNOWN, 0x80F",
        ),
        ("FIELD(WINVM_REGISTERS, 4, int32_t, r2)", "FIELD(WINVM_REGISTERS, 4, uint32_t, r2)"),
        ("X(WINVM_USER_RECORDS, 716)", "X(WINVM_USER_RECORDS, 717)"),
        ('"CR42VirtualRegister"', '"CR42VirtualRegisters"'),
        ("#define WINVM_CONTRACT_VERSION 1", "#define WINVM_CONTRACT_VERSION 2"),
    ],
)
def test_check_refuses_drift(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], contract: Contract, old: str, new: str
) -> None:
    text = HEADER.read_text()
    assert text.count(old) == 1
    changed = tmp_path / "winvm_contract.h"
    changed.write_text(text.replace(old, new))
    assert main(["--header", str(changed), "--output", str(OUTPUT), "--check"]) == 2
    shown = capsys.readouterr().err
    assert re.search(r"^\+CONTRACT_HASH|^\+CONTRACT_VERSION", shown, re.MULTILINE)
    assert "python -m harness.contract" in shown
    assert read_contract(changed).hash != contract.hash


def test_comments_do_not_change_the_hash(tmp_path: Path, contract: Contract) -> None:
    changed = tmp_path / "winvm_contract.h"
    changed.write_text(HEADER.read_text().replace("/* C++", "/* c++") + "\n/* more words */\n")
    assert read_contract(changed).hash == contract.hash


def test_check_refuses_a_missing_module(tmp_path: Path) -> None:
    assert main(["--output", str(tmp_path / "absent.py"), "--check"]) == 2


def test_another_header(tmp_path: Path, small: Path) -> None:
    output = tmp_path / "mine.py"
    assert main(["--header", str(small), "--prefix", "MINE", "--output", str(output)]) == 0
    assert main(["--header", str(small), "--prefix", "MINE", "--output", str(output), "--check"]) == 0
    module = load(output)
    assert module.OneIoctl.POKE == 0x22E403
    assert module.Device.ONE == r"\\.\OneLink"
    assert (module.Pair.right.offset, ctypes.sizeof(module.Pair)) == (2, 8)
    assert (module.LIMIT, module.TEXT, module.CONTRACT_VERSION) == (12, 'say "hi"', 7)
    assert not hasattr(module, "HELLO_CODE")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("uint16_t", "wchar_t", "wchar_t"),
        ("X(ONE, POKE", "X(TWO, POKE", "the IOCTL POKE belongs to no device"),
        ("12u", "twelve", "'twelve' is not a number"),
        ('X(ONE, "One"', "X(ONE, One", "not understood"),
        ("#define MINE_CONTRACT_VERSION 7", "#error broken", "cannot be preprocessed"),
    ],
)
def test_a_row_that_makes_no_sense(small: Path, old: str, new: str, message: str) -> None:
    small.write_text(SMALL.replace(old, new))
    with pytest.raises(ContractError, match=message) as caught:
        read_contract(small, "MINE")
    assert caught.value.remedy


def test_a_structure_whose_offset_is_wrong_does_not_import(tmp_path: Path, small: Path) -> None:
    small.write_text(SMALL.replace("ARRAY(MINE_PAIR, 2,", "ARRAY(MINE_PAIR, 3,"))
    output = tmp_path / "mine.py"
    assert main(["--header", str(small), "--prefix", "MINE", "--output", str(output)]) == 0
    with pytest.raises(AssertionError):
        load(output)


def test_no_header(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"no contract header .*absent\.h"):
        read_contract(tmp_path / "absent.h")


def test_no_compiler() -> None:
    with pytest.raises(ContractError, match="no-such-clang"):
        read_contract(HEADER, compiler="no-such-clang")


def test_hash_header_is_left_alone_when_nothing_changed(tmp_path: Path, contract: Contract) -> None:
    output = tmp_path / "hash.h"
    assert main(["--hash-header", str(output)]) == 0
    assert output.read_text() == hash_header(contract, "WINVM")
    output.touch()
    before = output.stat().st_mtime_ns
    assert main(["--hash-header", str(output)]) == 0
    assert output.stat().st_mtime_ns == before
