"""Carries out the steps, restarts Windows, resumes, reads every setting back, and ends.

A setting that has the wanted value is not touched, so a second run changes nothing. In one provisioning,
restarts included, every step is carried out once. A setting that does not keep its value is reported by the
self-check and not set again.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from provision import plan, resume
from provision.journal import WHOLE, Journal
from provision.machine import Kind, Machine, ProvisionError, RegistryData
from provision.settings import Settings
from provision.steps import Command, Failure, Setting, Step
from provision.supplied import Supplied

STATE = r"SOFTWARE\winvm"
CARRIED_OUT = "CarriedOut"
# Registry value for the host: the profile's name when every setting was as wanted, else empty.
PROVISIONED = "Provisioned"
MAX_NAMED = 5  # settings in the last line's message
HIDDEN = "(secret)"


class Outcome(enum.Enum):
    """How the process ended; the value is its exit code."""

    OK = 0
    FAILED = 1
    WAITING = 3  # a restart is needed but not allowed; the settings that can be checked before it are right
    RESTARTING = 4


@dataclass(frozen=True)
class Provisioner:
    """The part of a provisioning that one process does, between two restarts.

    Attributes:
        resume: command line that continues after a restart; empty: neither restart nor shut down.
        resumed: whether this process continues after a restart.
    """

    settings: Settings
    files: Supplied
    machine: Machine
    journal: Journal
    resume: str
    resumed: bool

    def run(self) -> Outcome:
        """Returns when a restart or the shutdown is under way, or nothing is left to do."""
        start = self.machine.monotonic()
        if not self.resumed:
            self.machine.delete_value(STATE, CARRIED_OUT)
            self.machine.set_value(STATE, PROVISIONED, RegistryData(Kind.SZ, ""))
        steps = plan.steps(self.settings, self.files)
        closing = plan.closing_steps(self.settings)
        task = (resume.planned(self.resume),) if self.resume else ()
        if self._carry_out_all((*task, *steps)):
            if self.machine.restart_pending and self.resume:
                return self._restart()
            self._carry_out_all(closing)
        wrong, unmet = self._self_check((*steps, *closing))
        # The task is deleted first: after provision.json is removed it could only fail.
        task = (resume.forgotten(),) if self.resume else ()
        last = (*task, *plan.last_steps(self.settings, self.files))
        self._carry_out_all(last)
        return self._end(wrong + self._self_check(last)[0], unmet, start)

    def _carry_out_all(self, steps: Sequence[Step]) -> bool:
        """Carries out each in turn; returns False if a step failed whose failure stops the rest."""
        for done, step in enumerate(steps):
            if not self._carry_out(step) and step.failure is Failure.STOP:
                for skipped in steps[done + 1 :]:
                    self.journal.write(skipped.name, "apply", "skipped", message=f"{step.name} failed")
                return False
        return True

    def _carry_out(self, step: Step) -> bool:
        """Changes the step's settings unless that was done before; returns False if one of them failed."""
        before = self._carried_out()
        if step.name in before:
            return True
        start = self.machine.monotonic()
        self.journal.write(step.name, "apply", "running")
        changed, problems = False, []
        for setting in step.settings:
            try:
                if setting.actions and not _as_wanted(setting, self.machine):
                    changed = True
                    _bring_about(setting, self.machine)
            except ProvisionError as error:
                problems.append(f"{setting.name}: {error}")
        if changed and step.restart:
            self.machine.note_restart()
        if not problems or step.failure is Failure.GO_ON:
            names = RegistryData(Kind.MULTI_SZ, (*before, step.name))
            self.machine.set_value(STATE, CARRIED_OUT, names)
        state = "failed" if problems else "done" if changed else "already"
        self.journal.write(step.name, "apply", state, self.machine.monotonic() - start, "; ".join(problems))
        return not problems

    def _carried_out(self) -> tuple[str, ...]:
        found = self.machine.value(STATE, CARRIED_OUT)
        return found.data if found and isinstance(found.data, tuple) else ()

    def _self_check(self, steps: Sequence[Step]) -> tuple[list[str], list[str]]:
        """Reads every setting back; names those that are not as wanted: the required ones, and the wished.

        Settings that take effect only with a restart are not checked while one is pending.
        """
        pending = self.machine.restart_pending
        wrong = [
            (step, setting)
            for step in steps
            for setting in step.settings
            if (setting.actions or not pending) and not self._check(step, setting)
        ]
        required = [setting.name for step, setting in wrong if not step.wished]
        return required, [setting.name for step, setting in wrong if step.wished]

    def _check(self, step: Step, setting: Setting) -> bool:
        start = self.machine.monotonic()
        try:
            found: frozenset[str] | None = setting.reading.read(self.machine)
            message = "" if setting.wanted in (None, found) else "not as wanted"
        except ProvisionError as error:
            found, message = None, str(error)
        self.journal.write(
            step.name,
            "check",
            "wrong" if message else "ok",
            self.machine.monotonic() - start,
            message,
            setting=setting.name,
            wanted="anything" if setting.wanted is None else _shown(setting, setting.wanted),
            found=_shown(setting, found),
            **({"wished": "yes"} if step.wished else {}),
        )
        return not message

    def _restart(self) -> Outcome:
        self.journal.write(WHOLE, "restart", "running")
        return Outcome.RESTARTING if self._shut(resume.RESTART) else Outcome.FAILED

    def _end(self, wrong: list[str], unmet: list[str], start: float) -> Outcome:
        waiting = self.machine.restart_pending and not wrong
        outcome = Outcome.FAILED if wrong else Outcome.WAITING if waiting else Outcome.OK
        if outcome is Outcome.OK:
            done = RegistryData(Kind.SZ, self.settings.profile)
            self.machine.set_value(STATE, PROVISIONED, done)
        message = f"{len(wrong)} settings are not as wanted: {_named(wrong)}" if wrong else ""
        if unmet and not wrong:
            message = f"{len(unmet)} settings that are only wished are not as wanted: {_named(unmet)}"
        self.journal.write(WHOLE, "end", outcome.name.lower(), self.machine.monotonic() - start, message)
        if self.resume and self.settings.finish == "shut-down":
            self._shut(resume.SHUT_DOWN)
        return outcome

    def _shut(self, command: Command) -> bool:
        try:
            command.apply(self.machine)
        except ProvisionError as error:
            self.journal.write(WHOLE, "restart", "failed", message=str(error))
            return False
        return True


def _as_wanted(setting: Setting, machine: Machine) -> bool:
    """Whether the setting has the wanted value; False if it cannot be read, as it may not exist yet."""
    try:
        return setting.reading.read(machine) == setting.wanted
    except ProvisionError:
        return False


def _bring_about(setting: Setting, machine: Machine) -> None:
    """Runs the actions; raises `ProvisionError` if one fails or the setting is still not as wanted."""
    for action in setting.actions:
        action.apply(machine)
    found = setting.reading.read(machine)
    if found != setting.wanted:
        raise ProvisionError(
            f"it is {_shown(setting, found)} after the change, not {_shown(setting, setting.wanted)}"
        )


def _named(settings: list[str]) -> str:
    return ", ".join(settings[:MAX_NAMED]) + (", ..." if len(settings) > MAX_NAMED else "")


def _shown(setting: Setting, values: frozenset[str] | None) -> str:
    if values is None:
        return "unreadable"
    return HIDDEN if setting.secret else ", ".join(sorted(values)) or "nothing"
