"""Root's QEMU is an ordinary user of its run and sees what its machine needs; here Perl is in its place."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.host.memory_group import MemoryGroup, memory_group
from harness.machine import qemu_launcher as launcher
from harness.machine.qemu_user import OVERHEAD, OVERHEAD_USED, QemuUser, user_for

ROOT = Path(__file__).resolve().parents[3]
START = "import sys; from harness.machine import qemu_launcher as q; q.main(sys.argv[1:], '/usr/bin/perl')"
STATUS = "open F, '<', '/proc/self/status'; print grep /CapEff|CapBnd|Uid/, <F>"
QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
DOMAIN = """\
<domain xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0"><memory unit="MiB">64</memory>
<os><type>hvm</type><kernel>{kernel}</kernel></os><devices>{devices}</devices>
<qemu:commandline><qemu:arg value="-x"/></qemu:commandline></domain>"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    machine = tmp_path / "home" / "runs" / "one" / "guest"
    machine.mkdir(parents=True)
    for name in ("disk.qcow2", "machine.json", "base.qcow2", "secret", "vmlinuz"):
        (machine / name).write_text(name)
        (machine / name).chmod(0o600)
    image = tmp_path / "home" / "images" / "wine"
    image.mkdir(parents=True)
    for name in ("base.qcow2", "secret"):
        (machine / name).rename(image / name)
    (tmp_path / "home" / "images").chmod(0o700)
    return machine


def environment_of(machine: Path, xml: str) -> dict[str, str]:
    return {
        one.get("name", ""): one.get("value", "") for one in ElementTree.fromstring(xml).iter(f"{QEMU}env")
    }


def confined(machine: Path, devices: str = "") -> tuple[QemuUser, str]:
    user = QemuUser(machine.parent)
    base = machine.parents[2] / "images" / "wine" / "base.qcow2"
    xml = DOMAIN.format(kernel=machine / "vmlinuz", devices=devices)
    return user, user.confined(xml, machine, [machine / "disk.qcow2"], [base])


