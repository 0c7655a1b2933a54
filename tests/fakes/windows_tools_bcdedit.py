"""bcdedit as it is documented: its grammar, what it refuses, and what it prints.

Microsoft Learn: BCDEdit /dbgsettings, /debug, /set, TESTSIGNING boot configuration option.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address

from provision.machine import Completed

BOOLEANS = {"on": "Yes", "yes": "Yes", "true": "Yes", "1": "Yes"} | dict.fromkeys(
    ("off", "no", "false", "0"), "No"
)
BOOLEAN_ELEMENTS = {"testsigning", "debug", "recoveryenabled", "nocrashautoreboot", "nointegritychecks"}
POLICIES = (
    "DisplayAllFailures",
    "IgnoreAllFailures",
    "IgnoreShutdownFailures",
    "IgnoreBootFailures",
    "IgnoreCheckpointFailures",
    "DisplayShutdownFailures",
    "DisplayBootFailures",
    "DisplayCheckpointFailures",
)
PROTECTED = {"testsigning", "debug", "nointegritychecks"}
SECURE_BOOT = "The value is protected by Secure Boot policy and cannot be modified or deleted.\r\n"
DONE = "The operation completed successfully.\r\n"


class RefusedError(Exception):
    """The tool refuses its arguments; carries the text that it prints."""


class Bcdedit:
    """The boot configuration of a machine with one Windows: {current} and {default} are the same entry.

    Attributes:
        entry: elements of the Windows entry. debugger: elements of {dbgsettings}; as after an installation.
    """

    def __init__(self, secure_boot: bool) -> None:
        self._secure_boot = secure_boot
        self.entry = {"description": "Windows 11", "recoveryenabled": "Yes", "nx": "OptIn"}
        self.debugger = {"debugtype": "Local", "debugstart": "Active", "noumex": "Yes"}

    def run(self, arguments: list[str]) -> Completed:
        try:
            return Completed(0, self._run(arguments), "")
        except RefusedError as error:
            return Completed(1, f"{error}", "")

    def _run(self, arguments: list[str]) -> str:
        command, rest = arguments[0].lower(), arguments[1:]
        if command == "/enum":
            return self._enum(rest)
        if command == "/debug":
            return self._set(rest[:-1], "debug", rest[-1:])
        if command == "/set":
            name = [rest.pop(0)] if rest and rest[0].startswith("{") else []
            return self._set(name, rest[0].lower() if rest else "", rest[1:])
        if command == "/dbgsettings":
            return self._settings(list(rest)) if rest else _listed(self.debugger)
        raise RefusedError('The specified command is not supported.\r\nRun "bcdedit /?" for help.\r\n')

    def _store(self, identifier: str) -> dict[str, str]:
        if identifier in ("{current}", "{default}"):
            return self.entry
        if identifier == "{dbgsettings}":
            return self.debugger
        raise RefusedError("The entry could not be found: the identifier is not valid.\r\n")

    def _enum(self, rest: list[str]) -> str:
        identifier = rest[0] if rest else "{current}"
        heading = "Windows Boot Loader\r\n-------------------\r\n"
        return f"\r\n{heading}identifier              {identifier}\r\n" + _listed(self._store(identifier))

    def _set(self, identifier: list[str], element: str, values: list[str]) -> str:
        store = self._store(identifier[0]) if identifier else self.entry
        if len(values) != 1 or not element:
            raise RefusedError("The set command specified is not valid.\r\n")
        if self._secure_boot and element in PROTECTED:
            raise RefusedError(f"An error has occurred setting the element data.\r\n{SECURE_BOOT}")
        value = values[0]
        if element in BOOLEAN_ELEMENTS and store is self.entry:
            stored = BOOLEANS.get(value.lower())
        elif element == "bootstatuspolicy" and store is self.entry:
            stored = next((policy for policy in POLICIES if policy.lower() == value.lower()), None)
        elif element == "busparams" and store is self.debugger:
            stored = value if _is_bus_address(value) else None
        else:
            raise RefusedError("The element data type specified is not recognized.\r\n")
        if stored is None:
            raise RefusedError("The integer data is not valid as specified.\r\n")
        store[element] = stored
        return DONE

    def _settings(self, words: list[str]) -> str:
        if self._secure_boot:
            raise RefusedError(f"An error has occurred setting the element data.\r\n{SECURE_BOOT}")
        kind = words.pop(0).lower()
        noumex = _flag(words, "/noumex")
        if kind == "net":
            self.debugger = _net(words)
        elif kind == "serial":
            self.debugger = _serial(words)
        else:
            raise RefusedError("The debug type specified is not valid.\r\n")
        if noumex:
            self.debugger["noumex"] = "Yes"
        return DONE


def _net(words: list[str]) -> dict[str, str]:
    no_dhcp, new_key = _flag(words, "nodhcp"), _flag(words, "newkey")
    options = _options(words, {"hostip", "port", "key"})
    if not {"hostip", "port"} <= set(options) or ("key" in options) == new_key:
        raise RefusedError("The set command specified is not valid.\r\n")
    try:
        IPv4Address(options["hostip"])
    except AddressValueError:
        raise RefusedError("The host IP address is not valid.\r\n") from None
    if not options["port"].isdigit() or not 49152 <= int(options["port"]) <= 65535:
        raise RefusedError("The port must be from 49152 to 65535.\r\n")
    key = options.get("key", "1a.2b.3c.4d")
    parts = key.split(".")
    words_fit = all(re.fullmatch("[0-9a-z]{1,13}", part) and int(part, 36) < 1 << 64 for part in parts)
    if len(parts) != 4 or not words_fit:
        raise RefusedError("The key is not valid.\r\n")
    stored = {"key": key, "debugtype": "NET", "hostip": options["hostip"], "port": options["port"]}
    return stored | {"dhcp": "No" if no_dhcp else "Yes"}


def _serial(words: list[str]) -> dict[str, str]:
    options = _options(words, {"debugport", "baudrate"})
    port, rate = options.get("debugport", "1"), options.get("baudrate", "115200")
    if not re.fullmatch("[1-9]", port) or rate not in ("9600", "19200", "38400", "57600", "115200"):
        raise RefusedError("The integer data is not valid as specified.\r\n")
    return {"debugtype": "Serial", "debugport": port, "baudrate": rate}


def _options(words: list[str], known: set[str]) -> dict[str, str]:
    found = {}
    for word in words:
        name, colon, value = word.partition(":")
        if not colon or not value or name.lower() not in known:
            raise RefusedError(f"The parameter {word} is not valid.\r\n")
        found[name.lower()] = value
    return found


def _flag(words: list[str], flag: str) -> bool:
    given = flag in words
    words[:] = [word for word in words if word != flag]
    return given


def _is_bus_address(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 3 and all(
        part.isdigit() and int(part) <= limit for part, limit in zip(parts, (255, 31, 7), strict=True)
    )


def _listed(elements: dict[str, str]) -> str:
    return "".join(f"{name:<24}{value}\r\n" for name, value in elements.items()) + DONE
