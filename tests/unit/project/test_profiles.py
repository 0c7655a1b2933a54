"""Where profiles are found, what one that extends another says, and how wrong ones are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.bundle.manifest import profile_document
from harness.cli import Invocation
from harness.commands.image import image
from harness.errors import ConfigurationError
from harness.guests.windows.spec.profile import WindowsProfile
from harness.project.profiles import LARGEST_FILE, LONGEST_CHAIN, find_profile
from tests.fakes.profiles import windows_profile

SHIPPED = windows_profile("windows-11")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WINVM_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "profiles").mkdir(parents=True)
    (tmp_path / "project" / "profiles").mkdir(parents=True)
    return tmp_path / "project"


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / "profiles" / f"{name}.toml"
    file.write_text(text)
    return file


def windows(name: str, project: Path) -> WindowsProfile:
    return windows_profile(name, project)


def test_the_project_is_searched_first_then_the_home(project: Path, tmp_path: Path) -> None:
    write(project, "mine", 'extends = "wine"\n[hardware]\nmemory_mib = 2048')
    write(tmp_path / "home", "mine", 'extends = "wine"\n[hardware]\nmemory_mib = 512')
    assert find_profile("mine", project).hardware.memory_mib == 2048
    assert find_profile("mine").hardware.memory_mib == 512
    assert find_profile("windows-11", project) == SHIPPED


def test_what_an_extending_profile_says_is_merged_table_by_table(project: Path) -> None:
    write(project, "big", 'extends = "windows-11"\n[hardware]\nmemory_mib = 16384\n[timeouts]\nboot = 7200')
    big = windows("big", project)
    assert (big.name, big.hardware.memory_mib, big.timeouts.boot) == ("big", 16384, 7200)
    assert big.hardware.vcpus == SHIPPED.hardware.vcpus
    assert big.timeouts.stop == SHIPPED.timeouts.stop
    assert (big.install, big.provision) == (SHIPPED.install, SHIPPED.provision)


def test_an_edition_that_is_said_is_preferred(project: Path) -> None:
    write(
        project,
        "pro",
        'extends = "windows-11"\n[install.editions]\nProfessional = "W269N-WFGWX-YVC9B-4J6C9-T83GX"',
    )
    assert next(iter(windows("pro", project).install.editions)) == "Professional"


@pytest.mark.parametrize(
    ("change", "shares"),
    [
        ("memory_mib = 16384\nvcpus = 4", True),
        ('on_bugcheck = "stop"', True),
        ('devices = ["edu"]', True),
        ("hyperv = false", True),
        ("disk_gib = 128", False),
        ('firmware = "bios"', False),
        ('control_nic = "virtio"', False),
        ('kd = "none"', False),
    ],
)
def test_only_what_binds_an_image_forces_another(project: Path, change: str, shares: bool) -> None:
    write(project, "mine", f'extends = "windows-11"\n[hardware]\n{change}')
    write(project, "next", 'extends = "mine"\n[hardware]\nmemory_mib = 9000')
    mine, following = windows("mine", project), windows("next", project)
    assert mine.image_profile == (SHIPPED if shares else mine)
    assert following.image_profile == mine.image_profile
    assert following.hardware.memory_mib == 9000


def test_a_profile_may_change_the_shipped_one_of_its_name(project: Path) -> None:
    write(project, "windows-11", 'extends = "windows-11"\n[hardware]\nvcpus = 4')
    assert windows("windows-11", project).hardware.vcpus == 4
    assert windows("windows-11", project).image_profile == SHIPPED


def test_a_bundle_tells_of_the_guest_and_not_of_whose_image_it_is(project: Path) -> None:
    write(project, "mine", 'extends = "windows-11"\nname = "windows-11"')
    assert profile_document(windows("mine", project)) == profile_document(SHIPPED)


def test_a_profile_survives_the_record_of_its_machine(project: Path) -> None:
    write(project, "mine", 'extends = "windows-11"\n[hardware]\nvcpus = 4')
    mine = windows("mine", project)
    assert WindowsProfile.model_validate_json(mine.model_dump_json()) == mine


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "gone"', "extends 'gone', and there is no such profile"),
        ('extends = "../../etc/passwd"', "there is no such profile"),
        ("extends = 11", "extends is 11"),
        ('extends = "mine"', "extends 'mine', and there is no such profile"),
        ('extends = "other"', r"extends itself: mine\.toml -> other\.toml -> mine\.toml"),
        ('extends = "windows-11"\nmemory = 1', "memory: Extra inputs"),
        ('extends = "windows-11"\n[hardware]\nmemory = 1', r"hardware\.memory: Extra inputs"),
        ('extends = "windows-11"\nguest = "wine"', "guest is 'wine'"),
        ('extends = "windows-11"\nhardware = 1', "hardware: "),
        ('extends = "windows-11"\n[image_of]\nname = "x"', "image_of: Extra inputs"),
        ('guest = "martian"', "no guest flavour 'martian'"),
        ("guest = 1", "guest: "),
        ("extends = ", "is not TOML"),
        ("x = " + "[" * 5000, "is not TOML"),
        ("#" * (LARGEST_FILE + 1), "is larger than"),
    ],
)
def test_a_wrong_profile_is_refused_with_file_and_remedy(project: Path, text: str, message: str) -> None:
    file = write(project, "mine", text)
    write(project, "other", 'extends = "mine"')
    with pytest.raises(ConfigurationError, match=message) as caught:
        find_profile("mine", project)
    assert str(file.parent) in caught.value.message
    assert caught.value.remedy


def test_bytes_that_are_no_text_are_refused(project: Path) -> None:
    write(project, "mine", "").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        find_profile("mine", project)


def test_a_long_chain_ends(project: Path) -> None:
    write(project, "p0", 'extends = "wine"')
    for number in range(1, LONGEST_CHAIN + 2):
        write(project, f"p{number}", f'extends = "p{number - 1}"')
    assert find_profile(f"p{LONGEST_CHAIN - 1}", project).guest == "wine"
    with pytest.raises(ConfigurationError, match="one after another"):
        find_profile(f"p{LONGEST_CHAIN + 1}", project)


def test_profiles_are_listed_with_their_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "winvm.toml").write_text("")
    file = write(project, "mine", 'extends = "windows-11"')
    monkeypatch.chdir(project)
    result = CliRunner().invoke(image, ["profiles", "--json"], obj=Invocation(None))
    found = {line["name"]: line for line in map(json.loads, result.output.splitlines())}
    assert found["mine"] == {"name": "mine", "origin": "project", "file": str(file)}
    assert found["wine"]["origin"] == "winvm"
    text = CliRunner().invoke(image, ["profiles"], obj=Invocation(None)).output
    assert text.split()[:2] == ["mine", "project"]


@pytest.mark.parametrize("name", ["größe", "has space", ".hidden-not", "x" * 65])
def test_a_file_whose_name_no_profile_can_have_is_named(project: Path, name: str) -> None:
    write(project, name, 'extends = "wine"')
    with pytest.raises(ConfigurationError, match=f"{name!r} is no name for a profile") as caught:
        find_profile(name, project)
    assert "Rename it" in caught.value.remedy
    (project / "winvm.toml").write_text("")
    invocation = Invocation(project / "winvm.toml")
    shown = CliRunner().invoke(image, ["profiles"], obj=invocation, catch_exceptions=False)
    assert "is no name for a profile" in " ".join(shown.stderr.split())
    assert name not in shown.stdout
    built = CliRunner().invoke(image, ["build", name], obj=invocation)
    assert isinstance(built.exception, ConfigurationError)
    assert "is no name for a profile" in built.exception.message
