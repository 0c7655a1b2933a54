"""Reads a real kernel's dump of a crash that this test causes; no other guest leaves one.

pytest tests/vm/test_kernel_dump.py --winvm-guest windows-11
"""

from __future__ import annotations

import json

import pytest

from harness.dumps.formats.reader import summarise
from harness.testing.fixtures import AgentHandle, CrashHandle

pytestmark = pytest.mark.winvm_needs("kernel-dump")

DUMP = "memory.dmp"
ACCESS_VIOLATION = 0xC0000005
SYSTEM_SERVICE_EXCEPTION = 0x3B
ALL_BITS = (0xFFFFFFFFFFFFFFFF, 0x8000000000000000, 0x0123456789ABCDEF, 0)


def test_it_names_the_instruction_the_driver_and_its_function(
    winvm_agent: AgentHandle, winvm_crash: CrashHandle
) -> None:
    winvm_agent.run("fault.null_write")
    found = winvm_crash.expect(
        bugcheck=SYSTEM_SERVICE_EXCEPTION, parameters=(ACCESS_VIOLATION, None, None, None)
    )
    assert found.folder is not None
    summary = summarise(found.folder / DUMP)
    assert not summary.truncated
    assert "winvm.sys" in {module.name.lower() for module in summary.modules}
    assert summary.fault is not None
    assert summary.fault.address == found.parameters[1], "0x3B's second parameter is the instruction"
    analysis = json.loads((found.folder / "analysis.json").read_text(encoding="utf-8"))
    assert analysis["fault"]["module"].lower() == "winvm.sys"
    assert "NullWrite" in json.dumps(analysis["fault"]), "symbolised with the build's own PDB"


def test_it_holds_the_bugcheck_with_all_its_bits(winvm_agent: AgentHandle, winvm_crash: CrashHandle) -> None:
    winvm_agent.run("fault.bugcheck_with_wide_parameters")
    found = winvm_crash.expect(bugcheck=0xDEADDEAD, parameters=ALL_BITS)
    assert found.folder is not None
    held = summarise(found.folder / DUMP).bugcheck
    assert held is not None
    assert (held.code, tuple(held.parameters)) == (0xDEADDEAD, ALL_BITS)
