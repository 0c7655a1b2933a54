"""Commands for Windows PowerShell, which every supported Windows has.

Scripts hold no double quote, so that no rule of quoting between here and PowerShell matters; what comes from
the settings has passed their patterns and stands between single quotes.
"""

from __future__ import annotations

from provision.steps import Command, Output

# Without Stop a failed cmdlet leaves exit code 0; progress records would come out as CLIXML, and warnings, as
# of a service that takes its time to start, among what a script prints.
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
    """What the script prints, by default line by line."""
    return Output(powershell(script), find)
