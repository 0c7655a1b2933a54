"""Reads a dump file into a `Summary`: picks the reader, then combines header, memory and modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.dumps import bugcheck, cpu
from harness.dumps.attribution import Files, is_core, no_files
from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats import kdbg, kerneldump
from harness.dumps.formats.assembly import Body, assemble
from harness.dumps.formats.kerneldump import KernelHeader
from harness.dumps.summary import (
    BugcheckReport,
    ExceptionRecord,
    Module,
    NoMemory,
    Summary,
)
from harness.errors import DumpError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.dumps.facts import SecondaryData
    from harness.dumps.kernel.examine import Pdbs

_REFUSED = {
    b"PAGEDUMP": "a 32-bit kernel dump, which this reader does not support",
    b"PAGEPAGE": "a kernel dump whose header was never written",
    b"MSCF": "a CAB archive: unpack it first",
    b"PK": "a ZIP archive: unpack it first",
}
MAX_THREADS = 256
_WITH_PAGES = (1, 5, 6, 8, 9, 10)


def summarise(
    path: Path | str, driver: str = "", files: Files = no_files, pdbs: Pdbs | None = None
) -> Summary:
    """Reads a dump of any kind. A damaged dump yields its readable parts, with `warnings`.

    Args:
        driver: file name of the driver under test, which may be blamed even if its name is a core module's.
        files: finds the file of a module; its code and unwind data are used where the dump lacks them.
        pdbs: finds a PDB; the kernel's tells more of its structures.

    Raises:
        DumpError: the file is not a dump, is of an unsupported kind, or ends before the first fact.
    """
    with DumpFile(path) as file:
        start = file.read(0, 8)
        if start.startswith(b"MDMP"):
            return _user(file, driver, files)
        if start == kerneldump.SIGNATURE:
            return _kernel(file, driver, files, pdbs)
        for magic, kind in _REFUSED.items():
            if start.startswith(magic):
                raise DumpError(f"{path} is {kind}.")
    raise DumpError(f"{path} is not a crash dump: it starts with {start!r}.", remedy="Name a .dmp file.")


def _kernel(file: DumpFile, driver: str, files: Files, pdbs: Pdbs | None) -> Summary:
    header = kerneldump.read_header(file)
    warnings: list[str] = list(header.doubts)
    body = _body(file, header, warnings)
    memory = body.memory
    addresses = bugcheck.addresses(header.bugcheck, header.parameters)
    exception = cpu.exception_record(memory.read(addresses.get("xr", 0), cpu.EXCEPTION_SIZE))
    raised = exception or _raised(header, addresses)
    # The header's context is the fault's or the bugcheck call's; one named by a parameter is the fault's.
    registers = cpu.registers(
        memory.read(addresses.get("cx", 0), cpu.CONTEXT_SIZE.get(header.machine, 0)), header.machine
    )
    if not registers and "tf" in addresses and header.machine == cpu.X64:
        registers = cpu.trap_frame(memory.read(addresses["tf"], cpu.TRAP_FRAME_SIZE))
    named = cpu.instruction_pointer(registers)
    registers = registers or cpu.registers(header.context, header.machine)
    candidates = (
        (exception.address if exception else None, "exception record"),
        *(
            (address, "bugcheck parameter")
            for address in bugcheck.code_addresses(header.bugcheck, header.parameters)
        ),
        (named, "context of the fault"),
        (cpu.instruction_pointer(registers), "context"),
    )
    if file.size < kerneldump.SIZE:
        warnings.append(f"The file ends within its header: {file.size} of {kerneldump.SIZE} bytes.")
    if header.writer_status:
        warnings.append(f"Windows reported status {header.writer_status:#x} while it wrote the dump.")
    report = BugcheckReport(
        header.bugcheck,
        bugcheck.lookup(header.bugcheck).name,
        header.parameters,
        bugcheck.explanation(header.bugcheck, header.parameters),
    )
    return assemble(
        kind=header.type,
        arch=header.arch,
        machine=header.machine,
        files=files,
        system={**header.system(), "dump_type": header.type_number, **body.system},
        report=report,
        exception=raised or header.exception,
        registers=registers,
        candidates=candidates,
        body=_looked_into(file, header, body, files, pdbs),
        driver=driver,
        truncated=body.truncated or file.size < kerneldump.SIZE,
        warnings=warnings,
    )


def _raised(header: KernelHeader, addresses: Mapping[str, int]) -> ExceptionRecord | None:
    """The exception that caused the bugcheck, where the parameters point to no exception record."""
    found = bugcheck.raised(header.bugcheck, header.parameters)
    if found is None or "ip" not in addresses:
        return None
    code, information = found
    kept = header.exception
    if kept and not information and (kept.code, kept.address) == (code, addresses["ip"]):
        return kept
    return ExceptionRecord(code, 0, addresses["ip"], information)


def _body(file: DumpFile, header: KernelHeader, warnings: list[str]) -> Body:
    # Each kind of dump imports what it alone needs: `winvm dump` is to start quickly.
    if header.type_number == kerneldump.TRIAGE:
        from harness.dumps.formats.triage import Triage

        triage = Triage(file, header, warnings)
        block = kdbg.debugger_data(triage.memory, header.debugger_data)
        system = kdbg.system_details(block, triage.memory)
        system |= kdbg.processor_details(block, file, triage.prcb_at)
        return Body(
            triage.memory,
            triage.modules(),
            triage.unloaded(),
            system,
            triage.top_of_stack,
            triage.truncated,
            block=block,
        )
    from harness.dumps.formats.loaded import loaded_modules, unloaded_modules
    from harness.dumps.formats.pagetables import PagedMemory
    from harness.dumps.formats.physical import PAGE, physical_memory

    physical = physical_memory(file, header, warnings)
    if physical is None:
        warnings.append(f"Only the header of a dump of type {header.type_number} ({header.type}) is read.")
        return Body(NoMemory(), [], [], {}, truncated=header.type_number in _WITH_PAGES)
    truncated = file.size < physical.end
    if truncated:
        usable = max(0, physical.pages - -(-(physical.end - file.size) // PAGE))
        share = usable * 100 // max(1, physical.pages)
        warnings.append(f"The file is truncated: {usable} of {physical.pages} pages ({share}%) are usable.")
    if header.machine == cpu.ARM64:
        warnings.append(
            "Page tables of arm64 are read as the architecture lays them out. That was not checked with a "
            "dump of a real Windows."
        )
    elif header.machine != cpu.X64:
        warnings.append(f"Page tables of {header.arch} are not supported: drivers and stack are not read.")
        return Body(NoMemory(), [], [], {}, truncated=truncated)
    memory = PagedMemory(file, physical, header.page_table, header.machine)
    modules = loaded_modules(memory, header.module_list, warnings)
    if not modules:
        warnings.append("The list of loaded drivers cannot be reached through the page tables.")
    block = kdbg.debugger_data(memory, header.debugger_data)
    unloaded = unloaded_modules(memory, block)
    system = kdbg.system_details(block, memory)
    return Body(memory, modules, unloaded, system, truncated=truncated, debugger_data=block, block=block)


def _looked_into(file: DumpFile, header: KernelHeader, body: Body, files: Files, pdbs: Pdbs | None) -> Body:
    """The body, with what the kernel's structures tell and the threads that matter."""
    from harness.dumps.kernel.examine import kernel_facts, threads_that_matter, view_of

    view = view_of(body.memory, body.block, body.modules, files, pdbs)
    secondary: tuple[SecondaryData, ...] = ()
    driver = ""
    if header.type_number == kerneldump.TRIAGE:
        from harness.dumps.formats.triage import broken_driver, end_of_triage
        from harness.dumps.kernel.secondary import secondary_data

        secondary, driver = secondary_data(file, end_of_triage(file)), broken_driver(file)
    blocked = list(threads_that_matter(view, header.bugcheck, header.parameters))
    facts = kernel_facts(view, header.bugcheck, header.parameters, driver=driver, secondary=secondary)
    return Body(**{**vars(body), "blocked": blocked, "facts": facts})


