"""What Windows Setup reads in an answer file, and which page it stops with (Microsoft Learn: Unattend)."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass

NAMESPACE = "{urn:schemas-microsoft-com:unattend}"
PASSES = ("windowsPE", "offlineServicing", "specialize", "oobeSystem")


@dataclass(frozen=True)
class Partition:
    """size: MiB; 0 takes the rest of the disk."""

    kind: str
    size: int


class ErrorPage(Exception):  # noqa: N818 - no error of this program
    """Setup stops, and shows this until somebody answers."""


class Answers:
    """One answer file.

    Raises:
        ErrorPage: it is no XML, or names a pass that does not exist.
    """

    def __init__(self, content: bytes) -> None:
        try:
            root = ET.fromstring(content)
        except ET.ParseError as error:
            raise ErrorPage(f"Windows could not parse or process the unattend answer file: {error}") from None
        self._passes = {one.get("pass"): one for one in root.findall(f"{NAMESPACE}settings")}
        if root.tag != f"{NAMESPACE}unattend" or not set(self._passes) <= set(PASSES):
            raise ErrorPage("The unattend answer file contains an invalid pass.")

    def _all(self, phase: str, path: str) -> list[ET.Element]:
        named = "/".join(f"{NAMESPACE}{part}" for part in path.split("/"))
        return self._passes[phase].findall(f"{NAMESPACE}component/{named}")

    def text(self, phase: str, path: str) -> str:
        """The text of an element that there is once; empty if there is none."""
        found = self._all(phase, path)
        if len(found) > 1:
            raise ErrorPage(f"The setting {path} is there {len(found)} times.")
        return (found[0].text or "") if found else ""

    def commands(self, phase: str) -> Iterator[str]:
        """RunSynchronous of a pass, in order."""
        yield from self._ordered(phase, "RunSynchronous/RunSynchronousCommand", "Path")

    def logon_commands(self) -> Iterator[str]:
        """What the first logon runs, in order."""
        yield from self._ordered("oobeSystem", "FirstLogonCommands/SynchronousCommand", "CommandLine")

    def _ordered(self, phase: str, path: str, line: str) -> Iterator[str]:
        rows = self._all(phase, path)
        orders = [int(row.findtext(f"{NAMESPACE}Order", "0")) for row in rows]
        if sorted(orders) != list(range(1, len(rows) + 1)):
            raise ErrorPage(f"{path} has the orders {orders}.")
        for _, row in sorted(zip(orders, rows, strict=True), key=lambda pair: pair[0]):
            yield row.findtext(f"{NAMESPACE}{line}", "")

    def partitions(self) -> list[Partition]:
        """What the one disk is to have; the first is EFI's, and Windows goes where InstallTo says.

        Raises:
            ErrorPage: Setup could not install there.
        """
        if self.text("windowsPE", "DiskConfiguration/Disk/WillWipeDisk") != "true":
            raise ErrorPage("The disk is not wiped.")
        rows = self._all("windowsPE", "DiskConfiguration/Disk/CreatePartitions/CreatePartition")
        rows.sort(key=lambda row: int(row.findtext(f"{NAMESPACE}Order", "0")))
        found = [
            Partition(row.findtext(f"{NAMESPACE}Type", ""), int(row.findtext(f"{NAMESPACE}Size", "0")))
            for row in rows
        ]
        formats = {
            int(row.findtext(f"{NAMESPACE}PartitionID", "0")): row.findtext(f"{NAMESPACE}Format", "")
            for row in self._all("windowsPE", "DiskConfiguration/Disk/ModifyPartitions/ModifyPartition")
        }
        target = int(self.text("windowsPE", "ImageInstall/OSImage/InstallTo/PartitionID"))
        if not (0 < target <= len(found) and found[target - 1].kind == "Primary"):
            raise ErrorPage(f"Windows cannot be installed to partition {target}.")
        if formats.get(target) != "NTFS" or formats.get(1) != "FAT32" or found[0].kind != "EFI":
            raise ErrorPage("The partitions are not those that Windows needs under UEFI.")
        return found

    def require(self, indexes: list[int], evaluation: bool) -> None:
        """Checks what Setup asks a person for where the answer is missing or wrong.

        Args:
            indexes: images that install.wim has.
            evaluation: of the installation media, which take no product key.
        """
        if self.text("windowsPE", "UserData/AcceptEula") != "true":
            raise ErrorPage("License terms: nobody has accepted them.")
        index = self.text("windowsPE", "ImageInstall/OSImage/InstallFrom/MetaData/Value")
        if index not in map(str, indexes):
            raise ErrorPage(f"Select the operating system: there is no image {index}.")
        keys = self._all("windowsPE", "UserData/ProductKey/Key")
        if evaluation and keys:
            raise ErrorPage("Setup has failed to validate the product key.")
        if not evaluation and not keys:
            raise ErrorPage("Enter the product key.")

    def account(self) -> tuple[str, str]:
        """Name and password of the account that is logged on.

        Raises:
            ErrorPage: the account, its password or the automatic logon do not fit together.
        """
        name = self.text("oobeSystem", "UserAccounts/LocalAccounts/LocalAccount/Name")
        if not name or name.lower() == self.text("specialize", "ComputerName").lower():
            raise ErrorPage(f"The account {name!r} cannot be created.")
        made = self._password("UserAccounts/LocalAccounts/LocalAccount/Password/Value")
        used = self._password("AutoLogon/Password/Value")
        if self.text("oobeSystem", "AutoLogon/Username") != name or made != used or not made:
            raise ErrorPage("The user name or password is incorrect.")
        if not int(self.text("oobeSystem", "AutoLogon/LogonCount") or "0"):
            raise ErrorPage("AutoLogon has no LogonCount.")
        return name, made

    def _password(self, path: str) -> str:
        text = base64.b64decode(self.text("oobeSystem", path)).decode("utf-16-le")
        if not text.endswith("Password"):
            raise ErrorPage(f"{path} is no hidden password.")
        return text.removesuffix("Password")
