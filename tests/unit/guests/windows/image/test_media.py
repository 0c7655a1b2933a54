"""Reading installation ISOs: real small ones, made by genisoimage and wimlib, whole and damaged."""

from __future__ import annotations

import dataclasses
import random
import struct
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import ConfigurationError, WinvmError
from harness.guests.windows.image.iso import Media, read_media
from harness.guests.windows.image.media import choose
from harness.guests.windows.image.wim import WimError, WimImage, read_images
from tests.fakes.profiles import windows_profile
from tests.fakes.windows_media import ENTERPRISE_11, iso, server, wim, windows_iso

PROFILES = {
    "windows-10": {**ENTERPRISE_11, "VERSION/BUILD": "19041"},
    "windows-11": ENTERPRISE_11,
    "windows-server-2019": server(17763),
    "windows-server-2022": server(20348),
    "windows-server-2025": server(26100),
}


def deadline() -> Deadline:
    return Deadline.after(60)


@pytest.fixture(scope="module")
def media_11(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return windows_iso(tmp_path_factory.mktemp("media"), ENTERPRISE_11)


def refused(path: Path, profile: str = "windows-11") -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        choose(read_media(path, deadline()), windows_profile(profile))
    assert caught.value.remedy
    return caught.value


def test_media_says_what_it_holds(media_11: Path) -> None:
    media = read_media(media_11, deadline())
    image = media.images[0]
    assert (media.file, media.size, len(media.images)) == ("install.wim", media_11.stat().st_size, 1)
    assert (image.index, image.name, image.edition) == (1, "Windows image 1", "EnterpriseEval")
    assert (image.architecture, image.build, image.revision) == ("amd64", 26100, 1742)
    assert (image.installation, image.languages) == ("Client", ("en-US",))
    assert image.size == len(b"MZ")


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_takes_its_evaluation_media(name: str, tmp_path: Path) -> None:
    choice = choose(read_media(windows_iso(tmp_path, PROFILES[name]), deadline()), windows_profile(name))
    assert choice.evaluation_days == (180 if "server" in name else 90)
    assert choice.product_key == ""


def test_modules_beside_the_user_are_not_run(
    media_11: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pycdlib.py").write_text("raise SystemExit('ran')")
    monkeypatch.chdir(tmp_path)
    assert read_media(media_11, deadline()).file == "install.wim"


def test_the_profiles_order_of_editions_decides_and_not_that_of_the_media(tmp_path: Path) -> None:
    images = [{**ENTERPRISE_11, "EDITIONID": edition} for edition in ("Core", "Professional", "Enterprise")]
    choice = choose(read_media(windows_iso(tmp_path, *images), deadline()), windows_profile("windows-11"))
    assert (choice.image.index, choice.product_key) == (3, "NPPR9-FWDCX-D2C8J-H872K-2YT43")
    assert choice.evaluation_days == 0


def test_server_core_is_distinguished_from_the_desktop(tmp_path: Path) -> None:
    media = windows_iso(tmp_path, server(26100, kind="Server Core"), server(26100))
    choice = choose(read_media(media, deadline()), windows_profile("windows-server-2025"))
    assert choice.image.index == 2


def test_an_esd_and_plain_iso_9660_are_read_too(tmp_path: Path) -> None:
    esd = wim(tmp_path / "install.esd", ENTERPRISE_11, solid=True)
    assert read_media(iso(tmp_path / "esd.iso", install=esd, name="install.esd"), deadline()).file == esd.name
    plain = tmp_path / "plain.iso"
    command = ["genisoimage", "-quiet", "-iso-level", "3", "-o", str(plain), str(tmp_path / "esd-tree")]
    subprocess.run(command, check=True)
    assert read_media(plain, deadline()).images[0].edition == "EnterpriseEval"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ARCH": "12"}, "arm64"),
        ({"ARCH": "0"}, "x86"),
        ({"ARCH": "-1"}, "unknown"),
        ({"VERSION/BUILD": "22000"}, "build 22000, not one from 22621"),
        ({"EDITIONID": "Core"}, "edition Core"),
        ({"INSTALLATIONTYPE": "WindowsPE"}, "WindowsPE, not Client"),
        ({"LANGUAGES/DEFAULT": "en-US' or '", "LANGUAGES/LANGUAGE": ""}, "no language"),
    ],
)
def test_an_edition_that_cannot_be_used_is_refused(
    change: dict[str, str], words: str, tmp_path: Path
) -> None:
    error = refused(windows_iso(tmp_path, {**ENTERPRISE_11, **change}))
    assert words in error.message
    assert "1: Windows image 1" in error.detail


def test_the_profile_that_takes_the_media_is_named(tmp_path: Path) -> None:
    error = refused(windows_iso(tmp_path, server(20348)), "windows-11")
    assert "Build windows-server-2022 from it" in error.remedy


def test_media_without_an_install_image_are_refused(tmp_path: Path) -> None:
    assert "neither sources/install.wim nor" in refused(iso(tmp_path / "none.iso", install=None)).message
    part = wim(tmp_path / "install.wim", ENTERPRISE_11)
    split = refused(iso(tmp_path / "split.iso", install=part, name="install.swm"))
    assert "wimlib-imagex join" in split.remedy


def test_what_is_no_iso_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.iso"
    text.write_text("not an ISO\n" * 10_000)
    assert "is not an ISO image" in refused(text).message
    text.write_bytes(b"")
    assert "is not an ISO image" in refused(text).message
    assert "cannot be found" in refused(tmp_path / "absent.iso").message
    assert "is not a file" in refused(tmp_path).message


