"""WinRM: one HTTPS listener with the supplied certificate, Basic authentication, quotas that no run reaches.

Source: Microsoft Learn: Installation and configuration for Windows Remote Management. The port stays closed
until the closing steps. The drive WSMan: needs the service, which starts late after a restart.
"""

from __future__ import annotations

from provision.plan.keys import POLICIES, SERVICES
from provision.plan.quiet import AUTOMATIC, service_start
from provision.powershell import powershell, printed
from provision.settings import Settings, Winrm
from provision.steps import Setting, Step, Value, dword
from provision.supplied import Supplied

PORT = 5986
LISTENERS = "Get-WSManInstance -ResourceURI winrm/config/listener -Enumerate"
STARTED = "Start-Service -Name WinRM; "
# WinRM refuses changes while a network is public. A network that becomes public later does no harm: the port
# is opened on all networks. (KDNET takes its NIC over, and Windows sees a new network, which may be public.)
CONFIGURABLE = (
    f"{STARTED}Get-NetConnectionProfile | Where-Object NetworkCategory -EQ Public"
    " | Set-NetConnectionProfile -NetworkCategory Private; "
)
UNLIMITED = 2147483647
# Microsoft's pages disagree about the shell quotas' defaults; current systems print the largest number.
OPTIONS = {
    r"Service\AllowUnencrypted": "$false",
    r"Service\Auth\Basic": "$true",
    "MaxTimeoutms": "1800000",
    r"Shell\IdleTimeout": f"{UNLIMITED}",  # ms, 24 days: a saved guest's shell waits for weeks of guest time
    r"Shell\MaxShellsPerUser": f"{UNLIMITED}",
    r"Shell\MaxProcessesPerShell": f"{UNLIMITED}",
    r"Shell\MaxMemoryPerShellMB": f"{UNLIMITED}",
}


def steps(settings: Settings, files: Supplied) -> list[Step]:
    """Empty when the settings have no `winrm`."""
    winrm = settings.winrm
    if winrm is None:
        return []
    return [
        Step("WinRM service", _service(), restart=True),
        Step("WinRM certificate", (_certificate(winrm, files),)),
        Step("WinRM listener", _listener(winrm)),
        Step("WinRM options", tuple(_option(path, value) for path, value in OPTIONS.items())),
    ]


def _service() -> tuple[Setting, ...]:
    """The service with delayed automatic start; a plain automatic start proved unreliable."""
    start = service_start("WinRM", "delayed-auto", AUTOMATIC)
    delayed = Setting(
        "WinRM delayed start",
        frozenset({"DWORD 1"}),
        Value(rf"{SERVICES}\WinRM", "DelayedAutostart"),
        start.actions,
    )
    # Without it, an administrator other than the built-in one has no administrator rights over the network.
    return start, delayed, dword(POLICIES, "LocalAccountTokenFilterPolicy", 1)


def _certificate(winrm: Winrm, files: Supplied) -> Setting:
    held = rf"Get-ChildItem -Path Cert:\LocalMachine\My | Where-Object Thumbprint -EQ '{winrm.thumbprint}'"
    pfx = files.path(winrm.certificate)
    script = (
        rf"Import-PfxCertificate -FilePath '{pfx}' -CertStoreLocation Cert:\LocalMachine\My"
        " -Password (ConvertTo-SecureString -String $env:WINVM_PFX_PASSWORD -AsPlainText -Force) | Out-Null"
    )
    return Setting(
        "certificate with its private key",
        frozenset({"true"}),
        printed(f"{held} | Select-Object -ExpandProperty HasPrivateKey"),
        (powershell(script, WINVM_PFX_PASSWORD=winrm.password),),
    )


def _listener(winrm: Winrm) -> tuple[Setting, ...]:
    """The HTTPS listener and no other; Server editions have one for HTTP by default."""
    https = (
        CONFIGURABLE + r"Remove-Item -Path WSMan:\localhost\Listener\* -Recurse -Force; "
        rf"New-Item -Path WSMan:\localhost\Listener -Transport HTTPS -Address *"
        f" -CertificateThumbPrint '{winrm.thumbprint}' -Force | Out-Null"
    )
    wanted = {"Transport": "https", "Port": f"{PORT}", "CertificateThumbprint": winrm.thumbprint.lower()}
    return tuple(
        Setting(
            f"listeners' {name}",
            frozenset({value}),
            printed(f"{STARTED}{LISTENERS} | Select-Object -ExpandProperty {name}"),
            (powershell(https),),
        )
        for name, value in wanted.items()
    )


def _option(path: str, value: str) -> Setting:
    item = rf"WSMan:\localhost\{path}"
    return Setting(
        path,
        frozenset({value.lstrip("$")}),
        printed(f"{STARTED}Get-Item -Path {item} | Select-Object -ExpandProperty Value"),
        (powershell(f"{CONFIGURABLE}Set-Item -Path {item} -Value {value} -Force"),),
    )
