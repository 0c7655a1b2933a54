"""User dumps, symbols and signatures: a driver built here, a dump of its crash, and llvm-symbolizer."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from harness.dumps.formats.reader import summarise
from harness.dumps.pdb import PdbIdentity, read_identity
from harness.dumps.signature import crash_signature, dump_signature, signature
from harness.dumps.summary import Found, Frame, Place, StackFrame, Summary
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.symbols import positions, symbolise
from harness.dumps.text import page
from harness.outcome import KernelCrash
from tests.fakes import dump_writer as writer

SOURCE = """\
static inline __attribute__((always_inline)) void Poke(volatile int *Where)
{
    *Where = 1;
}

__attribute__((noinline)) void Fault(volatile int *Where)
{
    Poke(Where);
}

long DriverEntry(void *Driver, void *Path)
{
    (void)Path;
    Fault(Driver);
    return 0;
}
"""
OPTIONS = ["--target=x86_64-w64-windows-gnu", "-ffreestanding", "-O1", "-g", "-gcodeview", "-c"]


def build(folder: Path, source: str = SOURCE) -> tuple[Path, int]:
    """The driver with its PDB, and the offset of Fault."""
    folder.mkdir()
    (folder / "tiny.c").write_text(source)
    subprocess.run(["clang-19", *OPTIONS, "tiny.c", "-o", "tiny.o"], cwd=folder, check=True)
    link = [
        "/driver",
        "/subsystem:native",
        "/entry:DriverEntry",
        "/nodefaultlib",
        "/debug",
        "/lldmap:tiny.map",
    ]
    subprocess.run(["lld-link-19", *link, "/out:tiny.sys", "tiny.o"], cwd=folder, check=True)
    (address,) = (
        int(line.split()[0], 16)
        for line in (folder / "tiny.map").read_text().splitlines()
        if line.split()[-1:] == ["Fault"]
    )
    return folder / "tiny.sys", address


def crash_of(driver: Path, offset: int, folder: Path) -> Summary:
    head = driver.read_bytes()[:1024]
    at = struct.unpack_from("<I", head, 0x3C)[0]
    stamp, size = struct.unpack_from("<I", head, at + 8)[0], struct.unpack_from("<I", head, at + 80)[0]
    return summarise(writer.write(folder, writer.minidump(0x180000000, size, stamp, offset)))


def test_a_fault_is_named_by_function_file_and_line_through_inlined_frames(tmp_path: Path) -> None:
    driver, offset = build(tmp_path / "one")
    summary = crash_of(driver, offset, tmp_path)
    assert (summary.fault and summary.fault.module, summary.warnings) == ("tiny.sys", ())
    found = symbolise(summary, tmp_path).fault
    assert found
    assert [(f.function, Path(f.file).name, f.line) for f in found.frames] == [
        ("Poke", "tiny.c", 3),
        ("Fault", "tiny.c", 8),
    ]
    assert "inlined into Fault" in "\n".join(page(symbolise(summary, tmp_path)))


@pytest.mark.parametrize(
    ("found", "function"),
    [(Found.MACHINE_FRAME, "DriverEntry"), (Found.UNWOUND, "Fault")],
)
def test_a_place_on_the_stack_is_looked_up_by_how_it_was_found(
    found: Found, function: str, tmp_path: Path
) -> None:
    """An interrupted instruction is where it stands; a return address belongs to the call before it."""
    driver, fault = build(tmp_path / "one", SOURCE.replace("Poke(Where);", "Poke(Where); for (;;);"))
    lines = (driver.parent / "tiny.map").read_text().splitlines()
    (entry,) = (int(line.split()[0], 16) for line in lines if line.split()[-1:] == ["DriverEntry"])
    assert fault < entry
    summary = crash_of(driver, entry, tmp_path)
    assert summary.fault
    frame = StackFrame(summary.fault, 0x1000, 0x1000, found)
    summary = dataclasses.replace(summary, fault_source="stack", stack=(frame,))
    symbolised = symbolise(summary, tmp_path)
    assert symbolised.fault
    assert symbolised.fault.frames[-1].function == function
    assert symbolised.stack[0].place.frames == symbolised.fault.frames


def test_the_pdb_of_a_module_is_sought_once(tmp_path: Path) -> None:
    class Counting(SymbolPath):
        sought = 0

        def pdb(self, identity: PdbIdentity) -> Path | None:
            self.sought += 1
            return super().pdb(identity)

    driver, offset = build(tmp_path / "one")
    path = Counting("", folders=[driver.parent])
    found = symbolise(crash_of(driver, offset, tmp_path), path).fault
    assert found
    assert (found.frames[0].function, path.sought) == ("Poke", 1)


def test_the_build_of_the_dump_is_chosen_among_several(tmp_path: Path) -> None:
    shifted = "\n\n\n" + SOURCE + "int Other[5000] = {1};\n"
    first, _ = build(tmp_path / "a")
    second, offset = build(tmp_path / "b", shifted)
    summary = crash_of(second, offset, tmp_path)
    found = symbolise(summary, tmp_path).fault
    assert found
    assert found.frames[0].line == 6
    shutil.rmtree(second.parent)
    without = symbolise(summary, first.parent)
    assert without.fault
    assert without.fault.frames == ()
    assert "another build" in without.warnings[0]


FAKES = {
    "segfault": ("kill 'SEGV', $$; sleep 9", "was ended by SIGSEGV"),
    "memory": ("push @y, $_ x (1 << 20) while $_ = 'a'", "failed with exit code|aborted"),
    "forever": ("1 while 1", "needs more than 10 s of processor time|did not end within 20 s"),
    "garbage": ("print '{]'", "gave an answer that cannot be read"),
}


@pytest.mark.parametrize("kind", FAKES)
def test_a_pdb_that_breaks_the_symboliser_costs_its_own_lines_only(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper of llvm-symbolizer does, for the second PDB, what mutated PDBs did to the real one."""
    tools = tmp_path / "own" / "bin"
    tools.mkdir(parents=True)
    code, said = FAKES[kind]
    real = shutil.which("llvm-symbolizer-19")
    wrapper = tools / "llvm-symbolizer-19"
    wrapper.write_text(
        "#!/usr/bin/perl\n@lines = <STDIN>;\n"
        f"if (grep /1\\.dll/, @lines) {{ {code}; exit 0 }}\n"
        f"open(P, '|-', '{real}', @ARGV); print P @lines; close P;\n"
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    good, offset = build(tmp_path / "good")
    bad, _ = build(tmp_path / "bad")
    identities = [read_identity(driver.with_suffix(".pdb")) for driver in (good, bad)]
    matching = {}
    for driver, found in zip((good, bad), identities, strict=True):
        assert found
        pdb = driver.with_suffix(".pdb").rename(tmp_path / f"{driver.parent.name}.pdb")
        matching[f"{driver.parent.name}.sys"] = (pdb, PdbIdentity(pdb.name, found[0], found[1]))
    warnings: list[str] = []
    began = time.monotonic()
    frames = positions(matching, {"good.sys": {offset: offset}, "bad.sys": {offset: offset}}, warnings)
    assert time.monotonic() - began < 40
    assert ("good.sys", offset) in frames, warnings
    assert [one.function for one in frames["good.sys", offset]] == ["Poke", "Fault"]
    assert ("bad.sys", offset) not in frames
    (warning,) = warnings
    assert re.search(rf"bad\.pdb is not used: llvm-symbolizer ({said})", warning), warning


def test_a_pdb_outside_its_folder_and_a_device_are_refused(tmp_path: Path) -> None:
    driver, offset = build(tmp_path / "elsewhere")
    summary = crash_of(driver, offset, tmp_path)
    folder = tmp_path / "bundle"
    folder.mkdir()
    shutil.copy(driver, folder)
    (folder / "tiny.pdb").symlink_to(driver.with_suffix(".pdb"))
    outside = symbolise(summary, folder)
    assert outside.fault
    assert outside.fault.frames == ()
    assert "leads out of its folder" in outside.warnings[0]
    (folder / "tiny.pdb").unlink()
    (folder / "tiny.pdb").symlink_to("/dev/zero")
    assert "leads out of its folder" in symbolise(summary, folder).warnings[0]
    (folder / "tiny.pdb").unlink()
    (folder / "real.pdb").write_bytes(driver.with_suffix(".pdb").read_bytes())
    (folder / "tiny.pdb").symlink_to("real.pdb")
    inside = symbolise(summary, folder).fault
    assert inside
    assert inside.frames, "a link within the folder is followed"


def test_a_signature_survives_another_build_and_another_base(tmp_path: Path) -> None:
    found = []
    for name, source in (("a", SOURCE), ("b", "int Filler(int x) { return x * 3; }\n" + SOURCE)):
        driver, offset = build(tmp_path / name, source)
        found.append(dump_signature(symbolise(crash_of(driver, offset, tmp_path), driver.parent)))
    assert found == ["c0000005-tiny.sys-Poke"] * 2


@pytest.mark.parametrize(
    ("kind", "code", "place", "expected"),
    [
        ("bugcheck", 0x1000007E, Place(1, "Bad.SYS", 2), "7e-bad.sys"),
        ("bugcheck", 0xCE, Place(1, "<Unloaded old.sys>", 2), "ce-unloaded_old.sys"),
        ("hang", 0, None, "hang-unknown"),
        ("exception", 0xC0000005, Place(1, "../../x", 2), "c0000005-.._.._x"),
        ("bugcheck", 0xE2, Place(1, "a.sys", 2, (Frame("f.llvm.123"),)), "e2-a.sys-f"),
        ("bugcheck", 0xE2, Place(1, "a.sys", 2, (Frame("__movsb"), Frame("Copy"))), "e2-a.sys-Copy"),
        ("bugcheck", 0xE2, Place(1, "a.sys", 2, (Frame("__filt_f"),)), "e2-a.sys-__filt_f"),
        ("bugcheck", 0xE2, Place(1, "a" * 300, 2), "e2-" + "a" * 117),
    ],
)
def test_signatures(kind: str, code: int, place: Place | None, expected: str) -> None:
    assert signature(kind, code, place) == expected


def test_a_crash_without_a_dump_has_a_signature() -> None:
    assert crash_signature(KernelCrash("bugcheck", 0xE2, (1, 2, 3, 4), 0.0), None) == "e2-unknown"