def test_a_truncated_iso_is_refused(media_11: Path, tmp_path: Path) -> None:
    whole = media_11.read_bytes()
    cut = tmp_path / "cut.iso"
    for length in (len(whole) - 2048 * 200, len(whole) // 2, 40_000):
        cut.write_bytes(whole[:length])
        error = refused(cut)
        assert "truncated" in error.message or "is not an ISO image that can be read" in error.message
        assert "Download the file again" in error.remedy


def test_damage_anywhere_is_an_error_and_never_a_traceback(media_11: Path, tmp_path: Path) -> None:
    whole = media_11.read_bytes()
    # Descriptors lie in the first MiB, and most of their bytes are zeros that nobody looks at.
    places = [at for at in range(32768, len(whole)) if whole[at]]
    chance = random.Random(20261121)
    damaged = tmp_path / "damaged.iso"
    refusals = 0
    for _ in range(40):
        content = bytearray(whole)
        for _ in range(20):
            content[chance.choice(places)] = chance.randrange(256)
        damaged.write_bytes(content)
        try:
            choose(read_media(damaged, deadline()), windows_profile("windows-11"))
        except WinvmError as error:
            refusals += 1
            assert error.remedy
            assert "Traceback" not in error.detail
    assert refusals > 10


def header(xml: bytes, **change: int) -> bytes:
    """A WIM of a header and XML data, by the white paper's layout."""
    values = {"size": len(xml), "offset": 208, "flags": 2, "part": 1, "parts": 1, "table": 208} | change
    resource = struct.pack("<QQQ", values["size"] | values["flags"] << 56, values["offset"], values["size"])
    table = struct.pack("<QQQ", 0, values["table"], 0)
    start = struct.pack("<8sIIII16s", b"MSWIM\0\0\0", 208, 0x10D00, 0, 0, bytes(16))
    middle = struct.pack("<HHI", values["part"], values["parts"], 1) + table + resource
    return (start + middle).ljust(208, b"\0") + xml


def utf16(text: str) -> bytes:
    return b"\xff\xfe" + text.encode("utf-16-le")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not begin with a WIM header"),
        (b"MSWIM\0\0\0", "does not begin with a WIM header"),
        (header(utf16("<WIM/>"), part=1, parts=3), "part 1 of 3"),
        (header(utf16("<WIM/>"), size=1 << 40), "truncated"),
        (header(utf16("<WIM/>"), offset=1 << 63), "truncated"),
        (header(utf16("<WIM/>"), table=1 << 30), "truncated"),
        (header(utf16("<WIM/>"), flags=4), "compressed"),
        (header(b"", size=0), "0 bytes"),
        (header(b"\xff\xfe\x00\xd8\x41\x00"), "not UTF-16"),
        (header(utf16("<WIM>")), "cannot be parsed"),
        (header(utf16('<!DOCTYPE w [<!ENTITY a "a">]><WIM>&a;</WIM>')), "declaration"),
        (header(utf16("<WIM>" + "<IMAGE/>" * 300 + "</WIM>")), "300 images"),
    ],
)
def test_a_hostile_wim_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(WimError, match=words):
        read_images(BytesIO(content), len(content))


def test_numbers_that_are_none_fit_no_rule() -> None:
    windows = "<WINDOWS><ARCH>9e9</ARCH><VERSION><BUILD>999999999999999</BUILD></VERSION></WINDOWS>"
    content = header(utf16(f"<WIM><IMAGE INDEX='٣'>{windows}</IMAGE></WIM>"))
    (found,) = read_images(BytesIO(content), len(content))
    assert (found.index, found.architecture, found.build) == (-1, "unknown", -1)


def test_editions_are_read_as_wimlib_reads_them(tmp_path: Path) -> None:
    """wimlib is the other reader: names, editions and builds of several images."""
    file = wim(tmp_path / "install.wim", ENTERPRISE_11, server(20348), names=("Ünïcode", "Second"))
    with file.open("rb") as opened:
        ours = [
            (image.name, image.edition, image.build) for image in read_images(opened, file.stat().st_size)
        ]
    info = subprocess.run(
        ["wimlib-imagex", "info", str(file)], capture_output=True, text=True, check=True
    ).stdout

    def values(key: str, convert: Callable[[str], object] = str) -> list[object]:
        lines = (line.partition(":") for line in info.splitlines())
        return [convert(value.strip()) for name, _, value in lines if name.strip() == key]

    assert ours == list(zip(values("Name"), values("Edition ID"), values("Build", int), strict=True))


@pytest.mark.parametrize("asked", ["Professional", "professional", "2", "Windows 11 Pro"])
def test_an_edition_that_is_asked_for_is_taken(asked: str) -> None:
    enterprise = WimImage(
        1, "Windows 11 Enterprise", "Enterprise", "Client", "amd64", 26100, 1, ("en-US",), 9
    )
    professional = dataclasses.replace(enterprise, index=2, name="Windows 11 Pro", edition="Professional")
    media = Media(Path("w.iso"), 1, "install.wim", (enterprise, professional))
    profile = windows_profile("windows-11")
    assert choose(media, profile).image is enterprise
    chosen = choose(media, profile, asked)
    assert chosen.image is professional
    assert chosen.product_key == profile.install.editions["Professional"]
    with pytest.raises(ConfigurationError, match="no edition 'Core'") as caught:
        choose(media, profile, "Core")
    assert "2: Professional (Windows 11 Pro)" in caught.value.remedy


def test_iot_enterprise_ltsc_is_taken() -> None:
    image = WimImage(1, "", "IoTEnterpriseS", "Client", "amd64", 26100, 1, ("en-US",), 9)
    media = Media(Path("w.iso"), 1, "install.wim", (image,))
    assert choose(media, windows_profile("windows-11")).product_key
