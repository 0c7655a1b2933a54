"""Reads a kernel halted in a bugcheck, and makes the report of it that a dump would give."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd import state
from harness.debuggers.kd.bugcheck import Bugcheck, described
from harness.debuggers.kd.call_stack import CallStacks, frame_fields, place_text
from harness.debuggers.kd.describe import Fields
from harness.debuggers.kd.halted import HaltedTarget, Module
from harness.debuggers.kd.link import TargetRestartedError
from harness.debuggers.kd.manipulate import Version
from harness.debuggers.kd.modules import loaded_modules
from harness.debuggers.kd.structures import with_structures
from harness.dumps import bugcheck, cpu
from harness.dumps.attribution import is_core
from harness.dumps.names import base_name
from harness.dumps.summary import BugcheckReport, ExceptionRecord, Place, Summary
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.symbols import symbolise
from harness.errors import HostError, KdError

_STACK_BYTES = 1024
_KERNEL_IMAGES = 0xFFFF_F800_0000_0000
SECONDS = 1.2
"""For stack and structures of a bugcheck: with what comes before, the report takes 2 s on a serial line."""
HELD_SECONDS = 7.0
"""The same for a kernel that stays halted anyway."""


@dataclass
class HaltEvidence:
    """What was read of a kernel in a bugcheck.

    fields: of the event: registers and stack are those of the fault where a parameter of the bugcheck leads
        to them, else those of the call for the bugcheck; `frames` are unwound, `stack` is raw words, and
        `culprit` is to blame. What cannot be read is missing; `unread` then has a line with the reason.
    kept: the bugcheck in the kernel's memory.
    report: as `winvm dump` shows it; None without registers.
    """

    fields: Fields = field(default_factory=dict)
    kept: Bugcheck | None = None
    report: Summary | None = None


def evidence(
    target: HaltedTarget,
    printed: Bugcheck | None,
    known: Sequence[Module] = (),
    symbols: SymbolPath | None = None,
    seconds: float = SECONDS,
    raised: state.ExceptionRecord | None = None,
) -> HaltEvidence:
    """Reads the state of a kernel that stopped in a bugcheck, and the bugcheck from its memory.

    Args:
        printed: the bugcheck that the kernel printed.
        known: images that the kernel reported as loaded.
        symbols: where images and PDBs are.
        seconds: time limit for stack and structures.
        raised: the exception that the kernel reported last; the bugcheck may be about it.

    Raises:
        TargetRestartedError: it is not there any more.
    """
    reader = _Reader(target, printed, known, symbols, seconds, raised)
    unread: list[str] = []
    steps = (reader.version, reader.bugcheck, reader.registers, reader.modules, reader.record, reader.stack)
    for read in steps:
        try:
            read()
        except TargetRestartedError:
            raise
        except (KdError, HostError) as error:
            unread.append(error.message)
    unread += reader.unread
    if unread:
        reader.found.fields["unread"] = unread
    return reader.found


class _Reader:
    """The steps of `evidence`, each of which may fail alone."""

    def __init__(
        self,
        target: HaltedTarget,
        printed: Bugcheck | None,
        known: Sequence[Module],
        symbols: SymbolPath | None,
        seconds: float,
        raised: state.ExceptionRecord | None,
    ) -> None:
        self._raised = raised
        self._seconds = seconds
        self.found = HaltEvidence()
        self.unread: list[str] = []
        self._target = target
        self._printed = printed
        self._known = known
        self._symbols = symbols
        self._version: Version | None = None
        self._modules: list[Module] = []
        self._registers: dict[str, int] = {}
        self._stack = (0, b"")
        self._named: dict[str, int] = {}
        self._fault: int | None = None
        self._record: ExceptionRecord | None = None

    def version(self) -> None:
        self._version = version = self._target.version()
        self.found.fields.update(build=version.build, kernel_base=version.kernel_base)

    def bugcheck(self) -> None:
        version = self._version
        try:
            if version and version.debugger_data and (words := self._target.bugcheck(version.debugger_data)):
                self.found.kept = Bugcheck(words[0] & 0xFFFFFFFF, words[1:])
        finally:
            found = self.found.kept or self._printed
            self._named = bugcheck.addresses(found.code, found.parameters) if found else {}

    def registers(self) -> None:
        self._fault = self._named.get("ip")
        require_known(self._version)
        faulting = _faulting(self._target, self._named)
        self._fault = faulting.get("rip", self._fault)
        self._registers = faulting or kd_context.registers(self._target.context())
        stack = self._target.read(self._registers["rsp"], _STACK_BYTES)
        self._stack = self._registers["rsp"], stack
        words = list(struct.unpack(f"<{len(stack) // 8}Q", stack[: len(stack) // 8 * 8]))
        self.found.fields.update(registers=self._registers, stack=words)

    def modules(self) -> None:
        fields, head = self.found.fields, self._version.modules if self._version else 0
        try:
            if head:
                stack = fields.get("stack")
                words = [one for one in stack if one >= _KERNEL_IMAGES] if isinstance(stack, list) else []
                wanted = [one for one in (self._registers.get("rip"), self._fault) if one] + words
                self._modules, complete = loaded_modules(self._target, head, wanted, self._known)
                if not complete:
                    self.unread.append(f"{len(self._modules)} images are known: the line is slow.")
        finally:
            self._modules = self._modules or list(self._known)
            fields["modules"] = [{"path": m.path, "base": m.base, "size": m.size} for m in self._modules]
            if self._fault:
                fields["fault"] = place_of(self._fault, self._modules)

    def record(self) -> None:
        found = self.found.kept or self._printed
        raised = bugcheck.raised(found.code, found.parameters) if found else None
        at = self._named.get("xr")
        if not found or not raised:
            return
        if at:
            record = cpu.exception_record(self._target.read(at, cpu.EXCEPTION_SIZE))
            if record and record.code == raised[0]:
                self._record = record
                self.found.fields.update(described(found, record.parameters))
        if self._record is None and "ip" in self._named:
            code, information = raised
            told = self._raised
            if told and not information and (told.code, told.address) == (code, self._named["ip"]):
                information = told.information
            self._record = ExceptionRecord(code, 0, self._named["ip"], information)

    def stack(self) -> None:
        if not self._registers:
            return
        found = self.found.kept or self._printed
        stacks = CallStacks(self._target, self._modules, self._symbols, self._stack, self._seconds)
        report = stacks.report(
            self._registers,
            BugcheckReport(
                found.code,
                bugcheck.lookup(found.code).name,
                found.parameters,
                bugcheck.explanation(
                    found.code, found.parameters, self._record.parameters if self._record else ()
                ),
            )
            if found
            else None,
            self._record,
            candidates=(
                (self._record.address if self._record else None, "exception record"),
                *(
                    (address, "bugcheck parameter")
                    for address in (bugcheck.code_addresses(found.code, found.parameters) if found else ())
                ),
                (self._fault, "context of the fault"),
                (self._registers["rip"], "context"),
            ),
            system={
                "build": self.found.fields.get("build"),
                "kernel_base": self.found.fields.get("kernel_base"),
            },
        )
        if stacks.out_of_time:
            self.unread.append(f"The stack was followed for {self._seconds:g} s only: the line is slow.")
        followed = not stacks.out_of_time
        pointer = self._version.debugger_data if self._version else 0
        report = with_structures(report, stacks, self._target, pointer, self._target.processors)
        if followed and stacks.out_of_time:
            self.unread.append(
                f"The kernel's structures were read for {self._seconds:g} s only: the line is slow. With "
                f"--hold, winvm reads for {HELD_SECONDS:g} s."
            )
        if self._symbols is not None:
            report = symbolise(report, self._symbols)
        self.found.report = report
        self.found.fields["frames"] = frame_fields(report.stack)
        if (place := report.fault) is not None and (
            report.fault_source != "context" or self._own_code(place)
        ):
            self.found.fields["culprit"] = place_text(place)
            if report.guessed:
                self.found.fields["culprit_guessed"] = True

    def _own_code(self, place: Place) -> bool:
        """Whether the place where the kernel stands is to blame: a driver's code, and not for hardware."""
        found = self.found.kept or self._printed
        blames = found is None or bugcheck.blames_stack(found.code)
        return blames and place.module is not None and not is_core(place.module)


def _faulting(target: HaltedTarget, named: Mapping[str, int]) -> dict[str, int]:
    """Registers at the fault, from the context record or trap frame that a parameter points to; or none."""
    if "cx" in named:
        return cpu.registers(target.read(named["cx"], kd_context.SIZE), kd_context.AMD64)
    if "tf" in named:
        return cpu.trap_frame(target.read(named["tf"], cpu.TRAP_FRAME_SIZE))
    return {}


def require_known(version: Version | None) -> None:
    """Raises KdError if the kernel reports a machine type other than x64."""
    if version is not None and version.machine != kd_context.AMD64:
        raise KdError(f"Registers of machine type {version.machine:#x} are not supported; only x64 is.")


def place_of(address: int, modules: Sequence[Module]) -> str:
    """Module and offset of an address, or the bare address."""
    for module in modules:
        if module.base <= address < module.base + module.size:
            return f"{base_name(module.path)}+{address - module.base:#x}"
    return f"{address:#x}"
