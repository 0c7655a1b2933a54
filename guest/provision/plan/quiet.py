"""Switches off what would interrupt a test: updates, sleep, error boxes, UAC, expiry of the password.

Sources: Microsoft Learn: powercfg command-line options, Manage additional Windows Update settings.
"""

from __future__ import annotations

from provision.plan.keys import POLICIES, SERVICES, SESSION_MANAGER
from provision.powershell import powershell, printed
from provision.settings import Settings
from provision.steps import Command, Output, Setting, Step, Value, dword

AUTOMATIC, DISABLED = 2, 4  # a service's Start
# The last but one number that powercfg /query prints is the setting on mains power; 0 is never.
ON_MAINS = r"0x(?!0{8}\s)([0-9a-f]{8})\s[^0]*0x[0-9a-f]{8}\s*\Z"


def steps(settings: Settings) -> list[Step]:
    """The account's step does not depend on `quiet`: the password would expire after 42 days."""
    found = []
    if settings.quiet:
        found += [
            # Windows switches its update service on again by itself.
            Step("updates", _updates(), restart=True, wished=True),
            Step("sleep and fast start-up", _power(), restart=True, wished=True),
            Step("error boxes and UAC", _prompts(), restart=True, wished=True),
        ]
    if settings.user:
        found.append(Step("account", (_no_expiry(settings.user),)))
    return found


def service_start(name: str, start: str, number: int) -> Setting:
    """How a service starts: `start` is sc.exe's word for it, `number` the registry's value."""
    wanted = dword(rf"{SERVICES}\{name}", "Start", number)
    return Setting(f"{name} start", wanted.wanted, wanted.reading, (_sc_config(name, start),))


def _sc_config(name: str, start: str) -> Command:
    # sc.exe takes "start=" and its value as two arguments.
    return Command(("sc.exe", "config", name, "start=", start))


def _updates() -> tuple[Setting, ...]:
    policy = r"SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU"
    maintenance = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Schedule\Maintenance"
    return (
        dword(policy, "NoAutoUpdate", 1),
        service_start("wuauserv", "disabled", DISABLED),
        # Automatic maintenance scans, defragments and compiles whenever the guest is idle.
        dword(maintenance, "MaintenanceDisabled", 1),
    )


def _power() -> tuple[Setting, ...]:
    """With fast start-up, a shutdown hibernates the kernel, and the next start still runs the old drivers."""
    # A machine that cannot hibernate lacks this value, and refuses to switch hibernation off.
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
