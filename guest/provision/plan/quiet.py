"""Whatever would act or ask on its own while a driver is tested: updates, sleep, error boxes, UAC, expiry.

Sources: Microsoft Learn: powercfg command-line options, Manage additional Windows Update settings.
"""

from __future__ import annotations

from provision.plan.keys import POLICIES, SERVICES, SESSION_MANAGER
from provision.powershell import powershell, printed
from provision.settings import Settings
from provision.steps import Command, Output, Setting, Step, Value, dword

AUTOMATIC, DISABLED = 2, 4  # a service's Start
# Of powercfg /query's numbers the last but one is the setting on mains power; 0 is never.
ON_MAINS = r"0x(?!0{8}\s)([0-9a-f]{8})\s[^0]*0x[0-9a-f]{8}\s*\Z"


def steps(settings: Settings) -> list[Step]:
    """The account's step does without `quiet`: a guest whose password expires is lost after 42 days."""
    found = []
    if settings.quiet:
        found += [
            Step("updates", _updates(), restart=True),
            Step("sleep and fast start-up", _power(), restart=True),
            Step("error boxes and UAC", _prompts(), restart=True),
        ]
    if settings.user:
        found.append(Step("account", (_no_expiry(settings.user),)))
    return found


def service_start(name: str, start: str, number: int) -> Setting:
    """How a service starts, in sc.exe's word and in the registry's number."""
    wanted = dword(rf"{SERVICES}\{name}", "Start", number)
    return Setting(f"{name} start", wanted.wanted, wanted.reading, (_sc_config(name, start),))


def _sc_config(name: str, start: str) -> Command:
    # sc.exe takes "start=" and its value as two arguments.
    return Command(("sc.exe", "config", name, "start=", start))


def _updates() -> tuple[Setting, ...]:
    policy = r"SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU"
    return dword(policy, "NoAutoUpdate", 1), service_start("wuauserv", "disabled", DISABLED)


def _power() -> tuple[Setting, ...]:
    """Fast start-up makes "shut down" hibernate the kernel: changed drivers then look as if they were not."""
    # A machine that cannot hibernate has no such value, and refuses to switch off what it has not.
    hibernate = Setting(
        "hibernation",
        frozenset(),
        Value(r"SYSTEM\CurrentControlSet\Control\Power", "HibernateEnabled", find="^1$"),
        (Command(("powercfg.exe", "-h", "off")),),
    )
    return (
        _timeout("monitor-timeout-ac", "SUB_VIDEO", "VIDEOIDLE"),
        _timeout("standby-timeout-ac", "SUB_SLEEP", "STANDBYIDLE"),
        _timeout("disk-timeout-ac", "SUB_DISK", "DISKIDLE"),
        hibernate,
        dword(rf"{SESSION_MANAGER}\Power", "HiberbootEnabled", 0),
    )


def _timeout(name: str, group: str, alias: str) -> Setting:
    query = Command(("powercfg.exe", "/query", "SCHEME_CURRENT", group, alias))
    change = Command(("powercfg.exe", "-change", f"-{name}", "0"))
    return Setting(name, frozenset(), Output(query, ON_MAINS), (change,))


def _prompts() -> tuple[Setting, ...]:
    reporting = r"SOFTWARE\Microsoft\Windows\Windows Error Reporting"
    return (
        dword(reporting, "DontShowUI", 1),
        dword(POLICIES, "EnableLUA", 0),
        dword(POLICIES, "FilterAdministratorToken", 0),
    )


def _no_expiry(user: str) -> Setting:
    return Setting(
        "password's expiry",
        frozenset(),
        printed(f"Get-LocalUser -Name '{user}' | Select-Object -ExpandProperty PasswordExpires"),
        (powershell(f"Set-LocalUser -Name '{user}' -PasswordNeverExpires $true"),),
    )
