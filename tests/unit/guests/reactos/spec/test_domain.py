"""The domain of a ReactOS guest against libvirt's schema, and its profile."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.errors import ConfigurationError, ImageError
from harness.guests.reactos.spec.domain import AGENT_SOCKET, KD_SOCKET, ReactosSpec
from harness.guests.reactos.spec.profile import ReactosProfile
from harness.machine.accelerator import Accelerator
from harness.machine.domain import HostSide
from harness.project.profiles import find_profile, load_profile

VERSIONS = {"qemu": "10.0.2", "libvirt": "11.3.0"}


@pytest.fixture
def spec(tmp_path: Path) -> ReactosSpec:
    image = tmp_path / "reactos-x64-0123456789ab"
    image.mkdir()
    (image / "base.qcow2").write_bytes(b"x")
    profile = ReactosProfile.checked(find_profile("reactos-x64"))
    return ReactosSpec.checked(image, profile, Accelerator.TCG)


def xml_of(spec: ReactosSpec, tmp_path: Path) -> str:
    serials = [tmp_path / f"com{number}.log" for number in range(1, 5)]
    host = HostSide(tmp_path / "disk & more.qcow2", serials, tmp_path / "dbg.log", {}, tmp_path / "clock")
    return spec.render(host, name="guest", key="0123456789ab")


@pytest.mark.parametrize("accelerator", Accelerator)
@pytest.mark.skipif(not shutil.which("virt-xml-validate"), reason="libvirt-clients is not installed")
def test_libvirt_accepts_the_xml(spec: ReactosSpec, tmp_path: Path, accelerator: Accelerator) -> None:
    file = tmp_path / "domain.xml"
    file.write_text(xml_of(dataclasses.replace(spec, accelerator=accelerator), tmp_path))
    done = subprocess.run(["virt-xml-validate", str(file), "domain"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_debugger_has_com1_the_agent_com2_the_journal_com3(spec: ReactosSpec, tmp_path: Path) -> None:
    root = ElementTree.fromstring(xml_of(spec, tmp_path))
    ports = {}
    for serial in root.findall("devices/serial"):
        source, target = serial.find("source"), serial.find("target")
        assert source is not None
        assert target is not None
        ports[target.get("port")] = (serial.get("type"), Path(source.get("path", "")).name)
    assert ports == {"0": ("unix", KD_SOCKET), "1": ("unix", AGENT_SOCKET), "2": ("file", "com2.log")}
    assert not root.findall("devices/interface")


def test_the_ready_state_belongs_to_the_hardware_and_the_image(spec: ReactosSpec) -> None:
    key = spec.ready_key(VERSIONS)
    assert key == dataclasses.replace(spec).ready_key(VERSIONS)
    assert key != dataclasses.replace(spec, session="another image").ready_key(VERSIONS)
    larger = spec.profile.hardware.model_copy(update={"memory_mib": 2048})
    profile = spec.profile.model_copy(update={"hardware": larger})
    assert key != dataclasses.replace(spec, profile=profile).ready_key(VERSIONS)


def test_a_disk_that_is_gone_is_named(spec: ReactosSpec, tmp_path: Path) -> None:
    spec.base.unlink()
    with pytest.raises(ImageError, match=r"base\.qcow2 is gone") as raised:
        spec.require_base()
    assert "winvm image build reactos-x64 --iso" in raised.value.remedy
    with pytest.raises(ImageError, match="has no usable disk"):
        ReactosSpec.checked(spec.image, spec.profile, Accelerator.TCG)


@pytest.mark.parametrize("wrong", ['transport = "network"', "hardware.vcpus = 2", 'hardware.machine = "q35"'])
def test_a_profile_that_this_guest_cannot_have_is_refused(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'extends = "reactos-x64"\n{wrong}\n')
    with pytest.raises(ConfigurationError):
        load_profile(file)
