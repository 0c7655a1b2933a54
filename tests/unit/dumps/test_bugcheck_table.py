"""The table of bugchecks is complete: codes, names, roles and kinds; and the time to load it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from harness.dumps.bugcheck_table import base_code, document, find, number
from harness.dumps.bugcheck_table import row as row_of

CODES: dict[str, Any] = document()["codes"]
CAUSES = {"driver", "hardware", "system", "watchdog", "request", "live dump", "found later"}
VARIANTS = {0x1000007E, 0x1000007F, 0x1000008E, 0x100000EA}
KINDS = {  # code: how many kinds Microsoft Learn documents at the least
    **{0x1A: 47, 0x9F: 7, 0xC1: 8, 0xC2: 28, 0xC4: 241, 0xC9: 103, 0xE6: 35, 0x109: 44, 0x10D: 15},
    **{0x119: 24, 0x124: 19, 0x133: 2, 0x139: 30, 0x13A: 21},
    **{0x4E: 8, 0x11D: 9, 0x125: 12, 0x1DE: 12, 0x27: 4},
}


def levels(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A row, its kinds, and theirs."""
    yield row
    others = [row["else"]] if "else" in row else []
    for chosen in (*row.get("kinds", {}).values(), *others):
        yield from levels(chosen)


def test_the_source_is_named() -> None:
    head = document()
    assert "MicrosoftDocs/windows-driver-docs" in head["source"]
    assert re.fullmatch(r"[0-9a-f]{40}", head["revision"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", head["date"])


def test_every_documented_code_is_there_once() -> None:
    assert len(CODES) >= 424
    numbers = [int(code, 16) for code in CODES]
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers)
    assert [number(value) for value in numbers] == list(CODES)
    assert {0x1, 0xC4, 0x1F5, 0x356, 0xBFF, 0x21C8, 0x20001, 0x4000008A, 0xC000021A, 0xDEADDEAD} <= set(
        numbers
    )


def test_names_are_upper_case_identifiers_and_no_two_codes_share_one() -> None:
    names = [row["name"] for row in CODES.values()]
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]{3,}", name) for name in names)
    assert len(set(names)) == len(names)


def test_variants_lead_to_their_code() -> None:
    assert {int(code, 16) for code, row in CODES.items() if "same_as" in row} == VARIANTS
    for code in VARIANTS:
        found, base = find(code, (8, 0, 0, 0)), find(base_code(code), (8, 0, 0, 0))
        assert found.name == f"{base.name}_M"
        assert (found.meaning, found.kind, found.parameters) == (base.meaning, base.kind, base.parameters)


@pytest.mark.parametrize("code", [code for code, row in CODES.items() if "same_as" not in row])
def test_a_row_is_well_formed(code: str) -> None:
    row = CODES[code]
    assert row.get("cause", "driver") in CAUSES
    unnamed = {id(level["else"]) for level in levels(row) if "else" in level}
    for level in levels(row):
        assert level.get("meaning") or id(level) in unnamed, code
        assert not level.get("meaning", "").endswith("."), level
        texts = level.get("parameters", [])
        assert len(texts) <= 4, level
        for text in filter(None, texts):
            role, _, what = text.partition(":")
            assert role in document()["roles"], text
            assert what, level
        if "kinds" in level:
            assert level["by"] in (1, 2, 3, 4)
            assert all(number(int(value, 16)) == value for value in level["kinds"])
        for about in ("values", "bits"):
            for at, table in level.get(about, {}).items():
                assert at in "1234"
                assert all(number(int(value, 16)) == value and words for value, words in table.items())
        for at, fields in level.get("fields", {}).items():
            assert at in "1234"
            assert all(text and 63 >= high >= low >= 0 and len(more) < 2 for text, high, low, *more in fields)
        names = [text.partition(":")[0] for text in level.get("parameters", [])]
        for at in {**level.get("values", {}), **level.get("fields", {}), **level.get("bits", {})}:
            assert names[int(at) - 1 : int(at)] not in ([], [""]), level


@pytest.mark.parametrize(("code", "count"), KINDS.items(), ids=[f"{code:#x}" for code in KINDS])
def test_the_kinds_that_drivers_meet_are_all_there(code: int, count: int) -> None:
    assert len(CODES[number(code)]["kinds"]) >= count


def test_every_kind_selects_its_own_meaning() -> None:
    for code, row in CODES.items():
        for value, chosen in row.get("kinds", {}).items():
            values = [0, 0, 0, 0]
            values[row["by"] - 1] = int(value, 16)
            assert find(int(code, 16), values).kind.startswith(chosen["meaning"]), (code, value)


SMALL_DUMPS = {0x100000D1: "DRIVER_IRQL_NOT_LESS_OR_EQUAL_M", 0x1000000A: "IRQL_NOT_LESS_OR_EQUAL_M"}


@pytest.mark.parametrize(("code", "name"), SMALL_DUMPS.items(), ids=[f"{code:#x}" for code in SMALL_DUMPS])
def test_the_bit_of_a_small_dump_leaves_the_meaning_and_marks_the_name(code: int, name: str) -> None:
    values = (0x10, 2, 1, 0xFFFFF80200001000)
    found, base = find(code, values), find(code & 0xFFFFFFF, values)
    assert base_code(code) == code & 0xFFFFFFF
    assert (found.name, found.meaning, found.parameters) == (name, base.meaning, base.parameters)


@pytest.mark.parametrize("code", [0x10000000, 0x1FFFFFFF, 0xDEADDEAD, 0xC000021A, 0x57564D01])
def test_other_high_bits_are_part_of_the_code(code: int) -> None:
    assert base_code(code) == code


def test_any_values_are_answered() -> None:
    for code in CODES:
        for value in (0, 1, 0x41, (1 << 64) - 1):
            assert len(find(int(code, 16), (value,) * 4).parameters) == 4
        assert find(int(code, 16), ()).kind == ""
    assert find(0x4321).parameters == ()


def test_the_table_is_read_only_when_asked_and_at_little_cost() -> None:
    program = (
        "import harness.dumps.formats.reader, harness.dumps.bugcheck_table as table, time\n"
        "assert not table.document.cache_info().currsize\n"
        "start = time.process_time()\n"
        "table.find(0xC4, (0x2000, 1, 2, 3))\n"
        "print(time.process_time() - start)\n"
    )
    costs = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
        )
        costs.append(float(done.stdout))
    assert min(costs) < 0.005


def test_a_row_that_is_parsed_alone_is_that_of_the_whole_file() -> None:
    for code, whole in CODES.items():
        assert row_of(int(code, 16)) == whole
    assert row_of(0x7FFFFFFF) is None
