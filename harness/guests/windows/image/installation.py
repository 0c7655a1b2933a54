"""Watches Windows install itself: from power on over Setup and the first logon until the machine is off.

The host sends the guest no requests. It watches the guest's journal on COM2, its screen and its disk. When
none of them changes for too long, it gives the installation up and keeps the last screenshot.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.deadline import Clock, Deadline
from harness.errors import DeadlineError, ImageError, InfrastructureError, MachineError
from harness.guests.windows.image.guestjournal import Entry, GuestJournal
from harness.journal import Journal, StepKind
from harness.machine.channels import bound
from harness.machine.protocol import Machine, MachineState

KEY_ENTER = 28
"""KEY_ENTER of linux/input-event-codes.h. Any key starts Setup. If a menu shows, this key takes its
default entry; the space bar would open the boot manager's menu."""
LOOK_S = 1.0
SCREENSHOT_S = 60.0
SCREENSHOT_DEADLINE_S = 20.0
KEPT_ENTRIES = 30
"""Journal entries that an error shows."""
NAME_LIMIT = 60
BLOCK = 512
SETUP_WRITES = 1 << 20
"""Bytes on the disk that only Setup writes: the firmware and the CD's loader write none."""
PROVISIONING_WRITES = 16 << 20
"""Bytes of growth that are progress after the first logon; an idle Windows writes less in a minute."""
STARTING = "image: Windows Setup, starting"

WINDOWS_PE, SPECIALIZE = "windowsPE", "specialize"
BEGINNINGS = {WINDOWS_PE: 2, SPECIALIZE: 3}
"""How often a phase of Setup may begin; without trouble each begins once."""
CONFIGURATION = "configuration"
FIRST_LOGON = "first logon"
DESKTOP = (FIRST_LOGON, CONFIGURATION)
SETUP_STEPS = {
    WINDOWS_PE: "image: Windows Setup, copying",
    SPECIALIZE: "image: Windows Setup, configuring",
    FIRST_LOGON: "image: first logon",
    CONFIGURATION: "image: provisioning",
}
"""What the journal's phase `setup` names -> the step that a person sees."""


@dataclass(frozen=True)
class Limits:
    """Time limits, in seconds.

    Attributes:
        stall: no change of journal, screen and disk.
        keys: how long after power on a key is pressed, for 'Press any key to boot from CD or DVD'. It ends
            when Setup speaks or the disk grows: the first restart must not boot from the CD again.
    """

    stall: float
    keys: float


@dataclass(frozen=True)
class Report:
    """The result of an installation. checks: every setting that its self-check read back."""

    checks: tuple[Entry, ...]
    seconds: float


@dataclass
class _SignOfLife:
    """When something about the guest last changed."""

    at: float
    seen: dict[str, object] = field(default_factory=dict)

    def note(self, what: str, value: object, now: float) -> None:
        if self.seen.get(what) != value:
            self.seen[what], self.at = value, now


