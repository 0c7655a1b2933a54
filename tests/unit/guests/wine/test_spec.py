"""The domain's XML against libvirt's schema, and what the ready key depends on."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.errors import ImageError
from harness.guests.wine.spec import AGENT_SOCKET, MachineSpec
from harness.machine.accelerator import Accelerator
from harness.machine.domain import HostSide
from harness.project.profiles import find_profile

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
VERSIONS = {"qemu": "10.0.2", "libvirt": "11.3.0"}


@pytest.fixture
def spec(tmp_path: Path) -> MachineSpec:
    image = tmp_path / "wine-0123456789ab"
    image.mkdir()
    for name in ("base.qcow2", "vmlinuz", "initrd.img"):
        (image / name).write_bytes(b"x")
    (image / "manifest.json").write_text(json.dumps({"cmdline": "root=/dev/vda rw <&>"}))
    return MachineSpec.checked(image, find_profile("wine"), Accelerator.TCG)


def xml_of(spec: MachineSpec, tmp_path: Path) -> str:
    serials = [tmp_path / f"com{number}.log" for number in range(1, 5)]
    ports = {"winrm": 20001, "ssh": 20002}
    host = HostSide(tmp_path / "disk & more.qcow2", serials, tmp_path / "dbg.log", ports, tmp_path / "clock")
    return spec.render(host, name="guest", key="0123456789ab")


def serial_types(root: ElementTree.Element) -> list[str | None]:
    return [serial.get("type") for serial in root.findall("devices/serial")]


def ports_of(root: ElementTree.Element) -> dict[str, str]:
    found = {}
    for channel in root.findall("devices/channel"):
        target, source = channel.find("target"), channel.find("source")
        assert target is not None
        assert source is not None
        found[target.attrib["name"]] = source.attrib["path"]
    return found


@pytest.mark.parametrize("accelerator", Accelerator)
@pytest.mark.skipif(not shutil.which("virt-xml-validate"), reason="libvirt-clients is not installed")
def test_libvirt_accepts_the_xml(spec: MachineSpec, tmp_path: Path, accelerator: Accelerator) -> None:
    file = tmp_path / "domain.xml"
    file.write_text(xml_of(dataclasses.replace(spec, accelerator=accelerator), tmp_path))
    done = subprocess.run(["virt-xml-validate", str(file), "domain"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_guest_gets_its_devices_and_no_way_out(spec: MachineSpec, tmp_path: Path) -> None:
    root = ElementTree.fromstring(xml_of(spec, tmp_path))
    assert root.findtext("os/cmdline") == "root=/dev/vda rw <&>"
    assert serial_types(root) == ["file"] * 4
    both = [source for source in root.iter("source") if source.get("path") == str(tmp_path / "com2.log")]
    assert [source.get("append") for source in both] == ["on", "on"], "COM2 and the port share the journal"
    target = root.find("devices/channel/target")
    assert target is not None
    assert target.get("name") == "org.winvm.dbgprint"
    assert ports_of(root) == {
        "org.winvm.dbgprint": str(tmp_path / "dbg.log"),
        "org.winvm.journal": str(tmp_path / "com2.log"),
        "org.winvm.clock": str(tmp_path / "clock"),
    }
    network = [arg.get("value", "") for arg in root.iter(f"{QEMU}arg")][1]
    assert "restrict=on" in network
    assert "hostfwd=tcp:127.0.0.1:20001-10.0.2.15:5986" in network
    assert network.count("hostfwd=") == network.count("127.0.0.1") == 2


def over_serial(spec: MachineSpec) -> MachineSpec:
    return dataclasses.replace(spec, profile=find_profile("wine-serial"))


def test_a_guest_without_its_network_has_a_socket_for_com3(spec: MachineSpec, tmp_path: Path) -> None:
    root = ElementTree.fromstring(xml_of(over_serial(spec), tmp_path))
    assert serial_types(root) == ["file", "file", "unix", "file"]
    source = root.findall("devices/serial")[2].find("source")
    assert source is not None
    assert source.get("path") == str(tmp_path / AGENT_SOCKET)
    assert root.findtext("os/cmdline") == "root=/dev/vda rw <&> winvm.transport=serial"


def test_a_virtio_console_is_another_line(spec: MachineSpec, tmp_path: Path) -> None:
    root = ElementTree.fromstring(
        xml_of(dataclasses.replace(spec, profile=find_profile("wine-console")), tmp_path)
    )
    assert serial_types(root) == ["file"] * 4
    (console,) = root.findall("devices/console")
    assert (console.get("type"), console.find("target").get("type")) == ("unix", "virtio")  # type: ignore[union-attr]
    assert console.find("source").get("path") == str(tmp_path / AGENT_SOCKET)  # type: ignore[union-attr]
    assert root.findtext("os/cmdline") == "root=/dev/vda rw <&> winvm.transport=console"


@pytest.mark.parametrize(("accelerator", "mode"), [("tcg", "maximum"), ("kvm", "host-passthrough")])
def test_the_cpu_follows_the_accelerator(
    spec: MachineSpec, tmp_path: Path, accelerator: str, mode: str
) -> None:
    xml = xml_of(dataclasses.replace(spec, accelerator=Accelerator(accelerator)), tmp_path)
    cpu = ElementTree.fromstring(xml).find("cpu")
    assert cpu is not None
    assert cpu.get("mode") == mode


def with_hardware(spec: MachineSpec, **changes: object) -> MachineSpec:
    hardware = spec.profile.hardware.model_copy(update=changes)
    return dataclasses.replace(spec, profile=spec.profile.model_copy(update={"hardware": hardware}))


CHANGES: dict[str, Callable[[MachineSpec], MachineSpec]] = {
    "transport": over_serial,
    "memory": lambda spec: with_hardware(spec, memory_mib=2048),
    "vcpus": lambda spec: with_hardware(spec, vcpus=2),
    "machine": lambda spec: with_hardware(spec, machine="q35"),
    "forwards": lambda spec: with_hardware(spec, forwards={"winrm": 5986}),
    "accelerator": lambda spec: dataclasses.replace(spec, accelerator=Accelerator.KVM),
    "session": lambda spec: dataclasses.replace(spec, session="2"),
    "cmdline": lambda spec: dataclasses.replace(spec, cmdline="quiet"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_key_changes_with(spec: MachineSpec, change: str) -> None:
    assert CHANGES[change](spec).ready_key(VERSIONS) != spec.ready_key(VERSIONS)


def test_the_key_changes_with_versions_only(spec: MachineSpec) -> None:
    key = spec.ready_key(VERSIONS)
    assert len(key) == 12
    assert spec.ready_key(dict(reversed(VERSIONS.items()))) == key
    assert spec.ready_key({**VERSIONS, "qemu": "10.0.3"}) != key


@pytest.mark.parametrize("name", ["base.qcow2", "vmlinuz", "initrd.img", "manifest.json"])
def test_an_incomplete_image_is_refused(spec: MachineSpec, name: str) -> None:
    (spec.image / name).unlink()
    with pytest.raises(ImageError, match=name) as caught:
        MachineSpec.checked(spec.image, spec.profile, Accelerator.TCG)
    assert caught.value.remedy
