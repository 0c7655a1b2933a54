"""Driver Verifier for the tested drivers. Source: Microsoft Learn: Driver Verifier command syntax."""

from __future__ import annotations

from provision.settings import Settings
from provision.steps import Command, Output, Setting, Step

DONE, RESTART_NEEDED = 0, 2  # exit codes that are both success
DRIVER_NAME = r"[\w.-]+\.sys\b"


def steps(settings: Settings) -> list[Step]:
    """Uses /standard, not its flags: since Windows 10 1803 the flags do not include the WDF rules."""
    if settings.verifier is None:
        return []
    drivers = settings.verifier.drivers
    arguments = ("/standard", "/driver", *drivers) if drivers else ("/reset",)
    verified = Setting(
        "verified drivers",
        frozenset(driver.lower() for driver in drivers),
        Output(Command(("verifier.exe", "/querysettings")), DRIVER_NAME),
        (Command(("verifier.exe", *arguments), ok=(DONE, RESTART_NEEDED)),),
    )
    return [Step("Driver Verifier", (verified,), restart=True)]
