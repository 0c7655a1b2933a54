"""sc, powercfg, verifier, certutil, schtasks, shutdown and icacls as documented, over one fake machine.

Each function takes the machine and the arguments after the program's name. Exit codes and the arguments'
grammar are Microsoft's (Microsoft Learn: the pages of these commands).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from provision.machine import Completed, Kind, RegistryData

if TYPE_CHECKING:
    from tests.fakes.windows_tools import FakeWindows

SERVICES = r"SYSTEM\CurrentControlSet\Services"
POWER = r"SYSTEM\CurrentControlSet\Control\Power"
STARTS = {"boot": 0, "system": 1, "auto": 2, "demand": 3, "disabled": 4, "delayed-auto": 2}
ERROR_SERVICE_DOES_NOT_EXIST = 1060
ERROR_INVALID_COMMAND_LINE = 1639
NTE_NOT_FOUND = 0x80090011
ERROR_FILE_NOT_FOUND = 0x80070002
TIMEOUTS = {
    "monitor-timeout-ac": ("sub_video", "videoidle"),
    "standby-timeout-ac": ("sub_sleep", "standbyidle"),
    "disk-timeout-ac": ("sub_disk", "diskidle"),
}
MAX_TASK_COMMAND = 261
SIDS = {"*s-1-5-32-544": "BA", "administrators": "BA", "*s-1-5-18": "SY", "system": "SY"}


def done(text: str = "") -> Completed:
    return Completed(0, text, "")


def failed(code: int, text: str) -> Completed:
    return Completed(code, "", text)


def sc(machine: FakeWindows, arguments: list[str]) -> Completed:
    """`config NAME start= HOW`; the option and its value are two arguments, the first ends in `=`."""
    if len(arguments) != 4 or arguments[0] != "config" or arguments[2] != "start=":
        return failed(ERROR_INVALID_COMMAND_LINE, "USAGE: sc <server> config [service name] <options>...")
    name, how = arguments[1], arguments[3]
    if how not in STARTS:
        return failed(ERROR_INVALID_COMMAND_LINE, "ERROR: Invalid start= field")
    if name.lower() not in machine.services:
        return failed(ERROR_SERVICE_DOES_NOT_EXIST, "[SC] OpenService FAILED 1060:")
    key = rf"{SERVICES}\{name}".lower()
    machine.changed()
    machine.registry[key, "start"] = RegistryData(Kind.DWORD, STARTS[how])
    machine.registry[key, "delayedautostart"] = RegistryData(Kind.DWORD, int(how == "delayed-auto"))
    return done("[SC] ChangeServiceConfig SUCCESS\r\n")


def powercfg(machine: FakeWindows, arguments: list[str]) -> Completed:
    words = [word.lstrip("-/").lower() for word in arguments]
    match words:
        case ["h" | "hibernate", "on" | "off" as how]:
            machine.store(POWER, "HibernateEnabled", RegistryData(Kind.DWORD, int(how == "on")))
            return done()
        case ["change" | "x", name, minutes] if name in TIMEOUTS and minutes.isdigit():
            machine.changed()
            machine.timeouts[TIMEOUTS[name]] = int(minutes) * 60
            return done()
        case ["query" | "q", "scheme_current", group, alias] if (group, alias) in machine.timeouts:
            seconds = machine.timeouts[group, alias]
            return done(
                f"    Power Setting GUID: 3c0bc021-c8a8-4e07-a973-6b14cbcb2b7e  (Ausschalten nach)\r\n"
                f"      GUID Alias: {alias.upper()}\r\n"
                "      Minimum Possible Setting: 0x00000000\r\n"
                "      Maximum Possible Setting: 0xffffffff\r\n"
                "      Possible Settings increment: 0x00000001\r\n"
                "      Possible Settings units: Seconds\r\n"
                f"    Current AC Power Setting Index: {seconds:#010x}\r\n"
                f"    Current DC Power Setting Index: 0x00000258\r\n\r\n"
            )
    return failed(1, 'Invalid Parameters -- try "/?" for help\r\n')


def verifier(machine: FakeWindows, arguments: list[str]) -> Completed:
    """Exit codes: 0 done, 1 error, 2 done and a restart is needed."""
    match [word.lower() if word.startswith("/") else word for word in arguments]:
        case ["/querysettings"]:
            names = machine.verified or ["None"]
            flags = "Special pool: Disabled\r\nPool tracking: Disabled\r\n"
            return done(f"{flags}\r\nVerified Drivers:\r\n\r\n" + "".join(f"{name}\r\n" for name in names))
        case ["/reset"]:
            drivers: list[str] = []
        case ["/standard", "/driver", *drivers] if drivers and all(
            re.fullmatch(r"[^\\/:*?\"<>|\s]+\.sys", name) for name in drivers
        ):
            pass
        case _:
            return failed(1, "The parameters of verifier are not valid.")
    if machine.verified == drivers:
        return done("No settings were changed.\r\n")
    machine.changed()
    machine.verified = drivers
    return Completed(2, "The changes will take effect after you reboot this system.\r\n", "")


def certutil(machine: FakeWindows, arguments: list[str]) -> Completed:
    match arguments:
        case ["-addstore", "-f", store, path]:
            content = machine.files.get(path.lower())
            if content is None:
                return failed(ERROR_FILE_NOT_FOUND, "CertUtil: The system cannot find the file specified.")
            load = x509.load_pem_x509_certificate if b"BEGIN" in content else x509.load_der_x509_certificate
            try:
                thumbprint = load(content).fingerprint(SHA1()).hex()
            except ValueError:
                return failed(0x8009310B, "CertUtil: ASN1 bad tag value met.")
            machine.changed()
            machine.stores.setdefault(store.lower(), set()).add(thumbprint)
            return done(
                "Certificate added to store.\r\nCertUtil: -addstore command completed successfully.\r\n"
            )
        case ["-store", store, thumbprint]:
            if thumbprint.lower() in machine.stores.get(store.lower(), ()):
                digits = thumbprint.lower()
                shown = bytes.fromhex(digits).hex(" ") if machine.spaced_hashes else digits
                return done(f"{store}\r\nCert Hash(sha1): {shown}\r\nEncryption test passed\r\n")
            return failed(NTE_NOT_FOUND, "CertUtil: Object was not found.")
    return failed(0x80070057, "CertUtil: The parameter is incorrect.")


def schtasks(machine: FakeWindows, arguments: list[str]) -> Completed:
    options = _options(arguments[1:], flags={"/f", "/nh"})
    name = options.get("/tn", "")
    match arguments[:1]:
        case ["/create"] if set(options) >= {"/tn", "/tr", "/sc"} and options["/sc"] == "onstart":
            if set(options) - {"/tn", "/tr", "/sc", "/delay", "/ru", "/rl", "/f"}:
                return failed(1, "ERROR: Invalid argument/option.")
            if not re.fullmatch(r"\d{4}:\d{2}", options.get("/delay", "0000:00")):
                return failed(1, "ERROR: Invalid value for /DELAY option: mmmm:ss is expected.")
            if options.get("/ru") != "SYSTEM" or options.get("/rl", "limited") not in ("limited", "highest"):
                return failed(1, "ERROR: The user name or password is incorrect.")
            if len(options["/tr"]) > MAX_TASK_COMMAND:
                return failed(1, "ERROR: Value for '/tr' option cannot be more than 261 character(s).")
            machine.changed()
            machine.tasks[name] = options["/tr"]
            return done("SUCCESS: The scheduled task has successfully been created.\r\n")
        case ["/query"] if set(options) == {"/tn", "/fo", "/nh"} and options["/fo"] == "csv":
            if name in machine.tasks:
                return done(f'"\\{name}","N/A","Ready"\r\n')
            return failed(1, "ERROR: The system cannot find the file specified.")
        case ["/delete"] if set(options) == {"/tn", "/f"} and name in machine.tasks:
            machine.changed()
            del machine.tasks[name]
            return done("SUCCESS: The scheduled task was successfully deleted.\r\n")
    return failed(1, "ERROR: Invalid syntax.")


def _options(arguments: list[str], flags: set[str]) -> dict[str, str]:
    """`/name value` pairs and flags; a value that is missing makes the name one that nobody knows."""
    found, rest = {}, list(arguments)
    while rest:
        name = rest.pop(0)
        found[name] = "" if name in flags else rest.pop(0) if rest else "missing"
    return found


def cscript(machine: FakeWindows, arguments: list[str]) -> Completed:
    """`slmgr.vbs /ato`: needs the network; without it the licensing service's error is the exit code."""
    match [word.lower() for word in arguments]:
        case ["//nologo", r"c:\windows\system32\slmgr.vbs", "/ato"]:
            pass
        case _:
            return failed(1, "Input Error: Can not find script file.")
    if not machine.internet:
        return Completed(0xC004F074, "Fehler: 0xC004F074 Der Softwarelizenzierungsdienst ...\r\n", "")
    machine.changed()
    machine.licence |= {"LicenseStatus": 1, "GracePeriodRemaining": 180 * 24 * 60}
    machine.licence["EvaluationEndDate"] = "2027-05-29T00:00:00"
    return done("Das Produkt wurde erfolgreich aktiviert.\r\n")


