"""The bench's CD, obeyed from its answer file to the self-check by a played Windows Setup; and failures."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest

from harness.guests.windows.image.answer import Answers
from harness.guests.windows.image.configuration import contents
from harness.guests.windows.image.credentials import WindowsSecrets, make_windows_secrets
from harness.guests.windows.image.guestjournal import Entry, parse
from harness.guests.windows.image.media import Choice
from harness.guests.windows.image.provisioning import Driver, files, program
from harness.guests.windows.image.wim import WimImage
from tests.fakes.profiles import windows_profile
from tests.fakes.provision_machine import certificate
from tests.fakes.windows_setup import PlayedSetup
from tests.fakes.windows_setup_answers import ErrorPage
from tests.fakes.windows_tools import FakeWindows

DRIVER = Driver("mydriver", certificate()[0])


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> WindowsSecrets:
    return make_windows_secrets(tmp_path_factory.mktemp("image") / "secrets")


def disc(
    secrets: WindowsSecrets, profile: str = "windows-10", key: str = "", index: int = 1
) -> dict[str, bytes]:
    """The CD for an edition: an evaluation if there is no product key."""
    server = "server" in profile
    edition = "ServerStandardEval" if server else "Enterprise" if key else "EnterpriseEval"
    image = WimImage(index, "", edition, "Server" if server else "Client", "amd64", 19041, 1, ("en-US",), 0)
    answers = Answers(windows_profile(profile), Choice(image, key, "en-US"), secrets.password)
    python = io.BytesIO()
    with zipfile.ZipFile(python, "w") as archive:
        archive.writestr("python.exe", b"MZ")
    settings = files(windows_profile(profile), secrets, DRIVER, bundled=False, evaluation=not key)
    return contents(answers.render(), python.getvalue(), program(), settings, {}, {})


def entries(setup: PlayedSetup) -> list[Entry]:
    """The journal as the host reads it."""
    found = [parse(line.rstrip(b"\n")) for line in setup.lines]
    assert all(found)
    return [entry for entry in found if entry]


def provisioned(setup: PlayedSetup) -> list[Entry]:
    """Installs, and starts Windows until it is off or does not go on."""
    setup.install()
    assert setup.machine.power == "off", "the end of the stage of Setup"
    for _ in range(10):
        setup.start()
        if setup.machine.power != "restarting":
            return entries(setup)
    raise AssertionError("Windows restarts for ever")


@pytest.mark.parametrize("profile", ["windows-10", "windows-11", "windows-server-2022"])
def test_the_cd_leads_from_setup_to_a_windows_that_is_as_wanted(
    secrets: WindowsSecrets, profile: str
) -> None:
    setup = PlayedSetup(disc(secrets, profile), FakeWindows(internet=True))
    found = provisioned(setup)
    assert [(one.kind, one.size) for one in setup.partitions] == [("EFI", 260), ("MSR", 128), ("Primary", 0)]
    assert [entry.step for entry in found if entry.phase == "setup"] == [
        "windowsPE",
        "specialize",
        "first logon",
        "configuration",
    ]
    assert next((entry.state, entry.step) for entry in found if entry.ends) == ("ok", "setup done")
    assert (found[-1].phase, found[-1].state, found[-1].message) == ("end", "ok", "")
    assert not [entry.line for entry in found if entry.state in ("wrong", "failed")]
    assert setup.machine.power == "off"
    assert setup.machine.tasks == {}, "nothing runs at the next start"
    text = b"".join(setup.lines).decode()
    assert secrets.password not in text


def test_without_a_network_the_capability_and_the_activation_are_named(secrets: WindowsSecrets) -> None:
    setup = PlayedSetup(disc(secrets), FakeWindows(internet=False))
    found = provisioned(setup)
    (ssh,) = [entry for entry in found if entry.step == "OpenSSH" and entry.state == "failed"]
    assert "0x800f0954" in ssh.message
    assert "no network" in ssh.message
    assert (found[-1].phase, found[-1].state) == ("end", "failed")
    assert "not as wanted" in found[-1].message
    wished = {entry.step for entry in found if entry.state == "wrong" and entry.wished}
    assert "activation" in wished


def test_updates_that_windows_switches_on_again_are_a_warning(secrets: WindowsSecrets) -> None:
    machine = FakeWindows(internet=True)
    machine.revived = "wuauserv"
    found = provisioned(PlayedSetup(disc(secrets), machine))
    wrong = [entry for entry in found if entry.state == "wrong"]
    assert [(entry.step, entry.setting, entry.wished) for entry in wrong] == [
        ("updates", "wuauserv start", "yes")
    ]
    assert (found[-1].phase, found[-1].state) == ("end", "ok")


def without_script(disc: dict[str, bytes]) -> None:
    del disc["winvm/configuration.cmd"]


def broken_xml(disc: dict[str, bytes]) -> None:
    disc["autounattend.xml"] = disc["autounattend.xml"].replace(b"</unattend>", b"")


def no_eula(disc: dict[str, bytes]) -> None:
    disc["autounattend.xml"] = disc["autounattend.xml"].replace(b"<AcceptEula>true", b"<AcceptEula>false")


def other_user(disc: dict[str, bytes]) -> None:
    disc["autounattend.xml"] = disc["autounattend.xml"].replace(b"<Username>winvm", b"<Username>other")


def other_partition(disc: dict[str, bytes]) -> None:
    end = b"</PartitionID></InstallTo>"
    disc["autounattend.xml"] = disc["autounattend.xml"].replace(b"3" + end, b"2" + end)


@pytest.mark.parametrize(
    ("damage", "page"),
    [
        (broken_xml, "could not parse"),
        (no_eula, "License terms"),
        (other_user, "user name or password"),
        (other_partition, "cannot be installed to partition 2"),
    ],
)
def test_what_plays_setup_stops_at_an_answer_file_that_setup_would_refuse(
    secrets: WindowsSecrets, damage: Callable[[dict[str, bytes]], None], page: str
) -> None:
    changed = disc(secrets)
    damage(changed)
    with pytest.raises(ErrorPage, match=page):
        PlayedSetup(changed, FakeWindows()).install()


def test_a_key_is_given_where_setup_asks_for_one_and_only_there(secrets: WindowsSecrets) -> None:
    key = windows_profile("windows-10").install.editions["Enterprise"]
    PlayedSetup(disc(secrets, key=key), FakeWindows()).install(evaluation=False)
    with pytest.raises(ErrorPage, match="product key"):
        PlayedSetup(disc(secrets, key=key), FakeWindows()).install()
    with pytest.raises(ErrorPage, match="Enter the product key"):
        PlayedSetup(disc(secrets), FakeWindows()).install(evaluation=False)
    with pytest.raises(ErrorPage, match="no image 6"):
        PlayedSetup(disc(secrets, index=6), FakeWindows()).install(indexes=(1, 2))


def test_a_cd_without_its_second_script_is_reported_by_the_first_logon(secrets: WindowsSecrets) -> None:
    changed = disc(secrets)
    without_script(changed)
    setup = PlayedSetup(changed, FakeWindows())
    setup.install()
    last = entries(setup)[-1]
    assert (last.step, last.phase, last.state) == ("first logon", "end", "failed")
    assert last.message == "configuration.cmd cannot be copied"


def test_a_python_that_does_not_start_is_reported(secrets: WindowsSecrets) -> None:
    changed = disc(secrets)
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    changed["winvm/python.zip"] = empty.getvalue()
    setup = PlayedSetup(changed, FakeWindows())
    setup.install()
    setup.start()
    last = entries(setup)[-1]
    assert (last.step, last.state) == ("configuration", "failed")
    assert last.message == "Python ended with 9009"


def test_a_start_without_the_cd_waits_for_one(secrets: WindowsSecrets) -> None:
    """The task stays planned, and goes on at the first start that finds the CD."""
    content = disc(secrets)
    setup = PlayedSetup(content, FakeWindows(internet=True))
    setup.install()
    before = len(setup.lines)
    on_cd = {path: data for path, data in setup.machine.files.items() if path.startswith("d:")}
    for path in on_cd:
        del setup.machine.files[path]
    setup.start()
    assert len(setup.lines) == before
    setup.machine.files |= {path.replace("d:", "e:", 1): data for path, data in on_cd.items()}
    setup.start()
    assert entries(setup)[before].step == "configuration"
