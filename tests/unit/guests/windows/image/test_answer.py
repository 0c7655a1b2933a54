"""The answer file of every profile, checked against Setup's requirements and not against its template."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator

import pytest

from harness.guests.windows.image.answer import DRIVERS, START, Answers
from harness.guests.windows.image.media import Choice
from harness.guests.windows.image.wim import WimImage
from harness.guests.windows.spec.profile import WindowsProfile
from harness.project.profiles import shipped
from tests.fakes.profiles import windows_profile

NAMESPACE = "{urn:schemas-microsoft-com:unattend}"
ACTION = "{http://schemas.microsoft.com/WMIConfig/2002/State}action"
PASSWORD = 'Aa0&<>"-_secret'
PASSES = ["windowsPE", "offlineServicing", "specialize", "oobeSystem"]
CLIENT_ONLY = {"Microsoft-Windows-SystemRestore-Main", "Microsoft-Windows-SecureStartup-FilterDriver"}
SERVER_ONLY = {"Microsoft-Windows-ServerManager-SvrMgrNc", "Microsoft-Windows-OutOfBoxExperience"}
EVERYWHERE = {
    "windowsPE": {"Microsoft-Windows-International-Core-WinPE", "Microsoft-Windows-Setup"},
    "offlineServicing": {"Microsoft-Windows-LUA-Settings"},
    "specialize": {
        "Microsoft-Windows-Shell-Setup",
        "Microsoft-Windows-Deployment",
        "Microsoft-Windows-Security-SPP-UX",
        "Microsoft-Windows-ErrorReportingCore",
    },
    "oobeSystem": {"Microsoft-Windows-International-Core", "Microsoft-Windows-Shell-Setup"},
}
"""Components that are there for every profile, by pass."""
PROFILES = {profile.name: profile for profile in shipped(WindowsProfile)}


def image(profile: WindowsProfile, edition: str) -> WimImage:
    build = profile.install.newest_build
    return WimImage(3, "name", edition, profile.install.kind, "amd64", build, 1, ("de-DE",), 17 << 30)


def answers(profile: WindowsProfile, edition: str = "", *, drivers: bool = False) -> str:
    edition = edition or next(iter(profile.install.editions))
    choice = Choice(image(profile, edition), profile.install.editions[edition], "de-DE")
    return Answers(profile, choice, PASSWORD, drivers).render()


def variants() -> Iterator[tuple[WindowsProfile, str, bool]]:
    """Every profile with both firmwares, with and without virtio drivers."""
    for profile in PROFILES.values():
        for firmware in ("uefi", "bios"):
            for drivers in (False, True):
                hardware = profile.hardware.model_copy(update={"firmware": firmware})
                yield profile.model_copy(update={"hardware": hardware}), firmware, drivers


every_variant = pytest.mark.parametrize(
    ("profile", "firmware", "drivers"),
    list(variants()),
    ids=lambda value: getattr(value, "name", str(value)),
)
every_profile = pytest.mark.parametrize("profile", list(PROFILES.values()), ids=list(PROFILES))


class Document:
    """An answer file by its passes and components."""

    def __init__(self, text: str) -> None:
        self.root = ET.fromstring(text)
        self.passes = [element.get("pass", "") for element in self.root]
        self.components = {
            (element.get("pass", ""), component.get("name", "")): component
            for element in self.root
            for component in element
        }

    def find(self, where: str, component: str, path: str) -> list[ET.Element]:
        full = "/".join(NAMESPACE + part for part in path.split("/"))
        return self.components[where, component].findall(full)

    def text(self, where: str, component: str, path: str) -> str:
        (element,) = self.find(where, component, path)
        return element.text or ""


def setup_text(document: Document, path: str) -> str:
    return document.text("windowsPE", "Microsoft-Windows-Setup", path)


def test_there_is_a_profile_for_each_windows() -> None:
    years = {f"windows-server-{year}" for year in (2019, 2022, 2025)}
    assert set(PROFILES) == {"windows-10", "windows-11", *years}


@every_variant
def test_passes_and_components_are_those_of_the_edition(
    profile: WindowsProfile, firmware: str, drivers: bool
) -> None:
    document = Document(answers(profile, drivers=drivers))
    assert document.root.tag == f"{NAMESPACE}unattend"
    assert document.passes == PASSES
    server = profile.install.kind != "Client"
    found = {name for _, name in document.components}
    assert not found & (CLIENT_ONLY if server else SERVER_ONLY)
    assert found >= (SERVER_ONLY if server else CLIENT_ONLY)
    assert ("windowsPE", "Microsoft-Windows-PnpCustomizationsWinPE") in document.components or not drivers
    for where, names in EVERYWHERE.items():
        assert {name for part, name in document.components if part == where} >= names
    for component in document.components.values():
        assert component.attrib == {
            "name": component.get("name"),
            "processorArchitecture": "amd64",
            "publicKeyToken": "31bf3856ad364e35",
            "language": "neutral",
            "versionScope": "nonSxS",
        }


@every_variant
def test_orders_are_contiguous_and_elements_of_lists_are_added(
    profile: WindowsProfile, firmware: str, drivers: bool
) -> None:
    root = ET.fromstring(answers(profile, drivers=drivers))
    lists = 0
    for parent in root.iter():
        orders = [int(child.findtext(f"{NAMESPACE}Order", "0")) for child in parent]
        if any(orders):
            assert orders == list(range(1, len(orders) + 1))
            assert all(child.get(ACTION) == "add" for child in parent)
            lists += 1
    assert lists == 5  # two of partitions, three of commands


@every_variant
def test_the_disk_is_laid_out_for_the_firmware(profile: WindowsProfile, firmware: str, drivers: bool) -> None:
    document = Document(answers(profile, drivers=drivers))
    disk = "DiskConfiguration/Disk"
    assert setup_text(document, f"{disk}/DiskID") == "0"
    assert setup_text(document, f"{disk}/WillWipeDisk") == "true"
    found = document.find("windowsPE", "Microsoft-Windows-Setup", f"{disk}/CreatePartitions/CreatePartition")
    kinds = [element.findtext(f"{NAMESPACE}Type") for element in found]
    target = setup_text(document, "ImageInstall/OSImage/InstallTo/PartitionID")
    if firmware == "uefi":
        assert (kinds, target) == (["EFI", "MSR", "Primary"], "3")
    else:
        assert (kinds, target) == (["Primary", "Primary"], "2")
    modified = document.find(
        "windowsPE", "Microsoft-Windows-Setup", f"{disk}/ModifyPartitions/ModifyPartition"
    )
    rows = [{child.tag.removeprefix(NAMESPACE): child.text for child in element} for element in modified]
    system, windows = rows
    assert (windows["PartitionID"], windows["Format"], windows["Letter"]) == (target, "NTFS", "C")
    assert system["Format"] == ("FAT32" if firmware == "uefi" else "NTFS")
    assert system.get("Active") == (None if firmware == "uefi" else "true")
    # Only the last partition takes the rest, and every other has a size.
    assert [element.findtext(f"{NAMESPACE}Extend") for element in found[:-1]] == [None] * (len(found) - 1)
    assert found[-1].findtext(f"{NAMESPACE}Extend") == "true"


@every_profile
def test_the_image_is_chosen_by_its_index(profile: WindowsProfile) -> None:
    document = Document(answers(profile))
    choice = "ImageInstall/OSImage/InstallFrom/MetaData"
    assert setup_text(document, f"{choice}/Key") == "/IMAGE/INDEX"
    assert setup_text(document, f"{choice}/Value") == "3"


@every_profile
def test_evaluation_media_get_no_key_and_all_others_theirs(profile: WindowsProfile) -> None:
    for edition, key in profile.install.editions.items():
        document = Document(answers(profile, edition))
        assert setup_text(document, "UserData/AcceptEula") == "true"
        assert setup_text(document, "UserData/ProductKey/WillShowUI") == "OnError"
        found = document.find("windowsPE", "Microsoft-Windows-Setup", "UserData/ProductKey/Key")
        if edition.endswith("Eval"):
            assert found == []
        else:
            assert [element.text for element in found] == [key]
            assert re.fullmatch(r"[A-Z0-9]{5}(-[A-Z0-9]{5}){4}", key)


def commands(document: Document, where: str, component: str) -> list[str]:
    found = document.find(where, component, "RunSynchronous/RunSynchronousCommand/Path")
    return [element.text or "" for element in found]


@every_profile
def test_requirements_are_bypassed_only_where_the_profile_says(profile: WindowsProfile) -> None:
    lines = commands(Document(answers(profile)), "windowsPE", "Microsoft-Windows-Setup")
    bypassed = [re.search(r"LabConfig\" /v (\w+) /t REG_DWORD /d 1 /f$", line) for line in lines]
    assert [match[1] for match in bypassed if match] == list(profile.install.bypass)
    assert bool(profile.install.bypass) == (profile.name == "windows-11")


def test_a_machine_with_a_tpm_has_it_checked() -> None:
    profile = PROFILES["windows-11"]
    hardware = profile.hardware.model_copy(update={"tpm": True})
    text = answers(profile.model_copy(update={"hardware": hardware}))
    assert ("BypassTPMCheck" in text, "BypassSecureBootCheck" in text) == (False, True)


@every_profile
def test_each_pass_tells_the_host_on_the_journals_port(profile: WindowsProfile) -> None:
    document = Document(answers(profile))
    setup = commands(document, "windowsPE", "Microsoft-Windows-Setup")
    specialize = commands(document, "specialize", "Microsoft-Windows-Deployment")
    assert '"step":"windowsPE"' in setup[0]
    assert '"step":"specialize"' in specialize[0]
    for line in (setup[0], specialize[0]):
        assert line.startswith("cmd.exe /c echo {")
        assert line.endswith(r">\\.\COM2 & exit 0")  # Setup goes on where the port cannot be opened


@every_profile
def test_the_first_network_is_private_and_clients_ask_for_none(profile: WindowsProfile) -> None:
    lines = commands(Document(answers(profile)), "specialize", "Microsoft-Windows-Deployment")
    key = r"\NetworkList\Signatures\FirstNetwork"
    assert sum(f'{key}" /v Category /t REG_DWORD /d 1 /f' in line for line in lines) == 1
    assert any("BypassNRO" in line for line in lines) == (profile.install.kind == "Client")


@every_variant
def test_commands_fit_their_elements(profile: WindowsProfile, firmware: str, drivers: bool) -> None:
    """Path holds 259 characters, CommandLine 1024."""
    root = ET.fromstring(answers(profile, drivers=drivers))
    for tag, limit in (("Path", 259), ("CommandLine", 1024)):
        found = [element.text or "" for element in root.iter(f"{NAMESPACE}{tag}")]
        assert found
        assert all(len(text) <= limit and "\n" not in text for text in found)


@every_variant
def test_drivers_are_sought_on_every_likely_letter(
    profile: WindowsProfile, firmware: str, drivers: bool
) -> None:
    if not drivers:
        return
    document = Document(answers(profile, drivers=True))
    path = "DriverPaths/PathAndCredentials"
    rows = document.find("windowsPE", "Microsoft-Windows-PnpCustomizationsWinPE", path)
    keys = [row.get("{http://schemas.microsoft.com/WMIConfig/2002/State}keyValue") for row in rows]
    assert keys == [str(number) for number in range(1, len(rows) + 1)]
    found = [row.findtext(f"{NAMESPACE}Path") for row in rows]
    assert {f"{letter}:\\{DRIVERS}" for letter in "DEFG"} <= set(found)


@every_profile
def test_the_languages_are_the_medias_for_texts_alone(profile: WindowsProfile) -> None:
    document = Document(answers(profile))
    core = "Microsoft-Windows-International-Core"
    assert document.text("windowsPE", f"{core}-WinPE", "SetupUILanguage/UILanguage") == "de-DE"
    for where, component in (("windowsPE", f"{core}-WinPE"), ("oobeSystem", core)):
        found = {
            name: document.text(where, component, name)
            for name in ("InputLocale", "SystemLocale", "UILanguage", "UserLocale")
        }
        assert found == {
            "InputLocale": "0409:00000409",
            "SystemLocale": "en-US",
            "UILanguage": "de-DE",
            "UserLocale": "en-US",
        }


def decoded(value: str) -> str:
    return base64.b64decode(value).decode("utf-16-le")


@every_profile
def test_accounts_and_their_passwords(profile: WindowsProfile) -> None:
    text = answers(profile)
    document, shell = Document(text), "Microsoft-Windows-Shell-Setup"

    def shell_text(path: str) -> str:
        return document.text("oobeSystem", shell, path)

    account = "UserAccounts/LocalAccounts/LocalAccount"
    assert shell_text(f"{account}/Group") == "Administrators"
    assert shell_text(f"{account}/Name") == shell_text("AutoLogon/Username") == "winvm"
    assert decoded(shell_text(f"{account}/Password/Value")) == f"{PASSWORD}Password"
    assert decoded(shell_text("AutoLogon/Password/Value")) == f"{PASSWORD}Password"
    assert int(shell_text("AutoLogon/LogonCount")) > 100
    computer = document.text("specialize", shell, "ComputerName")
    assert computer.lower() != "winvm"  # Windows takes no account of the computer's own name
    assert re.fullmatch(r"[A-Za-z0-9-]{1,15}", computer)
    assert shell_text("AutoLogon/Enabled") == "true"
    administrator = document.find("oobeSystem", shell, "UserAccounts/AdministratorPassword/Value")
    assert [decoded(element.text or "") for element in administrator] == (
        [] if profile.install.kind == "Client" else [f"{PASSWORD}AdministratorPassword"]
    )
    for element in document.root.iter(f"{NAMESPACE}PlainText"):
        assert element.text == "false"


@every_profile
def test_no_page_of_the_first_start_waits_for_anybody(profile: WindowsProfile) -> None:
    document, shell = Document(answers(profile)), "Microsoft-Windows-Shell-Setup"
    (oobe,) = document.find("oobeSystem", shell, "OOBE")
    found = {element.tag.removeprefix(NAMESPACE): element.text for element in oobe}
    wanted = {
        "HideEULAPage": "true",
        "HideOEMRegistrationScreen": "true",
        "HideOnlineAccountScreens": "true",
        "HideWirelessSetupInOOBE": "true",
        "ProtectYourPC": "3",
        "NetworkLocation": "Work",
    }
    if profile.install.kind != "Client":
        wanted["HideLocalAccountScreen"] = "true"
    assert found == wanted


@every_profile
def test_the_first_logon_looks_for_the_cd_on_every_letter(profile: WindowsProfile) -> None:
    document, shell = Document(answers(profile)), "Microsoft-Windows-Shell-Setup"
    path = "FirstLogonCommands/SynchronousCommand/CommandLine"
    line = document.text("oobeSystem", shell, path)
    letters = re.search(r"for %i in \(([A-Z ]+)\) do if exist %i:\\(\S+) call %i:\\(\S+)$", line)
    assert letters
    assert set(letters[1].split()) >= set("DEFG")
    assert letters[2] == letters[3] == START


def test_no_secret_shows_in_what_is_printed() -> None:
    profile = PROFILES["windows-11"]
    made = Answers(profile, Choice(image(profile, "EnterpriseEval"), "", "en-US"), PASSWORD)
    assert PASSWORD not in repr(made)


def test_what_the_media_say_is_escaped() -> None:
    profile = PROFILES["windows-11"]
    choice = Choice(image(profile, "EnterpriseEval"), "A<B>&\"'", "en-US</UILanguage>")
    document = Document(Answers(profile, choice, PASSWORD).render())
    assert setup_text(document, "UserData/ProductKey/Key") == "A<B>&\"'"


def test_the_answer_file_of_windows_11(golden: Callable[[str, str], None]) -> None:
    profile = PROFILES["windows-11"]
    choice = Choice(image(profile, "EnterpriseEval"), "", "en-US")
    golden("windows/autounattend-windows-11.xml", Answers(profile, choice, "not a secret").render())


def test_a_check_that_the_machine_passes_is_not_bypassed() -> None:
    profile = windows_profile("windows-11")
    hardware = profile.hardware.model_copy(update={"secure_boot": True, "tpm": True, "kd": "none"})
    image = WimImage(1, "", "EnterpriseEval", "Client", "amd64", 26100, 1, ("en-US",), 0)
    changed = profile.model_copy(update={"hardware": hardware})
    text = Answers(changed, Choice(image, "", "en-US"), "password").render()
    assert "BypassRAMCheck" in text
    assert "BypassSecureBootCheck" not in text
    assert "BypassTPMCheck" not in text
