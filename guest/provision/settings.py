"""The schema of `provision.json`, which holds the wanted settings; the host renders one per profile.

One JSON object, UTF-8. A key that is left out or null leaves that part of Windows alone. Unknown keys and
values of the wrong kind are refused; the error names all of them. Files are named without a folder and lie
beside provision.json. Passwords, the KDNET key and private keys are secrets: keep the file, its folder and
the medium that carries them as secret.

    {
      "version": 1,
      "profile": "windows-11",               profile name, only repeated in the journal
      "journal": "COM2",                     serial port of the journal
      "user": "winvm",                       account the bench logs in with; its password never expires
      "finish": "shut-down",                 or "stay": at the end the guest is left running
      "activate": true,                      activate this evaluation online, and read its licence state back
      "quiet": true,                         updates, sleep, fast start-up, error boxes and UAC off
      "test_signing": true,                  needs Secure Boot off
      "memory_integrity": false,             HVCI and virtualization-based security
      "certificates": ["test.cer"],          PEM or DER; into the machine's Root and TrustedPublisher
      "dbgprint_mask": 15,                   0 to 4294967295, for the components DEFAULT and IHVDRIVER
      "network": {"mac": "52-54-00-12-34-56", "address": "10.0.2.15", "prefix": 24},
                                             the control adapter's static address; its network stays private
      "kernel_debugger": {"transport": "kdnet", "host_ip": "10.0.2.2", "port": 50000, "key": "1.2.3.4",
                          "bus_parameters": "0.4.0", "dhcp": true}
                      or {"transport": "serial", "port": 1, "baud_rate": 115200}
                      or {"transport": "off"},
      "crash": {"dump": "kernel", "auto_reboot": true, "minidumps": 50, "page_file_mib": 0,
                "dedicated_file_mib": 0},
      "verifier": {"drivers": ["winvm.sys"]},        an empty list switches Driver Verifier off
      "winrm": {"certificate": "winrm.pfx", "password": "...", "thumbprint": "40 hexadecimal digits"},
      "own": {"files": ["tool.exe", "setup.cmd"], "script": "setup.cmd"},
                                             into C:\\winvm\\files; the script is one of them, and is run
      "ssh": {"install": "bundle", "bundle": "openssh", "host_key": "ssh_host_ed25519_key",
              "authorized_keys": "authorized_keys"}
    }
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address

from provision.fields import Fields

VERSION = 1
FILE = "provision.json"
MAX_BYTES = 1 << 20
FILE_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
FILE_RULE = "a file name without a folder (letters, digits, '.', '_', '-')"
KD_WORD_LIMIT = 1 << 64


class SettingsError(Exception):
    """provision.json is invalid; the text names every problem, one a line, and no value of a secret."""


@dataclass(frozen=True)
class NoDebugger:
    """`/debug off`: after a bugcheck the machine writes its dump and restarts without a debugger."""


@dataclass(frozen=True)
class SerialDebugger:
    """Kernel debugging over COM<port>; `baud_rate` 9600 to 115200."""

    port: int
    baud_rate: int


@dataclass(frozen=True)
class Kdnet:
    """Kernel debugging over the NIC at PCI `bus_parameters` (bus.device.function, decimal; empty: any).

    `key` is four words of base 36, each below 2**64; the target sends to UDP `host_ip`:`port`.
    """

    host_ip: str
    port: int
    key: str = field(repr=False)
    bus_parameters: str
    dhcp: bool


@dataclass(frozen=True)
class CrashSettings:
    """What Windows writes and does at a bugcheck.

    Attributes:
        dump: `small`, `kernel`, `automatic`, `active`, `complete`, or `none`.
        minidumps: how many small dumps are kept.
        page_file_mib: fixed size of C:\\pagefile.sys; 0 leaves its size to Windows. A complete dump needs the
            memory's size and 257 MiB more, in the page file or in the dedicated file.
        dedicated_file_mib: size of a dump file of its own, C:\\winvm\\dedicated.dmp; 0 for none.
    """

    dump: str
    auto_reboot: bool
    minidumps: int
    page_file_mib: int
    dedicated_file_mib: int


@dataclass(frozen=True)
class Verifier:
    """Driver Verifier's standard set for `drivers` (file names, `x.sys`); none switches it off."""

    drivers: tuple[str, ...]


