"""Turns a reported crash into its record: evidence, analysis, bundle; crash.json is written last."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.bundle.manifest import BEFORE_LIMIT
from harness.bundle.write import CrashedGuest, Ran, trigger_of, write_crash_bundle
from harness.crash.analysis import SeesCrash
from harness.crash.capture import capture, last_operation
from harness.crash.dump_source import GuestMinidump
from harness.crash.expectation import describe
from harness.crash.hang import probe_hang
from harness.crash.held import NONE_HELD, HeldIrps, named, names_operation
from harness.errors import WinvmError
from harness.guests.protocol import ShowsHeldIrps
from harness.interfaces import ReadsLog
from harness.journal import StepKind
from harness.outcome import CrashRecord, KernelCrash, Scenario
from harness.project.config import Parameter
from harness.results import crash_document, write_json
from harness.run.artifacts import Artifacts
from harness.run.guest_limits import crash_limit
from harness.run.guest_session import GuestSession

RECORD = "crash.json"
HELD = GuestMinidump("", absent="The kernel is held for a person, and has not written its dump.")


class CrashKeeper:
    """Keeps every crash of a run under its artifacts.

    Attributes:
        last: the newest crash of the run.
        bundles: whether a bundle is written for each crash.
        hold: called with an unexpected crash once its evidence is kept, before the guest is given up.
    """

    def __init__(self, guest: GuestSession, artifacts: Artifacts) -> None:
        self.last: CrashRecord | None = None
        self.bundles = True
        self.hold: Callable[[GuestSession, CrashRecord], None] | None = None
        self._guest = guest
        self._artifacts = artifacts
        self._ran: tuple[Ran, ...] = ()
        self._ran_since = 0

    def runs(self, scenario: Scenario, parameters: Mapping[str, Parameter]) -> None:
        """Notes that a scenario is about to run: a replay needs those that ran since the last restore."""
        if self._ran_since != self._guest.machine.generation:
            self._ran, self._ran_since = (), self._guest.machine.generation
        self._ran = (*self._ran, (scenario, parameters))[-BEFORE_LIMIT:]

    def earlier(self, scenario: str) -> tuple[str, ...]:
        """Names of the scenarios that ran before this one since the guest was restored, the newest first."""
        return tuple(dict.fromkeys(one.name for one, _ in reversed(self._ran) if one.name != scenario))

    def keep(
        self, report: KernelCrash, scenario: str, *, expected: bool = False, presumed: str = ""
    ) -> CrashRecord:
        """Keeps the evidence of a crash and gives up the guest.

        Args:
            scenario: the scenario that the crash is blamed on.
            expected: that scenario expects it.
            presumed: a sentence on who caused it, where nothing witnesses that the scenario did.

        Raises:
            HostError: the crash's folder cannot be made.
            OSError: the artifacts' disk is full or gone, so that not even crash.json could be written.
        """
        journal, folder = self._artifacts.journal, self._artifacts.crash_folder(scenario)
        if self.hold is not None and expected:
            self._guest.release_kernel()
        with journal.step(StepKind.CRASH, "keep crash evidence", scenario=scenario, crash=describe(report)):
            crash = self._gathered(report, scenario, folder)
            self._guest.counting.crashed(scenario, folder)
            if presumed:
                crash = dataclasses.replace(
                    crash, cause=f"{crash.cause} {presumed}", notes=(*crash.notes, presumed)
                )
        if self.bundles:
            with journal.step(StepKind.BUNDLE, "write crash bundle") as found:
                crash = self._bundled(crash)
                found["bundle"] = crash.bundle
        write_json(folder / RECORD, crash_document(crash))
        self.last = crash
        if self.hold is not None and not expected:
            self.hold(self._guest, crash)
        self._guest.give_up()
        return crash

    def _gathered(self, report: KernelCrash, scenario: str, folder: Path) -> CrashRecord:
        guest, fallen = self._guest, report
        tried: Sequence[str] = ()
        held = NONE_HELD
        if report.kind == "hang":
            held, why = self._held(report, scenario)
            fallen, tried = self._probed(report, scenario, folder)
            tried = (*held.notes, *why, *tried)
        evidence = capture(
            report,
            scenario,
            folder,
            machine=guest.machine,
            files=guest.link.files,
            records=guest.debug.tail(),
            dump=HELD if self.hold and guest.kernel_held else guest.dump(fallen),
            symbols=self._symbols,
            driver=self._driver,
            log=guest.debug if isinstance(guest.debug, ReadsLog) else None,
            held=held,
            image=guest.driver_file,
            live=guest.debug.crash_report() if isinstance(guest.debug, SeesCrash) else None,
            operations_of=self._operations_of(scenario),
        )
        cause, limit = evidence.cause, report.hint.limit
        if not limit and (found := crash_limit(guest, evidence.analysis)):
            limit = found.text if found.certain else ""
            cause += "" if found.certain else f" This may be a limit of this guest alone: {found.text}."
        return CrashRecord(
            dataclasses.replace(report, hint=dataclasses.replace(report.hint, limit=limit)),
            scenario,
            folder,
            evidence.signature,
            last_operation=evidence.last_operation,
            cause=cause,
            artifacts=(*evidence.artifacts, RECORD),
            notes=(*report.notes, *tried, *evidence.notes),
        )

    @property
    def _symbols(self) -> Path:
        return next(iter(self._guest.payload.drivers.values())).parent.parent

    @property
    def _driver(self) -> str:
        return f"{self._guest.payload.service}.sys"

    def _operations_of(self, scenario: str) -> str | None:
        """The scenario, if it is one: its last operation is told, and nobody else's."""
        return scenario if any(one.name == scenario for one, _ in self._ran) else None

    def _held(self, hang: KernelCrash, scenario: str) -> tuple[HeldIrps, Sequence[str]]:
        """The IRPs that the driver holds; a note why they are not known, where the guest could show them."""
        guest = self._guest
        with self._artifacts.journal.step(StepKind.HANG, "look for the IRPs that the driver holds") as found:
            try:
                if not isinstance(guest.flavour, ShowsHeldIrps):
                    return NONE_HELD, ()
                shown = guest.flavour.held_irps(guest.link, guest.debug, self._driver)
                operation = (
                    hang.text
                    if names_operation(hang.text)
                    else last_operation(guest.machine.channels.journal, self._operations_of(scenario))
                )
                held = named(shown, operation, self._symbols)
            except WinvmError as error:
                return NONE_HELD, (f"hang: which IRPs the driver holds is not known: {error.message}",)
            found["irps"] = len(held.irps)
        return held, ()

    def _probed(self, hang: KernelCrash, scenario: str, folder: Path) -> tuple[KernelCrash, Sequence[str]]:
        """Probes a hung guest; returns the crash that ended it, and a note for each probe."""
        guest = self._guest
        with self._artifacts.journal.step(StepKind.HANG, "look into the hang") as found:
            limits = guest.profile.hang
            report = probe_hang(
                hang, scenario, folder, machine=guest.machine, debug=guest.debug, limits=limits
            )
            found["rungs"] = {probe.name: probe.gave for probe in report.probes}
        return report.bugcheck or hang, report.notes

    def _bundled(self, crash: CrashRecord) -> CrashRecord:
        """Writes a crash's bundle; returns the crash with its name, or with a note why there is none."""
        guest, target = self._guest, self._artifacts.bundle_file(crash.signature)
        trigger = trigger_of(crash.scenario, self._ran, guest.payload.seed)
        fallen = CrashedGuest(
            guest.profile, guest.payload, guest.newest, guest.image_manifest, guest.environment
        )
        bundled = dataclasses.replace(crash, bundle=f"{target.parent.name}/{target.name}")
        try:
            write_crash_bundle(target, bundled, trigger, fallen)
        except (OSError, ValueError) as error:
            return dataclasses.replace(crash, notes=(*crash.notes, f"{target.name} is missing: {error}"))
        return bundled
