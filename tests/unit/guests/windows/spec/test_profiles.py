"""The shipped Windows profiles, and the errors of invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.guests.windows.spec.profile import WindowsProfile
from harness.host.resources import vm_folder
from harness.project.profile import CAPABILITIES
from harness.project.profiles import find_profile, load_profile
from tests.fakes.profiles import windows_profile

WINDOWS = sorted(file.stem for file in (vm_folder() / "profiles").glob("windows-*.toml"))


def test_there_is_a_profile_for_each_windows() -> None:
    assert WINDOWS == [
        "windows-10",
        "windows-11",
        "windows-server-2019",
        "windows-server-2022",
        "windows-server-2025",
    ]


@pytest.mark.parametrize("name", WINDOWS)
def test_a_windows_profile_is_whole(name: str) -> None:
    profile = windows_profile(name)
    assert profile.name == name
    assert profile.capabilities == CAPABILITIES
    assert set(profile.hardware.forwards) == {"winrm", "ssh"}
    editions = profile.install.editions
    assert any(edition.endswith("Eval") for edition in editions), "evaluation media must be accepted"
    assert any(editions.values()), "so must volume or retail media"


def test_loading_gives_the_class_of_the_guest() -> None:
    assert isinstance(find_profile("windows-11"), WindowsProfile)
    assert not isinstance(find_profile("wine"), WindowsProfile)
    with pytest.raises(ConfigurationError, match="not one of a Windows guest"):
        windows_profile("wine")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('kd = "serial"', 'kd = "usb"', "hardware.kd"),
        ('firmware = "uefi"', "", "hardware.firmware"),
        ('kd = "serial"', 'kd = "kdnet"\nhyperv_vendor = "Microsoft Hv"', "nothing to a KDNET NIC"),
        ("vcpus = 2", 'vcpus = 2\nhyperv_vendor = "thirteen char"', "hardware.hyperv_vendor"),
        ("vcpus = 2", 'vcpus = 2\nmachine = "pc"', "hardware.machine"),
        ("oldest_build = 22621", "oldest_build = 30000", "newer than newest_build"),
        ('EnterpriseEval = ""', 'EnterpriseEval = "NPPR9-FWDCX-D2C8J-H872K-2YT43"', "no product key"),
        ('Professional = "W269N-WFGWX-YVC9B-4J6C9-T83GX"', 'Professional = ""', "all others need one"),
        ('"BypassTPMCheck"', '"BypassEverything"', "install.bypass"),
        ('dump = "kernel"', 'dump = "huge"', "provision.dump"),
        ('dump = "kernel"', 'dump = "complete"\ndump_file_mib = 4352', "dump_file_mib of 4353"),
        ('guest = "windows"', 'guest = "wine"', "install"),
        ('guest = "windows"', 'guest = "windows"\ntransport = "serial"', "transport"),
    ],
)
def test_a_wrong_windows_profile_says_where(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = (vm_folder() / "profiles" / "windows-11.toml").read_text(encoding="utf-8")
    assert before in text
    file = tmp_path / "mine.toml"
    file.write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        load_profile(file)
