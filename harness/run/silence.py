"""Whose fault it is that an agent does not answer at the deadline: its scenario's, or the driver's.

A call of the agent lets its other threads run, so that an agent in a call still answers while the guest runs.
A silent one executes code that keeps the interpreter, such as a regular expression, or its streams are
closed; or nothing in the guest runs any more. The journal has no entry for the end of an operation: which
operation was under way is known if the scenario issued none, or if the driver holds no IRP.
"""

from __future__ import annotations

import dataclasses

from harness.agent.conversation import Stuck
from harness.agent.session import ScenarioCrash
from harness.crash.capture import has_issued, last_operation
from harness.crash.held import names_operation
from harness.deadline import Deadline
from harness.errors import WinvmError
from harness.guests.protocol import ShowsHeldIrps
from harness.run.guest_session import GuestSession

PROGRAM = ("cmd.exe", "/c", "exit 0")
"""A program that every guest has; that it ends shows that the guest's kernel, or Wine's server, runs."""
PROGRAM_S = 30.0


def judged(came: ScenarioCrash, guest: GuestSession, scenario_id: int) -> ScenarioCrash | Stuck:
    """A hang whose agent is silent: the scenario's own fault where that is known, else a hang with a note."""
    if not came.silent:
        return came
    if why := _program_fails(guest):
        return _noted(came, f"the guest runs no other program either: {why}")
    if _answers(guest):
        return _noted(came, "the agent answered again later: the guest was slow, or busy with something else")
    journal = guest.machine.channels.journal
    operation = last_operation(journal)
    issued = has_issued(journal, scenario_id)
    if issued is False:
        return Stuck("", "", silence="it had issued none")
    if issued and names_operation(operation) and (held := _held(guest)) is not None:
        if not held:
            return Stuck("", "", silence=f"the driver holds no IRP, so that {operation} had returned")
        return came
    return _noted(
        came,
        "the guest runs other programs, so the scenario's own code may keep the agent from answering; "
        f"whether {operation or 'its last operation'} had returned is not known",
    )


def overdue(stuck: Stuck, scenario: str, deadline_s: float) -> str:
    """The message of a scenario that did not end in time by a fault of its own."""
    if stuck.silence:
        return (
            f"The agent stopped answering while no operation was under way: {stuck.silence}, and the guest "
            f"runs other programs. The scenario's own code ({scenario}) held the interpreter, or closed the "
            "agent's streams."
        )
    under_way = f"only {stuck.operation}, just begun," if stuck.operation else "no operation"
    return (
        f"The scenario did not end within {deadline_s:g} s, with {under_way} under way: it is at "
        f"{stuck.where or 'no line of its own'}."
    )


def _noted(came: ScenarioCrash, note: str) -> ScenarioCrash:
    report = dataclasses.replace(came.report, notes=(*came.report.notes, f"hang: {note}"))
    return dataclasses.replace(came, report=report)


def _program_fails(guest: GuestSession) -> str:
    """Why a program does not run in the guest now; empty if it does."""
    link = guest.new_link()
    try:
        link.transport.run(PROGRAM, Deadline.after(PROGRAM_S))
    except WinvmError as error:
        return error.message
    finally:
        link.close()
    return ""


def _answers(guest: GuestSession) -> bool:
    try:
        return guest.agent.answers()
    except WinvmError:
        return False


def _held(guest: GuestSession) -> int | None:
    """How many IRPs the driver holds; None if that is not known."""
    if not isinstance(guest.flavour, ShowsHeldIrps):
        return None
    try:
        shown = guest.flavour.held_irps(guest.link, guest.debug, f"{guest.payload.service}.sys")
    except WinvmError:
        return None
    return len(shown.irps)
