"""The end: no autologon, the firewall open for what the bench connects to, no secret left on the disk.

Source: Microsoft Learn: New-NetFirewallRule; Turn on automatic logon in Windows.
"""

from __future__ import annotations

from provision.machine import Kind
from provision.plan import ssh, winrm
from provision.powershell import powershell, printed
from provision.settings import FILE, Settings
from provision.steps import Setting, Step, no_file, no_value, registry_value
from provision.supplied import Supplied

WINLOGON = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon"


def steps(settings: Settings) -> list[Step]:
    """The steps that follow the restart."""
    found = [Step("autologon", _no_autologon())]
    ports = {"WinRM": winrm.PORT} if settings.winrm else {}
    ports |= {"SSH": ssh.PORT} if settings.ssh else {}
    if ports:
        found.append(Step("firewall", tuple(_open(name, port) for name, port in ports.items())))
    return found


def last_steps(settings: Settings, files: Supplied) -> list[Step]:
    """Removes what a resumed run needs; carried out when nothing is left to resume."""
    return [Step("secrets", tuple(no_file(files.path(name)) for name in (*settings.secret_files, FILE)))]


def _no_autologon() -> tuple[Setting, ...]:
    return (
        registry_value(WINLOGON, "AutoAdminLogon", Kind.SZ, "0"),
        no_value(WINLOGON, "AutoLogonCount"),
        no_value(WINLOGON, "DefaultPassword"),
    )


def _open(name: str, port: int) -> Setting:
    """A firewall rule of our own for the port: the rules of Windows may apply to private networks only."""
    rule = f"winvm-{name}"
    found = f"Get-NetFirewallRule -Name {rule} -ErrorAction SilentlyContinue"
    create = (
        f"Remove-NetFirewallRule -Name {rule} -ErrorAction SilentlyContinue; "
        f"New-NetFirewallRule -Name {rule} -DisplayName {rule} -Direction Inbound -Action Allow -Protocol TCP"
        f" -LocalPort {port} -Profile Any | Out-Null"
    )
    return Setting(
        f"port of {name}",
        frozenset({str(port)}),
        printed(f"{found} | Get-NetFirewallPortFilter | Select-Object -ExpandProperty LocalPort"),
        (powershell(create),),
    )
