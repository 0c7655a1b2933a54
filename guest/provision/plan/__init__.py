"""Every step, in the order of carrying out: settings in, data out. Nothing here touches Windows."""

from __future__ import annotations

from provision.plan import boot, certificates, closing, crash, quiet, ssh, verifier, winrm
from provision.settings import Settings
from provision.steps import Step
from provision.supplied import Supplied


def steps(settings: Settings, files: Supplied) -> tuple[Step, ...]:
    """What is carried out before the restart."""
    return (
        *certificates.steps(settings, files),
        *boot.steps(settings),
        *crash.steps(settings),
        *verifier.steps(settings),
        *winrm.steps(settings, files),
        *ssh.steps(settings, files),
        # Late: Windows fetches OpenSSH through the service that is switched off here.
        *quiet.steps(settings),
    )


def closing_steps(settings: Settings) -> tuple[Step, ...]:
    """What is carried out after the restart; the firewall opens last: who connects meets a ready guest."""
    return tuple(closing.steps(settings))


def last_steps(settings: Settings, files: Supplied) -> tuple[Step, ...]:
    """What is carried out after the self-check, when nothing is left to resume."""
    return tuple(closing.last_steps(settings, files))
