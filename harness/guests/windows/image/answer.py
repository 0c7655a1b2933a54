"""The answer file: `vm/windows/autounattend.xml.j2` rendered for one profile and one edition of its ISO.

Setup finds it in the root of the second CD. The passwords in it are encoded, not encrypted: the file, and any
medium that holds it, must be kept as secret as the passwords.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import jinja2

from harness.guests.windows.image.media import Choice
from harness.guests.windows.spec.profile import JOURNAL_COM, WindowsProfile
from harness.host.resources import vm_folder
from harness.images.base import USER

TEMPLATE = "windows/autounattend.xml.j2"
COMPUTER = "WINVM-GUEST"
"""The computer's name; Windows accepts no account of the same name."""
DRIVERS = "drivers"
"""Folder of the configuration ISO that holds the drivers Setup needs."""
START = r"winvm\start.cmd"
"""What the first logon runs, on the configuration ISO."""
LETTERS = "DEFGHI"
"""Drive letters that a CD may have: which is the next free one depends on the disks."""

_LABCONFIG = r"HKLM\SYSTEM\Setup\LabConfig"
_FIRST_NETWORK = (
    r"HKLM\SOFTWARE\Policies\Microsoft\Windows NT\CurrentVersion\NetworkList\Signatures\FirstNetwork"
)
_OOBE = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\OOBE"
_OOBE_POLICY = r"HKLM\SOFTWARE\Policies\Microsoft\Windows\OOBE"

Command = tuple[str, str]
"""Description and command line."""


@dataclass(frozen=True)
class Answers:
    """What an answer file depends on.

    Attributes:
        password: of the accounts `USER` and, on servers, Administrator.
        drivers: whether the configuration ISO has a folder `DRIVERS`.
    """

    profile: WindowsProfile
    choice: Choice
    password: str = field(repr=False)
    drivers: bool = False

    @property
    def _bypassed(self) -> list[str]:
        """Setup's checks that this machine would not pass."""
        hardware = self.profile.hardware
        there = {"BypassTPMCheck": hardware.tpm, "BypassSecureBootCheck": hardware.secure_boot}
        passed = {name for name, passes in there.items() if passes}
        return [name for name in self.profile.install.bypass if name not in passed]

    def render(self) -> str:
        """The XML document."""
        server = self.profile.install.kind != "Client"
        environment = jinja2.Environment(
            autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
        )
        template = environment.from_string((vm_folder() / TEMPLATE).read_text(encoding="utf-8"))
        return template.render(
            language=self.choice.language,
            driver_paths=[f"{letter}:\\{DRIVERS}" for letter in LETTERS] if self.drivers else [],
            uefi=self.profile.hardware.firmware == "uefi",
            server=server,
            index=self.choice.image.index,
            product_key=self.choice.product_key,
            setup_commands=[
                _phase("windowsPE"),
                *(_registry(_LABCONFIG, name, 1) for name in self._bypassed),
            ],
            specialize_commands=[
                _phase("specialize"),
                _registry(_FIRST_NETWORK, "Category", 1),  # private: WinRM is refused on a public network
                *([] if server else _CLIENT_PAGES),
            ],
            logon_commands=[("winvm: provisioning", _first_logon())],
            computer=COMPUTER,
            user=USER,
            user_password=encoded(self.password, "Password"),
            administrator_password=encoded(self.password, "AdministratorPassword"),
        )


def encoded(password: str, element: str) -> str:
    """A password in the form that Windows System Image Manager writes with `PlainText` false."""
    return base64.b64encode((password + element).encode("utf-16-le")).decode("ascii")


def _phase(name: str) -> Command:
    """Reports Setup's pass to the host. Setup goes on even if the port cannot be written to."""
    line = f'{{"step":"{name}","phase":"setup","state":"running"}}'
    return f"winvm: journal, {name}", f"cmd.exe /c echo {line}>\\\\.\\COM{JOURNAL_COM} & exit 0"


def _registry(key: str, name: str, value: int) -> Command:
    return f"winvm: {name}", f'reg.exe add "{key}" /v {name} /t REG_DWORD /d {value} /f'


_CLIENT_PAGES = [
    _registry(_OOBE, "BypassNRO", 1),  # no page that wants a network
    _registry(_OOBE_POLICY, "DisablePrivacyExperience", 1),  # no privacy page at the first logon
]


def _first_logon() -> str:
    letters = " ".join(LETTERS)
    return f"cmd.exe /c for %i in ({letters}) do if exist %i:\\{START} call %i:\\{START}"