@dataclass(frozen=True)
class Winrm:
    """The HTTPS listener: a PFX file, its password, and the certificate's SHA-1 in capitals."""

    certificate: str
    password: str = field(repr=False)
    thumbprint: str


@dataclass(frozen=True)
class Ssh:
    """OpenSSH.

    Attributes:
        install: `present` (Windows has it), `capability` (Windows Update or media fetches it), or `bundle`
            (Win32-OpenSSH unpacked in the folder `bundle` beside provision.json).
        host_key: private Ed25519 key file; the public one is not needed.
        authorized_keys: file of the public keys that may log in as an administrator.
    """

    install: str
    bundle: str
    host_key: str
    authorized_keys: str


@dataclass(frozen=True)
class Network:
    """The control adapter, named by its MAC address as Windows writes it, and its IPv4 address."""

    mac: str
    address: str
    prefix: int


@dataclass(frozen=True)
class Own:
    """Files of the user's own, and the one of them that is run: .cmd, .bat, .ps1 or .py; empty for none."""

    files: tuple[str, ...]
    script: str


@dataclass(frozen=True)
class Settings:
    """The whole file; see the module."""

    profile: str
    journal: str
    user: str
    finish: str
    quiet: bool
    activate: bool
    test_signing: bool | None
    memory_integrity: bool | None
    certificates: tuple[str, ...]
    dbgprint_mask: int | None
    kernel_debugger: NoDebugger | SerialDebugger | Kdnet | None
    crash: CrashSettings | None
    verifier: Verifier | None
    winrm: Winrm | None
    ssh: Ssh | None
    network: Network | None
    own: Own | None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that no journal and no report may show."""
        found = [self.winrm.password] if self.winrm else []
        if isinstance(self.kernel_debugger, Kdnet):
            found.append(self.kernel_debugger.key)
        return tuple(found)

    @property
    def secret_files(self) -> tuple[str, ...]:
        """Those of `files` that are removed from the guest's disk at the end."""
        found = [self.winrm.certificate] if self.winrm else []
        return (*found, self.ssh.host_key) if self.ssh else tuple(found)

    @property
    def files(self) -> tuple[str, ...]:
        """Files that must lie beside provision.json; the folder `ssh.bundle` is not among them."""
        found = list(self.certificates)
        if self.winrm:
            found.append(self.winrm.certificate)
        if self.own:
            found += self.own.files
        if self.ssh:
            found += [self.ssh.host_key, self.ssh.authorized_keys]
        return tuple(found)


