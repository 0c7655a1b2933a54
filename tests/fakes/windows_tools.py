"""A fake Windows: the tools that provisioning uses, with the grammar, refusals and state of the real tools.

It is made from Microsoft's documentation, not from the commands that provisioning happens to issue: a wrong
command line fails here as it would there. What takes effect only with a restart does so in `restart`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cryptography import x509
from provision.machine import Completed, Kind, ProvisionError, RegistryData

from tests.fakes import windows_tools_console as console
from tests.fakes.windows_tools_bcdedit import Bcdedit
from tests.fakes.windows_tools_cmdlets import CMDLETS, DEVICE_GUARD, SERVICES
from tests.fakes.windows_tools_powershell import Item, PowerShellError, powershell

WINLOGON = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon"
CRASH_CONTROL = r"SYSTEM\CurrentControlSet\Control\CrashControl"
DUMP_FILTER = 1
INSTALL_SCRIPT = r"c:\program files\openssh\install-sshd.ps1"
HOST_KEYS = r"c:\programdata\ssh\ssh_host_ed25519_key"
CONTROL_MAC = "52-54-00-12-34-56"
TEST_SIGN, HVCI = 0x2, 0x400
CONSOLE: Mapping[str, Callable[[FakeWindows, list[str]], Completed]] = {
    "sc.exe": console.sc,
    "powercfg.exe": console.powercfg,
    "verifier.exe": console.verifier,
    "certutil.exe": console.certutil,
    "schtasks.exe": console.schtasks,
    "shutdown.exe": console.shutdown,
    "cscript.exe": console.cscript,
    "cmd.exe": console.script,
    "icacls.exe": console.icacls,
}


class PowerCut(BaseException):
    """The machine lost its power in the middle of a change."""


class FakeWindows:
    """Implements `provision.machine.Machine`; a Windows 11 as Setup leaves it, logged on by autologon.

    Attributes:
        spaced_hashes: whether certutil prints hashes with blanks, as older ones do.
        changes: how many changes of any kind were made.
        commands: every command line, with its environment, in order.
        power: `on`, `restarting` or `off`.
        power_cut: number of the change that is not made any more, because the power fails.
        broken: programs that end with exit code 1 and print this.
        warnings: what cmdlets have warned of; PowerShell prints it among the output.
        internet_after: when the network reaches Microsoft, which it did not before.
        addresses: MAC address of an adapter -> its IPv4 address and where that is from.
        leases: MAC addresses of the adapters that use DHCP.
        revived: service whose start Windows sets back to manual when it starts, as it does with its updates.
    """

    def __init__(self, *, secure_boot: bool = False, internet: bool = False) -> None:
        self.boot = Bcdedit(secure_boot)
        self.internet = internet
        self.registry: dict[tuple[str, str], RegistryData] = {}
        self.files: dict[str, bytes] = {}
        self.access: dict[str, tuple[str, str]] = {}  # owner, and access rights that are not inherited
        self.inherited_access = "S-1-5-21-1-2-3-1001", "AI(A;ID;FA;;;SY)(A;ID;FA;;;BA)(A;ID;0x1200a9;;;BU)"
        self.services = {"winrm", "wuauserv"}
        self.running_services: set[str] = set()
        self.timeouts = dict.fromkeys(console.TIMEOUTS.values(), 600)
        self.verified: list[str] = []
        self.stores: dict[str, set[str]] = {}
        self.spaced_hashes = False
        self.personal: dict[str, x509.Certificate] = {}
        self.tasks: dict[str, str] = {}
        self.networks = {"Ethernet": "Public"}
        self.listeners = {"HTTP": ""}
        self.wsman = {
            r"service\allowunencrypted": "false",
            r"service\auth\basic": "false",
            "maxtimeoutms": "60000",
            r"shell\idletimeout": "7200000",
            r"shell\maxshellsperuser": "30",
            r"shell\maxprocessespershell": "25",
            r"shell\maxmemorypershellmb": "1024",
        }
        self.rules: dict[str, Item] = {}
        self.expiry: dict[str, str | None] = {"winvm": "01/02/2027 07:00:00"}
        self.changes = 0
        self.commands: list[tuple[tuple[str, ...], dict[str, str]]] = []
        self.power = "on"
        self.power_cut: int | None = None
        self.broken: dict[str, str] = {}
        self.warnings: list[str] = []
        self.revived = ""
        self.ran: list[str] = []
        self.internet_after: float | None = None
        self.addresses = {CONTROL_MAC: ("10.0.2.15", "Dhcp")}
        self.leases = {CONTROL_MAC}
        self.licence: dict[str, object] = {
            "LicenseStatus": 2,  # out-of-box grace
            "EvaluationEndDate": "1601-01-01T00:00:00",
            "GracePeriodRemaining": 10 * 24 * 60,
        }
        self._time = 0.0
        self._seed()
        self._start()

    def _seed(self) -> None:
        """Values that an installation leaves and provisioning has to change."""
        for key, name, data in (
            (CRASH_CONTROL, "CrashDumpEnabled", RegistryData(Kind.DWORD, 7)),
            (CRASH_CONTROL, "AutoReboot", RegistryData(Kind.DWORD, 1)),
            (CRASH_CONTROL, "FilterPages", RegistryData(Kind.DWORD, DUMP_FILTER)),
            (console.POWER, "HibernateEnabled", RegistryData(Kind.DWORD, 1)),
            (rf"{SERVICES}\wuauserv", "Start", RegistryData(Kind.DWORD, 3)),
            (rf"{SERVICES}\WinRM", "Start", RegistryData(Kind.DWORD, 3)),
            (WINLOGON, "AutoAdminLogon", RegistryData(Kind.SZ, "1")),
            (WINLOGON, "AutoLogonCount", RegistryData(Kind.DWORD, 999)),
            (WINLOGON, "DefaultPassword", RegistryData(Kind.SZ, "autologon secret")),
        ):
            self.registry[key.lower(), name.lower()] = data

    def _start(self) -> None:
        """What the kernel and the service control manager take over when they start."""
        self.power = "on"
        self._pending = False
        if self.revived:
            self.registry[rf"{SERVICES}\{self.revived}".lower(), "start"] = RegistryData(Kind.DWORD, 3)
        self.running_services = set()
        for name in self.services:
            delayed = self.value(rf"{SERVICES}\{name}", "DelayedAutostart") == RegistryData(Kind.DWORD, 1)
            if self._number(name) == console.STARTS["auto"] and not delayed:  # that is minutes later
                self.started(name)
        if self.boot.entry.get("debug") == "Yes" and self.boot.debugger["debugtype"] == "NET":
            # Windows loses the NIC to the debugger and meets a network it does not know on what replaces it.
            self.networks["Ethernet (Kernel Debugger)"] = "Public"
        hvci = self.value(rf"{DEVICE_GUARD}\Scenarios\HypervisorEnforcedCodeIntegrity", "Enabled")
        protected = hvci == RegistryData(Kind.DWORD, 1)
        vbs = self.value(DEVICE_GUARD, "EnableVirtualizationBasedSecurity")
        self.running_vbs = 0 if vbs == RegistryData(Kind.DWORD, 0) else 2
        signing = self.boot.entry.get("testsigning") == "Yes"
        self._integrity = 1 | TEST_SIGN * signing | HVCI * protected

    def _number(self, service: str) -> int:
        found = self.value(rf"{SERVICES}\{service}", "Start")
        return found.data if found and isinstance(found.data, int) else 3

    def restart(self) -> str:
        """Starts Windows again; returns the command line of the task that runs then, if there is one."""
        self._start()
        return next(iter(self.tasks.values()), "")

    def changed(self) -> None:
        """Counts a change that is about to be made."""
        if self.power_cut is not None and self.changes >= self.power_cut:
            raise PowerCut
        self.changes += 1

    def store(self, key: str, name: str, data: RegistryData) -> None:
        """A tool sets a registry value."""
        self.changed()
        self.registry[key.lower(), name.lower()] = data

    def started(self, service: str) -> None:
        """A service starts; sshd makes what it needs and does not find."""
        self.running_services.add(service)
        if service == "sshd" and HOST_KEYS not in self.files:
            self.files |= {HOST_KEYS: b"made by sshd itself", f"{HOST_KEYS}.pub": b"its public key"}

    def install_sshd(self) -> None:
        """The service exists from now on."""
        self.services.add("sshd")
        image = RegistryData(Kind.EXPAND_SZ, r"C:\Windows\System32\OpenSSH\sshd.exe")
        self.store(rf"{SERVICES}\sshd", "ImagePath", image)
        self.store(rf"{SERVICES}\sshd", "Start", RegistryData(Kind.DWORD, 3))

    def run_script(self, path: str, *, asks: bool) -> list[Item]:
        """A PowerShell script file; only Win32-OpenSSH's own is known.

        Args:
            asks: whether it may ask for confirmation, which nobody gives.
        """
        if path.lower() != INSTALL_SCRIPT or INSTALL_SCRIPT not in self.files:
            raise PowerShellError(f"The term '{path}' is not recognized as the name of a script file.")
        if asks:
            raise PowerShellError("Windows PowerShell is in NonInteractive mode. Read and Prompt ...")
        self.install_sshd()
        return ["[SC] SetServiceObjectSecurity SUCCESS"]

    # the protocol

    def value(self, key: str, name: str) -> RegistryData | None:
        return self.registry.get((key.lower(), name.lower()))

    def set_value(self, key: str, name: str, data: RegistryData) -> None:
        self.store(key, name, data)

    def delete_value(self, key: str, name: str) -> None:
        if (key.lower(), name.lower()) in self.registry:
            self.changed()
            del self.registry[key.lower(), name.lower()]

    @property
    def restart_pending(self) -> bool:
        return self._pending

    def note_restart(self) -> None:
        self.changed()
        self._pending = True

    def run(self, argv: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> Completed:
        assert self.power == "on", f"{argv[0]} runs on a machine that is {self.power}"
        self.commands.append((tuple(argv), dict(environment)))
        program, arguments = argv[0].lower(), list(argv[1:])
        if program in self.broken:
            return Completed(1, self.broken[program], "")
        if program == "powershell.exe":
            return powershell(self, arguments, environment, CMDLETS)
        if program == "bcdedit.exe":
            before = dict(self.boot.entry), dict(self.boot.debugger)
            done = self.boot.run(arguments)
            if before != (self.boot.entry, self.boot.debugger):
                self.changed()
            return done
        if program not in CONSOLE:
            raise ProvisionError(f"{argv[0]} cannot be started: File not found")
        return CONSOLE[program](self, arguments)

    def read_file(self, path: str) -> bytes | None:
        return self.files.get(path.lower())

    def write_file(self, path: str, content: bytes) -> None:
        self.changed()
        self.files[path.lower()] = content

    def remove_file(self, path: str) -> None:
        if path.lower() in self.files:
            self.changed()
            del self.files[path.lower()]

    def copy_folder(self, source: str, target: str) -> None:
        below = source.lower() + "\\"
        found = {path: content for path, content in self.files.items() if path.startswith(below)}
        if not found:
            raise ProvisionError(f"{source} cannot be copied to {target}: it does not exist")
        for path, content in found.items():
            self.write_file(target.lower() + "\\" + path.removeprefix(below), content)

    def code_integrity(self) -> int:
        return self._integrity

    def monotonic(self) -> float:
        self._time += 0.25
        return self._time

    def pause(self, seconds: float) -> None:
        self._time += seconds
        if self.internet_after is not None and self._time >= self.internet_after:
            self.internet = True