def _hides_another(modules: list[Module], address: int, driver: str) -> bool:
    """Whether an exception is not the driver's own, so that it may have followed another one."""
    module = next((module for module in modules if module.base <= address < module.end), None)
    return module is None or is_core(module.name, driver)


def _user(file: DumpFile, driver: str, files: Files) -> Summary:
    from harness.dumps.formats.minidump import Minidump

    warnings: list[str] = []
    dump = Minidump(file, warnings)
    exception = dump.exception()
    registers = dump.registers()
    if exception is None:
        warnings.append("There is no exception in this dump.")
    if not registers:
        warnings.append("There are no registers of the exception in this dump.")
    body = Body(dump.memory, dump.modules(), dump.unloaded(), {}, threads=dump.threads()[:MAX_THREADS])
    if exception and dump.machine == cpu.X64 and _hides_another(body.modules, exception.address, driver):
        from harness.dumps.formats.nested import first_exception

        if first := first_exception(dump.memory, registers.get("rsp", 0)):
            code, address = exception.code, exception.address
            warnings.append(f"Exception {code:#x} at {address:#x} followed while this one was dispatched.")
            exception, registers = first
    return assemble(
        kind="user-minidump",
        arch=cpu.ARCHITECTURES.get(dump.machine, "unknown"),
        machine=dump.machine,
        files=files,
        system=dump.system(),
        report=None,
        exception=exception,
        registers=registers,
        candidates=(
            (exception.address if exception else None, "exception record"),
            (cpu.instruction_pointer(registers), "context"),
        ),
        body=body,
        driver=driver,
        truncated=dump.truncated,
        warnings=warnings,
    )
