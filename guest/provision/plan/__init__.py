"""Turns the settings into the list of steps, in the order in which they are carried out; changes nothing."""

from __future__ import annotations

from provision.plan import (
    boot,
    certificates,
    closing,
    crash,
    defender,
    licence,
    network,
    own,
    quiet,
    ssh,
    verifier,
    winrm,
)
from provision.settings import Settings
from provision.steps import Step
from provision.supplied import Supplied


def steps(settings: Settings, files: Supplied) -> tuple[Step, ...]:
    """The steps before the restart."""
    return (
        *certificates.steps(settings, files),
        *boot.steps(settings),
        *crash.steps(settings),
        *verifier.steps(settings),
        *network.steps(settings),
        *winrm.steps(settings, files),
        *ssh.steps(settings, files),
        *licence.steps(settings),
        *own.steps(settings, files),
        # After OpenSSH: Windows downloads it through the update service, which this step switches off.
        *quiet.steps(settings),
        *defender.steps(settings),
    )


def closing_steps(settings: Settings) -> tuple[Step, ...]:
    """The steps after the restart. The firewall opens last, so that a client connects to a ready guest."""
    return (*network.closing_steps(settings), *closing.steps(settings))


def last_steps(settings: Settings, files: Supplied) -> tuple[Step, ...]:
    """The steps after the self-check, when nothing is left to resume."""
    return tuple(closing.last_steps(settings, files))
