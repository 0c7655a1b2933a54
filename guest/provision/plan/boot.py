"""Boot configuration: test signing, memory integrity, kernel debugging. Everything here needs a restart.

Sources: Microsoft Learn: TESTSIGNING boot configuration option; BCDEdit /dbgsettings; Setting up KDNET
manually. bcdedit prints its elements' names and values untranslated.
"""

from __future__ import annotations

from provision.powershell import printed
from provision.settings import Kdnet, SerialDebugger, Settings
from provision.steps import CodeIntegrity, Command, Failure, Output, Setting, Step, dword

DEVICE_GUARD = r"SYSTEM\CurrentControlSet\Control\DeviceGuard"
# Microsoft Learn: NtQuerySystemInformation, SYSTEM_CODEINTEGRITY_INFORMATION
CODEINTEGRITY_OPTION_TESTSIGN = 0x2
CODEINTEGRITY_OPTION_HVCI_KMCI_ENABLED = 0x400


def steps(settings: Settings) -> list[Step]:
    """Test signing is first: without it no test-signed driver loads, and the other steps are of no use."""
    found = []
    if settings.test_signing is not None:
        found.append(_test_signing(settings.test_signing))
    if settings.memory_integrity is not None:
        found.append(_memory_integrity(settings.memory_integrity))
    if settings.kernel_debugger is not None:
        found.append(Step("kernel debugger", tuple(_debugger(settings)), restart=True))
    return found


def element(entry: str, name: str, value: str) -> Setting:
    """The element `name` of a boot entry shall be `value`."""
    reading = Output(bcdedit("/enum", entry), rf"^{name}\s+(\S+)\s*$")
    return Setting(name, frozenset({value.lower()}), reading, (bcdedit("/set", entry, name, value),))


def bcdedit(*arguments: str) -> Command:
    """A bcdedit command; no shell runs it, so the braces of an identifier need no quotes."""
    return Command(("bcdedit.exe", *arguments))


def _test_signing(on: bool) -> Step:
    """Its failure stops the rest: if Secure Boot keeps test signing off, no test-signed driver loads."""
    stored = Setting(
        "testsigning",
        frozenset({"yes" if on else "no"}),
        Output(bcdedit("/enum", "{current}"), r"^testsigning\s+(\S+)\s*$"),
        (bcdedit("/set", "TESTSIGNING", "ON" if on else "OFF"),),
    )
    running = Setting(
        "test signing in the running kernel",
        frozenset({"on" if on else "off"}),
        CodeIntegrity(CODEINTEGRITY_OPTION_TESTSIGN),
    )
    return Step("test signing", (stored, running), restart=True, failure=Failure.STOP)


def _memory_integrity(on: bool) -> Step:
    """Off also switches off virtualization-based security, which slows the guest and hides its kernel."""
    running = (
        Setting(
            "memory integrity in the running kernel",
            frozenset({"on"}),
            CodeIntegrity(CODEINTEGRITY_OPTION_HVCI_KMCI_ENABLED),
        )
        if on
        else Setting(
            "VirtualizationBasedSecurityStatus",  # 0 off, 1 configured, 2 running
            frozenset({"0"}),
            printed(
                r"Get-CimInstance -Namespace root\Microsoft\Windows\DeviceGuard -ClassName Win32_DeviceGuard"
                " | Select-Object -ExpandProperty VirtualizationBasedSecurityStatus"
            ),
        )
    )
    scenario = rf"{DEVICE_GUARD}\Scenarios\HypervisorEnforcedCodeIntegrity"
    stored = dword(scenario, "Enabled", on), dword(DEVICE_GUARD, "EnableVirtualizationBasedSecurity", on)
    return Step("memory integrity", (*stored, running), restart=True)


def _debugger(settings: Settings) -> list[Setting]:
    debugger = settings.kernel_debugger
    found: list[Setting] = []
    if isinstance(debugger, SerialDebugger):
        found = _serial(debugger)
    elif isinstance(debugger, Kdnet):
        found = _kdnet(debugger)
    on = bool(found)
    reading = Output(bcdedit("/enum", "{current}"), r"^debug\s+(\S+)\s*$")
    switch = Setting(
        "debug", frozenset({"yes" if on else "no"}), reading, (bcdedit("/debug", "on" if on else "off"),)
    )
    return [*found, switch]


# /noumex: with a debugger configured and none attached, a user-mode breakpoint would stop the machine.
def _serial(debugger: SerialDebugger) -> list[Setting]:
    wanted = {
        "debugtype=serial",
        f"debugport={debugger.port}",
        f"baudrate={debugger.baud_rate}",
        "noumex=yes",
    }
    command = bcdedit(
        "/dbgsettings",
        "serial",
        f"debugport:{debugger.port}",
        f"baudrate:{debugger.baud_rate}",
        "/noumex",
    )
    return [Setting("serial debugging", frozenset(wanted), _stored(wanted), (command,))]


def _kdnet(debugger: Kdnet) -> list[Setting]:
    wanted = {
        "debugtype=net",
        f"hostip={debugger.host_ip}",
        f"port={debugger.port}",
        f"dhcp={'yes' if debugger.dhcp else 'no'}",
        "noumex=yes",
    }
    command = bcdedit(
        "/dbgsettings",
        "net",
        f"hostip:{debugger.host_ip}",
        f"port:{debugger.port}",
        f"key:{debugger.key}",
        *([] if debugger.dhcp else ["nodhcp"]),
        "/noumex",
    )
    found = [
        Setting("KDNET key", frozenset({f"key={debugger.key}"}), _stored({"key"}), (command,), secret=True),
        Setting("KDNET", frozenset(wanted), _stored(wanted), (command,)),
    ]
    if debugger.bus_parameters:  # after `net`, which resets them
        found.append(element("{dbgsettings}", "busparams", debugger.bus_parameters))
    return found


def _stored(elements: set[str]) -> Output:
    names = "|".join(sorted(entry.partition("=")[0] for entry in elements))
    return Output(bcdedit("/dbgsettings"), rf"^({names})\s+(\S+)\s*$")
