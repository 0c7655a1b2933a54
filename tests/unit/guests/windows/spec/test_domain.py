"""The Windows domain's XML against libvirt's schema, and what of it depends on profile and accelerator."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.deadline import Deadline
from harness.errors import ImageError
from harness.guests.windows.spec.domain import NVRAM, WindowsSpec
from harness.guests.windows.spec.profile import KDNET_BUSPARAMS
from harness.host.resources import vm_folder
from harness.machine.accelerator import Accelerator
from harness.machine.domain import HostSide
from harness.machine.panic import parse
from harness.machine.protocol import Panic
from tests.fakes.profiles import windows_profile

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
VERSIONS = {"qemu": "10.0.2", "libvirt": "11.3.0"}
WINDOWS = sorted(file.stem for file in (vm_folder() / "profiles").glob("windows-*.toml"))


def spec_of(
    folder: Path, name: str = "windows-11", *, installing: bool = False, **hardware: object
) -> WindowsSpec:
    profile = windows_profile(name)
    changed = profile.hardware.model_copy(update=hardware)
    image = folder / f"{name}-0123456789ab"
    image.mkdir(exist_ok=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image / "base.qcow2"), "1M"], check=True)
    (image / NVRAM).write_bytes(b"variables")
    spec = WindowsSpec.checked(image, profile.model_copy(update={"hardware": changed}), Accelerator.KVM)
    media = tuple(folder / f"{name} & more.iso" for name in ("windows", "answers", "virtio"))
    return dataclasses.replace(spec, media=media) if installing else spec


def tree_of(spec: WindowsSpec, folder: Path) -> ElementTree.Element:
    serials = [folder / f"{name}.log" for name in ("console", "journal", "com3", "com4")]
    ports = {"winrm": 20001, "ssh": 20002}
    host = HostSide(folder / "disk.qcow2", serials, folder / "dbgprint.log", ports, folder / "clock")
    return ElementTree.fromstring(spec.render(host, name="guest", key="0123456789ab"))


def arguments(root: ElementTree.Element) -> list[str]:
    return [arg.get("value", "") for arg in root.iter(f"{QEMU}arg")]


def validate(spec: WindowsSpec, folder: Path) -> None:
    file = folder / "domain.xml"
    ElementTree.ElementTree(tree_of(spec, folder)).write(file)
    done = subprocess.run(["virt-xml-validate", str(file), "domain"], capture_output=True, text=True)
    assert done.returncode == 0, file.read_text() + done.stdout + done.stderr


needs_validator = pytest.mark.skipif(
    not shutil.which("virt-xml-validate"), reason="libvirt-clients is not installed"
)


@pytest.mark.parametrize("name", WINDOWS)
@needs_validator
def test_libvirt_accepts_each_profile(name: str, tmp_path: Path) -> None:
    for firmware, installing, kd in itertools.product(
        ("uefi", "bios"), (True, False), ("kdnet", "serial", "none")
    ):
        validate(spec_of(tmp_path, name, installing=installing, firmware=firmware, kd=kd), tmp_path)


@pytest.mark.parametrize("accelerator", Accelerator)
@needs_validator
def test_libvirt_accepts_the_choices_of_a_profile(tmp_path: Path, accelerator: Accelerator) -> None:
    for changes in (
        {"disk_bus": "virtio", "control_nic": "virtio"},
        {"tpm": True},
        {"hyperv": False},
        {"on_bugcheck": "stop"},
        {"secure_boot": True, "kd": "none"},
        {"vcpus": 4, "hyperv_vendor": "a & <b>"},
    ):
        spec = spec_of(tmp_path, installing=True, **changes)
        validate(dataclasses.replace(spec, accelerator=accelerator), tmp_path)


def test_a_bugcheck_reaches_the_host_and_the_guest_goes_on(tmp_path: Path) -> None:
    root = tree_of(spec_of(tmp_path), tmp_path)
    panic = root.find("devices/panic")
    assert panic is not None
    assert panic.get("model") == "hyperv"
    assert root.findtext("on_crash") == "preserve"
    assert root.findtext("on_reboot") == "restart", "MEMORY.DMP is written at the next start"
    actions = arguments(root)
    assert actions[actions.index("-action") + 1] == "panic=none"
    actions = arguments(tree_of(spec_of(tmp_path, on_bugcheck="stop"), tmp_path))
    assert actions[actions.index("-action") + 1] == "panic=pause"


def test_the_host_can_dump_the_memory_of_a_guest_that_has_the_driver(tmp_path: Path) -> None:
    port = tree_of(spec_of(tmp_path), tmp_path).find("features/vmcoreinfo")
    assert port is not None
    assert port.get("state") == "on"


@pytest.mark.parametrize(
    ("kd", "vendor"), [("kdnet", "KVMKVMKVM"), ("serial", "Microsoft Hv"), ("none", "Microsoft Hv")]
)
def test_enlightenments_have_a_foreign_vendor_only_for_kdnet(kd: str, vendor: str, tmp_path: Path) -> None:
    found = tree_of(spec_of(tmp_path, kd=kd), tmp_path).find("features/hyperv/vendor_id")
    assert found is not None
    assert found.get("value") == vendor


def test_enlightenments_need_kvm(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    for bare in (dataclasses.replace(spec, accelerator=Accelerator.TCG), spec_of(tmp_path, hyperv=False)):
        root = tree_of(bare, tmp_path)
        assert root.find("features/hyperv") is None
        assert root.find("clock/timer[@name='hypervclock']") is None
        panic = root.find("devices/panic")
        assert panic is not None
        assert panic.get("model") == "isa"


def test_the_control_adapter_leads_nowhere_else(tmp_path: Path) -> None:
    network = arguments(tree_of(spec_of(tmp_path), tmp_path))
    (control,) = (argument for argument in network if argument.startswith("user,"))
    assert "restrict=on" in control
    assert "hostfwd=tcp:127.0.0.1:20001-10.0.2.15:5986" in control
    assert control.count("hostfwd=") == control.count("127.0.0.1") == 2


def test_the_debuggers_adapter_is_where_the_target_is_configured(tmp_path: Path) -> None:
    found = arguments(tree_of(spec_of(tmp_path, kd="kdnet"), tmp_path))
    (adapter,) = (argument for argument in found if argument.startswith("e1000e,netdev=kd,"))
    bus, slot, function = (int(part) for part in KDNET_BUSPARAMS.split("."))
    assert (bus, function) == (0, 0)
    assert f"bus=pcie.0,addr={slot:#x}" in adapter


def test_com1_is_the_debuggers_or_a_file_and_com2_the_journal(tmp_path: Path) -> None:
    for kd, kind in (("serial", "unix"), ("kdnet", "file"), ("none", "file")):
        first, second = tree_of(spec_of(tmp_path, kd=kd), tmp_path).findall("devices/serial")
        assert (first.get("type"), second.get("type")) == (kind, "file")
        source = second.find("source")
        assert source is not None
        assert source.get("path") == str(tmp_path / "journal.log")


def test_the_clock_is_that_of_the_time_zone_in_the_answer_file(tmp_path: Path) -> None:
    clock = tree_of(spec_of(tmp_path), tmp_path).find("clock")
    assert clock is not None
    assert clock.get("offset") == "utc"
    answer = (vm_folder() / "windows" / "autounattend.xml.j2").read_text(encoding="utf-8")
    assert set(re.findall("<TimeZone>(.*?)</TimeZone>", answer)) == {"UTC"}


def test_setup_boots_from_the_cd_only_while_the_disk_is_empty(tmp_path: Path) -> None:
    root = tree_of(spec_of(tmp_path, installing=True), tmp_path)
    order = {}
    for disk in root.findall("devices/disk"):
        boot, source = disk.find("boot"), disk.find("source")
        assert source is not None
        order[source.get("file")] = boot.get("order") if boot is not None else None
    assert order == {
        str(tmp_path / "disk.qcow2"): "1",
        str(tmp_path / "windows & more.iso"): "2",
        str(tmp_path / "answers & more.iso"): None,
        str(tmp_path / "virtio & more.iso"): None,
    }
    assert len(tree_of(spec_of(tmp_path), tmp_path).findall("devices/disk")) == 1


def test_an_installation_begins_with_an_empty_disk(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, installing=True)
    spec.base.unlink()
    spec.create_disk(tmp_path / "disk.qcow2", Deadline.after(10))
    said = subprocess.run(["qemu-img", "info", str(tmp_path / "disk.qcow2")], capture_output=True, text=True)
    assert "virtual size: 64 GiB" in said.stdout
    assert "backing" not in said.stdout
    assert spec.copied == {}


def test_a_run_has_an_overlay_and_its_own_firmware_variables(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    spec.create_disk(tmp_path / "disk.qcow2", Deadline.after(10))
    said = subprocess.run(["qemu-img", "info", str(tmp_path / "disk.qcow2")], capture_output=True, text=True)
    assert f"backing file: {spec.base}" in said.stdout
    assert spec.copied == {NVRAM: spec.image / NVRAM}
    assert spec_of(tmp_path, firmware="bios").copied == {}


@pytest.mark.parametrize("name", ["base.qcow2", NVRAM])
def test_an_incomplete_image_is_refused(tmp_path: Path, name: str) -> None:
    spec = spec_of(tmp_path)
    (spec.image / name).unlink()
    with pytest.raises(ImageError, match=name) as caught:
        WindowsSpec.checked(spec.image, spec.profile, Accelerator.TCG)
    assert caught.value.remedy == "Build it again: winvm image build windows-11 --iso PATH"


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    spec.base.unlink()
    with pytest.raises(ImageError, match="is gone"):
        spec.create_disk(tmp_path / "disk.qcow2", Deadline.after(10))


def test_the_key_changes_with_what_a_saved_state_depends_on(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    changed = {
        spec_of(tmp_path, kd="kdnet").ready_key(VERSIONS),
        spec_of(tmp_path, firmware="bios").ready_key(VERSIONS),
        dataclasses.replace(spec, accelerator=Accelerator.TCG).ready_key(VERSIONS),
        dataclasses.replace(spec, session="2").ready_key(VERSIONS),
        spec.ready_key({**VERSIONS, "qemu": "10.0.3"}),
    }
    assert len(changed | {spec.ready_key(VERSIONS)}) == 6


def test_a_bugcheck_is_read_out_of_qemus_event() -> None:
    info = {"type": "hyper-v", "arg1": 0x124, "arg2": 1, "arg3": 2**64 - 1, "arg4": 0, "arg5": 5}
    details = json.dumps({"action": "run", "info": info})
    assert parse(details, 12.5) == Panic(12.5, 0x124, (1, 2**64 - 1, 0, 5))


@pytest.mark.parametrize(
    "details",
    [
        "",
        "{",
        '{"action": "run"}',
        '{"action": "pause", "info": {"type": "s390", "core": 0, "arg1": 1}}',
        '{"action": "run", "info": {"type": "hyper-v", "arg1": "many"}}',
    ],
)
def test_a_panic_without_a_code_is_still_one(details: str) -> None:
    assert parse(details, 1.0) == Panic(1.0)


def test_devices_of_ones_own_are_qemus(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, devices=("edu,dma_mask=4294967295", "vfio-pci,host=0000:03:00.0"))
    validate(spec, tmp_path)
    given = arguments(tree_of(spec, tmp_path))
    for device in spec.profile.hardware.devices:
        assert given[given.index(device) - 1] == "-device"


@pytest.mark.parametrize(
    "device", ["", "edu,", "edu -drive", "loader,file=/etc/shadow", "a,b=c,d", "x,y=a b"]
)
def test_what_is_no_device_is_refused(device: str) -> None:
    hardware = windows_profile("windows-11").hardware
    with pytest.raises(ValueError, match="devices"):
        hardware.model_validate({**hardware.model_dump(), "devices": [device]})


@pytest.mark.parametrize("change", [{"kd": "serial"}, {"kd": "none", "firmware": "bios"}])
def test_secure_boot_forbids_what_cannot_be_under_it(change: dict[str, str]) -> None:
    hardware = windows_profile("windows-11").hardware
    with pytest.raises(ValueError, match="secure_boot"):
        hardware.model_validate({**hardware.model_dump(), "secure_boot": True, **change})
    allowed = {**hardware.model_dump(), "secure_boot": True, "kd": "none"}
    assert hardware.model_validate(allowed).secure_boot
