"""The ReactOS flavour by its registration: what it builds, finds, lists and says without an image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import ConfigurationError, ImageError
from harness.guests.flavour import BuildRequest
from harness.guests.reactos.flavour import UNPROVEN, ReactosFlavour
from harness.guests.reactos.image.sealed import ReactosImage, seal
from harness.guests.registry import flavour_of
from harness.images.base import images_folder
from harness.journal import Journal
from harness.machine.accelerator import Accelerator
from harness.machine.protocol import Channels
from harness.project.profiles import find_profile

PROFILE = find_profile("reactos-x64")
FLAVOUR = flavour_of(PROFILE)


def image(home: Path, digest: str = "0123456789abcdef") -> ReactosImage:
    draft = home / "draft"
    draft.mkdir(parents=True)
    (draft / "base.qcow2").write_bytes(b"disk")
    place = images_folder(home) / f"reactos-x64-{digest[:12]}"
    place.parent.mkdir(exist_ok=True)
    manifest = {
        "digest": digest,
        "profile": "reactos-x64",
        "versions": {"reactos": "5.2", "python": "3.11.9"},
    }
    return seal(draft, place, manifest)


def test_the_profile_is_of_this_flavour() -> None:
    assert isinstance(FLAVOUR, ReactosFlavour)


def test_an_image_is_found_listed_and_reopened(tmp_path: Path) -> None:
    made = image(tmp_path)
    journal = Journal()
    said: list[str] = []
    journal.listen(lambda event: said.append(str(event.get("text"))))
    found = FLAVOUR.find(PROFILE, Accelerator.TCG, tmp_path, journal, "")
    assert found.image == made
    assert said == [UNPROVEN]
    assert FLAVOUR.images(tmp_path) == [made]
    assert [(one.folder, one.present) for one in FLAVOUR.stored(tmp_path)] == [(made.folder, True)]
    assert FLAVOUR.reopen(PROFILE, made.folder).image_manifest == made.manifest
    assert FLAVOUR.spec_type is type(found.spec)


def test_without_an_image_the_command_that_builds_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="There is no image of reactos-x64") as raised:
        FLAVOUR.find(PROFILE, Accelerator.TCG, tmp_path, Journal(), "")
    assert raised.value.remedy == "Build it: winvm image build reactos-x64 --iso PATH"


def test_a_replay_wants_its_own_image(tmp_path: Path) -> None:
    made = image(tmp_path)
    same = FLAVOUR.replay(PROFILE, made.digest, Accelerator.TCG, tmp_path, Journal(), "", any_image=False)
    assert same.image == made
    with pytest.raises(ConfigurationError, match="guest image fedcba987654"):
        FLAVOUR.replay(PROFILE, "fedcba9876543210", Accelerator.TCG, tmp_path, Journal(), "", any_image=False)
    other = FLAVOUR.replay(PROFILE, "f" * 16, Accelerator.TCG, tmp_path, Journal(), "", any_image=True)
    assert other.image == made


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    made = image(tmp_path)
    made.disk.chmod(0o600)
    made.disk.write_bytes(b"another disk")
    assert FLAVOUR.images(tmp_path) == []
    with pytest.raises(ImageError, match="has 12 bytes, not the 4"):
        FLAVOUR.reopen(PROFILE, made.folder)
    made.manifest.write_text(json.dumps({"digest": "x"}))
    with pytest.raises(ImageError, match="is not a ReactOS image"):
        FLAVOUR.reopen(PROFILE, made.folder)


def test_a_build_names_the_option_that_is_missing_or_of_no_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="made from a live CD") as raised:
        FLAVOUR.build(BuildRequest(PROFILE, {}, tmp_path), Journal())
    assert "winvm image build reactos-x64 --iso PATH" in raised.value.remedy
    with pytest.raises(ConfigurationError, match="has no use for --virtio-iso"):
        FLAVOUR.build(BuildRequest(PROFILE, {"virtio-iso": tmp_path}, tmp_path), Journal())


def test_a_file_that_is_no_live_cd_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "live.iso"
    file.write_bytes(b"no CD" * 1000)
    with pytest.raises(ConfigurationError, match="is not an ISO image"):
        FLAVOUR.build(BuildRequest(PROFILE, {"iso": file}, tmp_path / "home"), Journal())
    assert not list(images_folder(tmp_path / "home").glob(".reactos-*"))


def test_its_debug_output_is_the_debuggers(tmp_path: Path) -> None:
    assert FLAVOUR.debugged_here(PROFILE)
    assert FLAVOUR.kernel_line(PROFILE, tmp_path, tmp_path).serial == tmp_path / "kd.sock"
    with pytest.raises(ConfigurationError, match="goes to its kernel debugger"):
        FLAVOUR.debug_output(PROFILE, Channels.inside(tmp_path))