def parse(content: bytes) -> Settings:
    """Reads provision.json's content.

    Raises:
        SettingsError: too long, not JSON, or keys or values are wrong.
    """
    if len(content) > MAX_BYTES:
        raise SettingsError(f"provision.json is longer than {MAX_BYTES} bytes")
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(
            f"provision.json is not JSON: {type(error).__name__} at {_place(error)}"
        ) from error
    if not isinstance(document, dict):
        raise SettingsError("provision.json must be one JSON object")
    problems: list[str] = []
    fields = Fields(document, "", problems)
    settings = _settings(fields)
    fields.close()
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _settings(fields: Fields) -> Settings:
    fields.number("version", None, VERSION, VERSION)
    settings = Settings(
        profile=fields.text("profile", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", rule="a profile's name"),
        journal=fields.text("journal", "COM2", r"COM[1-9]", "a serial port, COM1 to COM9"),
        user=fields.text("user", "", r"[A-Za-z0-9][A-Za-z0-9_-]{0,19}", "an account's name"),
        finish=fields.choice("finish", ("shut-down", "stay"), "shut-down"),
        quiet=fields.boolean("quiet", default=False),
        activate=fields.boolean("activate", default=False),
        test_signing=fields.optional_boolean("test_signing"),
        memory_integrity=fields.optional_boolean("memory_integrity"),
        certificates=fields.texts("certificates", FILE_NAME, FILE_RULE),
        dbgprint_mask=fields.optional_number("dbgprint_mask", 0, 0xFFFFFFFF),
        kernel_debugger=fields.section("kernel_debugger", _debugger),
        crash=fields.section("crash", _crash),
        verifier=fields.section("verifier", _verifier),
        winrm=fields.section("winrm", _winrm),
        ssh=fields.section("ssh", _ssh),
        network=fields.section("network", _network),
        own=fields.section("own", _own),
    )
    debugger = settings.kernel_debugger
    if isinstance(debugger, SerialDebugger) and settings.journal == f"COM{debugger.port}":
        fields.problem("journal", f"is {settings.journal}, which the kernel debugger takes for itself")
    return settings


def _debugger(fields: Fields) -> NoDebugger | SerialDebugger | Kdnet:
    transport = fields.choice("transport", ("off", "serial", "kdnet"))
    if transport == "serial":
        return SerialDebugger(
            fields.number("port", 1, 1, 4), fields.number("baud_rate", 115200, 9600, 115200)
        )
    if transport == "kdnet":
        return _kdnet(fields)
    return NoDebugger()


def _kdnet(fields: Fields) -> Kdnet:
    debugger = Kdnet(
        host_ip=fields.text("host_ip"),
        port=fields.number("port", None, 49152, 65535),
        key=fields.text(
            "key", None, r"[0-9a-z]{1,13}(\.[0-9a-z]{1,13}){3}", "four words of 0-9 and a-z, joined by '.'"
        ),
        bus_parameters=fields.text(
            "bus_parameters", "", r"\d{1,3}(\.\d{1,3}){2}", "bus.device.function, decimal"
        ),
        dhcp=fields.boolean("dhcp", default=True),
    )
    _require_ipv4(fields, "host_ip", debugger.host_ip)
    if any(int(word, 36) >= KD_WORD_LIMIT for word in debugger.key.split(".") if word.isalnum()):
        fields.problem("key", "has a word of 2**64 or more")
    limits = zip(debugger.bus_parameters.split("."), (255, 31, 7), strict=False)
    if any(int(part) > limit for part, limit in limits if part.isdigit()):
        fields.problem("bus_parameters", "must be at most 255.31.7")
    return debugger


def _crash(fields: Fields) -> CrashSettings:
    kinds = ("kernel", "automatic", "active", "complete", "small", "none")
    return CrashSettings(
        dump=fields.choice("dump", kinds, "kernel"),
        auto_reboot=fields.boolean("auto_reboot", default=True),
        minidumps=fields.number("minidumps", 50, 1, 10_000),
        page_file_mib=fields.number("page_file_mib", 0, 0, 1 << 20),
        dedicated_file_mib=fields.number("dedicated_file_mib", 0, 0, 1 << 20),
    )


def _verifier(fields: Fields) -> Verifier:
    return Verifier(
        fields.texts("drivers", r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\.sys", "a driver's file name such as x.sys")
    )


def _winrm(fields: Fields) -> Winrm:
    return Winrm(
        certificate=fields.text("certificate", None, FILE_NAME, FILE_RULE),
        password=fields.text("password"),
        thumbprint=fields.text("thumbprint", None, "[0-9A-Fa-f]{40}", "40 hexadecimal digits").upper(),
    )


def _ssh(fields: Fields) -> Ssh:
    ssh = Ssh(
        install=fields.choice("install", ("bundle", "capability", "present")),
        bundle=fields.text("bundle", "", FILE_NAME, FILE_RULE),
        host_key=fields.text("host_key", None, FILE_NAME, FILE_RULE),
        authorized_keys=fields.text("authorized_keys", None, FILE_NAME, FILE_RULE),
    )
    if (ssh.install == "bundle") != bool(ssh.bundle):
        fields.problem("bundle", "names the folder of Win32-OpenSSH when install is bundle, and only then")
    return ssh


def _network(fields: Fields) -> Network:
    network = Network(
        mac=fields.text(
            "mac", None, "[0-9A-F]{2}(-[0-9A-F]{2}){5}", "a MAC address such as 52-54-00-12-34-56"
        ),
        address=fields.text("address"),
        prefix=fields.number("prefix", 24, 8, 30),
    )
    _require_ipv4(fields, "address", network.address)
    return network


def _own(fields: Fields) -> Own:
    own = Own(
        files=fields.texts("files", FILE_NAME, FILE_RULE),
        script=fields.text("script", "", r"[\w.-]+\.(?i:cmd|bat|ps1|py)", "a .cmd, .bat, .ps1 or .py file"),
    )
    if own.script and own.script not in own.files:
        fields.problem("script", "must be one of the files")
    return own


def _require_ipv4(fields: Fields, key: str, address: str) -> None:
    try:
        IPv4Address(address)
    except AddressValueError:
        fields.problem(key, "must be an IPv4 address")


def _place(error: Exception) -> str:
    """The position of the error, without the text there, which may be a secret."""
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}"
    return "an unknown place"