def script(machine: FakeWindows, arguments: list[str]) -> Completed:
    """`cmd.exe /c FILE`: remembers that it ran; a file that says so fails."""
    match arguments:
        case ["/c", path] if path.lower() in machine.files:
            machine.ran.append(path)
            wrong = b"exit /b 3" in machine.files[path.lower()]
            return Completed(3 if wrong else 0, "what it printed", "")
    return failed(1, "The system cannot find the path specified.")


def shutdown(machine: FakeWindows, arguments: list[str]) -> Completed:
    match arguments:
        case ["/r" | "/s" as how, "/f", "/t", seconds] if seconds.isdigit():
            machine.power = "restarting" if how == "/r" else "off"
            return done()
    return failed(1, "Usage: shutdown [/i | /l | /s | /sg | /r | /g | /a | /p | /h | /e | /o] [/hybrid] ...")


def icacls(machine: FakeWindows, arguments: list[str]) -> Completed:
    """`/setowner`, or `/inheritance:r` with `/grant`; by name or by `*` and number."""
    match arguments:
        case [path, "/setowner", who]:
            grants: list[str] = []
        case [path, "/inheritance:r", "/grant", *grants] if grants:
            who = ""
        case _:
            return failed(87, "Invalid parameter")
    if path.lower() not in machine.files:
        return failed(2, f"{path}: The system cannot find the file specified.")
    named = [grant.rpartition(":")[0] for grant in grants] or [who]
    for name in named:
        if name.lower() not in SIDS:
            return failed(1332, f"{name}: No mapping between account names and security IDs was done.")
    if any(not grant.endswith(":F") for grant in grants):
        return failed(87, "Invalid parameter")
    machine.changed()
    owner, rights = machine.access.get(path.lower(), machine.inherited_access)
    if who:
        owner = SIDS[who.lower()]
    else:
        rights = "PAI" + "".join(f"(A;;FA;;;{SIDS[name.lower()]})" for name in named)
    machine.access[path.lower()] = owner, rights
    return done(f"processed file: {path}\r\nSuccessfully processed 1 files; Failed 0 files\r\n")
