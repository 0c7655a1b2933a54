"""Commands for Windows PowerShell, which every supported Windows has.

Scripts contain no double quote, so that no quoting rule between this process and PowerShell applies. Values
from the settings have passed the patterns of `provision.settings` and stand between single quotes.
"""

from __future__ import annotations

from provision.steps import Command, Output

# Without Stop a failed cmdlet leaves exit code 0. Progress records would be printed as CLIXML, and warnings
# (such as that of a service that starts slowly) would be mixed with the script's output.
PREAMBLE = (
    "$ErrorActionPreference='Stop'; $ProgressPreference='SilentlyContinue';"
    " $WarningPreference='SilentlyContinue'; "
)
LINE = r"^\S.*$"


def powershell(script: str, timeout_s: float = 300.0, **environment: str) -> Command:
    """One script; fails with exit code 1 at the first error. Secrets are read from `$env:NAME` in it."""
    argv = (
        "powershell.exe",
        "-NoProfile",
        "-NonInteractive",
        "-ExecutionPolicy",
        "Bypass",
        "-Command",
        PREAMBLE + script,
    )
    return Command(argv, environment=tuple(environment.items()), timeout_s=timeout_s)


def printed(script: str, find: str = LINE) -> Output:
    """A reading of the script's output, by default line by line."""
    return Output(powershell(script), find)