def perl(machine: Path, xml: str, code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", START, "-e", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment_of(machine, xml)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_the_runs_user_and_nobody_elses(machine: Path) -> None:
    user, xml = confined(machine)
    said = perl(machine, xml, "print qq($< $> $( $))").split()
    assert said[:2] == [str(user.id)] * 2
    groups = {int(group) for group in said[2:]}
    kvm = Path("/dev/kvm")
    assert groups - ({kvm.stat().st_gid} if kvm.exists() else set()) == {user.id, launcher.IMAGES_GROUP}
    assert QemuUser(machine.parent.with_name("two")).id != user.id


def test_it_writes_its_disk_and_reads_the_image_and_nothing_more(machine: Path) -> None:
    _, xml = confined(machine)
    image = machine.parents[2] / "images" / "wine"
    code = "for (@ARGV) { print -r $_ ? 'r' : '-', -w $_ ? 'w' : '-', ' ' }"
    paths = [
        machine / "disk.qcow2", image / "base.qcow2", machine / "vmlinuz",  # what it needs
        machine / "machine.json", image / "secret", image, machine, "/root", "/etc/passwd", "/proc",
        "/dev/sda", ROOT, "/home",
    ]  # fmt: skip
    said = perl(machine, xml, code, *map(str, paths)).split()
    assert said[:3] == ["rw", "r-", "r-"]
    assert said[3:5] == ["--", "--"]
    assert said[5:7] == ["r-", "r-"]
    assert said[7:] == ["--"] * 6
    assert oct(image.parent.stat().st_mode & 0o777) == "0o700", "other users still find no image"
    assert (image / "base.qcow2").stat().st_uid == 0


def test_a_later_run_leaves_an_image_untouched_that_it_may_read(machine: Path) -> None:
    base = machine.parents[2] / "images" / "wine" / "base.qcow2"
    confined(machine)
    handed_over = base.stat()
    assert stat.S_IMODE(handed_over.st_mode) == 0o440
    confined(machine)
    assert base.stat().st_ctime_ns == handed_over.st_ctime_ns, "the next run verifies the whole disk again"


def test_it_gains_nothing_by_programs_of_roots(machine: Path) -> None:
    user, xml = confined(machine)
    code = "print `/usr/bin/su -c id 2>&1 </dev/null`; print -s '/dev/null' || 0; exit 0"
    assert "uid=0" not in perl(machine, xml, code)
    assert str(user.id) in perl(machine, xml, "print `/usr/bin/id -u`")


def test_the_master_key_of_libvirts_is_there(machine: Path, tmp_path: Path) -> None:
    _, xml = confined(machine)
    key = tmp_path / "libvirt" / "master-key.aes"
    key.parent.mkdir()
    key.write_bytes(b"secret")
    key.chmod(0o600)
    described = json.dumps({"qom-type": "secret", "id": "masterKey0", "file": str(key)})
    code = f"open F, '<', '{key}' or exit 3; print <F>"
    assert perl(machine, xml, code, "--", "-object", described) == "secret"
    assert key.stat().st_uid == 0


def test_its_memory_is_bounded(machine: Path) -> None:
    _, xml = confined(machine)
    assert environment_of(machine, xml)[launcher.MEMORY] == str((64 << 20) + OVERHEAD)
    limited = xml.replace(str((64 << 20) + OVERHEAD), str(256 << 20))
    code = "my $x = eval { 'a' x $ARGV[0] }; print defined $x ? 'had' : 'refused'"
    done = subprocess.run(
        [sys.executable, "-c", START,
         "-e", code, str(1 << 30)],
        cwd=ROOT, env={**os.environ, **environment_of(machine, limited)}, capture_output=True, check=False,
    )  # fmt: skip
    assert b"had" not in done.stdout


def in_group(machine: Path, group: MemoryGroup, *, confines: bool = True) -> str:
    user = QemuUser(machine.parent, confines=confines, group=group)
    return user.confined(DOMAIN.format(kernel=machine / "vmlinuz", devices=""), machine, [], [])


@pytest.mark.parametrize("confines", [True, False])
def test_it_is_in_the_runs_memory_cgroup(machine: Path, confines: bool) -> None:
    group = memory_group(machine.parent)
    if group is None:
        pytest.skip("this host lets this process make no memory cgroup")
    try:
        xml = in_group(machine, group, confines=confines)
        code = "$| = 1; print qq($$\n); <STDIN>"
        words = [sys.executable, "-c", START, "-e", code]
        environment = {**os.environ, **environment_of(machine, xml)}
        with subprocess.Popen(
            words, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as inside:
            assert inside.stdout
            pid = int(inside.stdout.readline())
            assert pid in map(int, group.members.read_text().split())
            inside.communicate()
    finally:
        group.remove()


def test_the_runs_machines_share_one_limit(machine: Path, tmp_path: Path) -> None:
    group = MemoryGroup(tmp_path / "group")
    group.path.mkdir()
    user = QemuUser(machine.parent, group=group)
    one = DOMAIN.format(kernel=machine / "vmlinuz", devices="")
    for name in ("guest", "guest", "second"):  # a machine that starts again is no other one
        user.confined(one, machine.parent / name, [], [])
    written = int((group.path / "memory.limit_in_bytes").read_text())
    assert written == 2 * ((64 << 20) + OVERHEAD_USED)


def test_a_group_that_is_gone_leaves_the_bound_on_address_space(machine: Path, tmp_path: Path) -> None:
    xml = in_group(machine, MemoryGroup(tmp_path / "gone"))
    assert set(environment_of(machine, xml)) == {
        launcher.FOLDER,
        launcher.USER,
        launcher.READS,
        launcher.MEMORY,
    }


def test_a_machine_whose_template_passes_qemu_nothing_is_confined_too(machine: Path) -> None:
    plain = (
        DOMAIN[: DOMAIN.index("<qemu:commandline>")].replace(f' xmlns:qemu="{QEMU[1:-1]}"', "") + "</domain>"
    )
    xml = QemuUser(machine.parent).confined(
        plain.format(kernel=machine / "vmlinuz", devices=""), machine, [machine / "disk.qcow2"], []
    )
    assert environment_of(machine, xml) == environment_of(machine, confined(machine)[1]) | {
        launcher.READS: json.dumps([str(machine / "vmlinuz")])
    }


@pytest.mark.parametrize("devices", ["<tpm/>", '<disk device="cdrom"/>'])
def test_an_installation_keeps_root_without_capabilities(machine: Path, devices: str) -> None:
    _, xml = confined(machine, devices)
    assert environment_of(machine, xml) == {}
    assert (machine / "disk.qcow2").stat().st_uid == 0
    said = perl(machine, xml, STATUS)
    assert said.count("0000000000000000") == 2
    assert "Uid:\t0\t" in said


def test_a_host_that_forbids_mounts_keeps_root_without_capabilities(machine: Path) -> None:
    base = machine.parents[2] / "images" / "wine" / "base.qcow2"
    xml = DOMAIN.format(kernel=machine / "vmlinuz", devices="")
    unconfined = QemuUser(machine.parent, confines=False).confined(xml, machine, [], [base])
    assert environment_of(machine, unconfined) == {}
    assert "CapEff:\t0000000000000000" in perl(machine, unconfined, STATUS)


def test_libvirt_is_given_a_program_that_changes_with_qemu(machine: Path) -> None:
    _, xml = confined(machine)
    emulator = ElementTree.fromstring(xml).findtext("devices/emulator")
    assert emulator
    done = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.startswith("QEMU emulator version")
    assert str(Path(launcher.QEMU).stat().st_mtime_ns) in Path(emulator).read_text()
    assert Path(emulator).stat().st_mode & 0o777 == 0o700


def test_a_daemons_qemu_is_the_daemons(tmp_path: Path) -> None:
    assert user_for(tmp_path, shared=True, kvm=False) is None
    assert user_for(tmp_path, shared=False, kvm=False) is not None