class Installation:
    """One unattended installation on `machine`, whose domain has the media.

    Args:
        evidence: existing folder that gets journal.jsonl and the screenshots, one a minute.
        pause: waits between two looks, given the seconds.
        started: called once, when the machine runs.
        first: the step until the guest's journal names one.
        pictures: begins the names of the screenshots.
    """

    def __init__(
        self,
        machine: Machine,
        evidence: Path,
        journal: Journal,
        limits: Limits,
        *,
        clock: Clock = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        started: Callable[[], None] = lambda: None,
        first: str = STARTING,
        pictures: str = "",
    ) -> None:
        self._machine = machine
        self._evidence = evidence
        self._journal = journal
        self._limits = limits
        self._clock = clock
        self._pause = pause
        self._started = started
        self._first = first
        self._pictures = pictures
        self._entries: list[Entry] = []
        self._checks: dict[tuple[str, str], Entry] = {}
        self._step = ""
        self._screenshot_due = 0.0
        self._steps = ExitStack()

    def run(self, deadline: Deadline) -> Report:
        """Powers on, and returns when the guest has provisioned itself and is off.

        Raises:
            ImageError: Setup or the provisioning failed, or the guest ended or stalled; `last.png` in the
                evidence is its last screenshot.
            DeadlineError: it took too long.
            MachineError: libvirt or QEMU refused.
        """
        began = self._clock()
        guest = GuestJournal(self._machine.channels.journal, self._evidence / "journal.jsonl")
        try:
            with ExitStack() as self._steps:
                self._enter(self._first)
                self._machine.start(deadline)
                self._started()
                return self._watch(guest, began, deadline)
        except InfrastructureError as error:
            self._add_evidence(error)
            raise
        finally:
            guest.close()

    def _watch(self, guest: GuestJournal, began: float, deadline: Deadline) -> Report:
        alive = _SignOfLife(began)
        empty = self._disk_bytes()
        while True:
            # Read first: the journal read below then has all that the guest wrote before it powered off.
            state = self._machine.state()
            now = self._clock()
            for entry in guest.read():
                self._take(entry)
            alive.note("journal", len(self._entries), now)
            if state is not MachineState.RUNNING:
                self._require_end(state)
                return Report(tuple(self._checks.values()), now - began)
            if now >= self._screenshot_due:
                self._screenshot_due = now + SCREENSHOT_S
                screen = self._screenshot(f"{self._pictures}{int((now - began) / SCREENSHOT_S):04}")
                if not self._on_the_desktop:
                    alive.note("screen", screen, now)
                unit = PROVISIONING_WRITES if self._on_the_desktop else BLOCK
                alive.note("disk", self._disk_bytes() // unit, now)
            if now - alive.at >= self._limits.stall:
                raise self._stalled()
            self._check(deadline)
            started = self._entries or self._disk_bytes() - empty >= SETUP_WRITES
            if now - began < self._limits.keys and not started:
                with suppress(MachineError):  # it ended just now
                    self._machine.press_key(KEY_ENTER, deadline)
            bound(self._machine.channels)
            self._pause(LOOK_S)

    @property
    def _on_the_desktop(self) -> bool:
        """Whether the screen changes by itself: a desktop's clock does each minute.

        It does not while Windows restarts or shuts down: "Working on updates" is progress then.
        """
        last = self._entries[-1] if self._entries else None
        return last is not None and (last.phase not in ("setup", "restart", "end") or last.step in DESKTOP)

    @property
    def _where(self) -> str:
        return self._step.removeprefix("image: ")

    def _take(self, entry: Entry) -> None:
        self._entries.append(entry)
        if entry.phase == "setup":
            self._require_progress(entry.step)
            self._enter(SETUP_STEPS.get(entry.step, f"image: {entry.step[:NAME_LIMIT]}"))
        elif entry.phase == "apply" and entry.state == "running":
            self._enter(f"image: set up {entry.step[:NAME_LIMIT]}")
        elif entry.phase == "restart":
            self._enter("image: restart of Windows")
        elif entry.phase == "check":
            self._enter("image: self-check")
            self._checks[entry.step, entry.setting] = entry
            if entry.wished and entry.state != "ok":
                self._journal.warn(f"in the guest: {entry.setting} is {entry.found}, not {entry.wanted}")
        elif entry.phase == "end" and entry.state == "ok":
            self._enter("image: shutdown of Windows")
        if entry.state == "failed" and not entry.ends:
            self._journal.warn(f"in the guest: {entry.line}")
        if entry.ends and entry.state != "ok":
            raise ImageError(
                f"Windows was installed, but could not be set up: {entry.message or entry.state}.",
                remedy="Correct what the guest's journal names, and build the image again.",
            )

    def _require_progress(self, step: str) -> None:
        """A phase of Setup that begins again is a loop, whose screen changes for ever."""
        began = sum(entry.phase == "setup" and entry.step == step for entry in self._entries)
        if began > BEGINNINGS.get(step, began):
            again = "The machine started from the CD again" if step == WINDOWS_PE else "Windows restarts"
            raise ImageError(
                f"Windows Setup goes round in a loop: its phase {step} began {began} times. {again}.",
                remedy="Look at the screenshots and at the logs of Setup: winvm image report packs them.",
            )

    def _enter(self, step: str) -> None:
        if step != self._step:
            self._step = step
            self._steps.close()
            self._steps.enter_context(self._journal.step(StepKind.IMAGE, step))

    def _require_end(self, state: MachineState) -> None:
        if any(entry.ends for entry in self._entries) and state is MachineState.STOPPED:
            return
        reasons = ", ".join(event.reason for event in self._machine.events() if event.state is state)
        why = f" ({reasons})" if reasons else ""
        raise ImageError(f"The machine is {state}{why} before Windows was set up ({self._where}).")

    def _stalled(self) -> ImageError:
        what = "its journal has" if self._on_the_desktop else "its journal, screen and disk have"
        return ImageError(
            f"The installation does not go on: {what} not changed for {self._limits.stall:g} s"
            f" ({self._where})."
        )

    def _check(self, deadline: Deadline) -> None:
        try:
            deadline.check("The installation of Windows")
        except DeadlineError as error:
            error.message = f"{error.message.rstrip('.')} ({self._where})."
            error.remedy = "Raise install.deadline in the profile, or install on a host with KVM."
            raise

    def _screenshot(self, name: str) -> str:
        """Keeps a screenshot; returns its digest, or nothing if none can be taken."""
        folder = self._evidence / "screenshots"
        folder.mkdir(exist_ok=True)
        try:
            picture = self._machine.screenshot(
                folder / f"{name}.png", Deadline.after(SCREENSHOT_DEADLINE_S, self._clock)
            )
        except (MachineError, DeadlineError):
            return ""  # going off, or busy
        return hashlib.sha256(picture.read_bytes()).hexdigest()

    def _disk_bytes(self) -> int:
        """What the disk takes on the host."""
        try:
            return self._machine.disk.stat().st_blocks * BLOCK
        except OSError:
            return 0

    def _add_evidence(self, error: InfrastructureError) -> None:
        last = self._evidence / "last.png"
        try:
            self._machine.screenshot(last, Deadline.after(SCREENSHOT_DEADLINE_S, self._clock))
        except (MachineError, DeadlineError):  # it is off already: the newest of the pictures is the last
            if pictures := list((self._evidence / "screenshots").glob("*.png")):
                shutil.copyfile(max(pictures, key=lambda path: path.stat().st_mtime_ns), last)
        shown = last if last.exists() else self._evidence
        error.remedy = error.remedy or f"Look at {shown}: Setup shows there what it waits for."
        lines = [entry.line for entry in self._entries[-KEPT_ENTRIES:]]
        error.detail = "\n".join([f"evidence: {self._evidence}", *lines, error.detail]).rstrip()
