"""A live CD is unpacked whole, and a file that is none, or is crafted, is refused with its reason."""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path

import pycdlib
import pytest

from harness.deadline import Deadline
from harness.errors import ConfigurationError
from harness.guests.reactos.image import iso

KERNEL = b"int NtStart(void) { return 0; } const char prompt[] = PROMPT;"


def kernel(folder: Path, target: str = "x86_64-w64-windows-gnu", prompt: str = "nt") -> bytes:
    """An executable that stands for ntoskrnl.exe."""
    source = folder / "kernel.c"
    source.write_bytes(KERNEL)
    define = f'-DPROMPT="{prompt}"'
    compile_it = ["clang-19", f"--target={target}", "-ffreestanding", define, "-c", str(source)]
    subprocess.run([*compile_it, "-o", str(folder / "kernel.o")], check=True)
    link = [
        "lld-link-19",
        "/driver",
        "/subsystem:native",
        "/entry:NtStart",
        "/nodefaultlib",
        "/export:prompt,DATA",
    ]
    subprocess.run([*link, f"/out:{folder / 'ntoskrnl.exe'}", str(folder / "kernel.o")], check=True)
    return (folder / "ntoskrnl.exe").read_bytes()


def live_cd(target: Path, files: dict[str, bytes]) -> Path:
    """A CD with these files, in the form of ReactOS's own: ISO 9660:1999, names of any length and case."""
    made = pycdlib.PyCdlib()
    made.new(interchange_level=4)
    folders: set[str] = set()
    for name, content in files.items():
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/" + "/".join(parts[:depth])
            if folder not in folders:
                made.add_directory(folder)
                folders.add(folder)
        made.add_fp(io.BytesIO(content), len(content), f"/{name}")
    made.write(str(target))
    made.close()
    return target


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    return {
        iso.KERNEL: kernel(tmp_path),
        iso.TRANSPORT: b"MZ",
        iso.BOOT_SECTOR: bytes(2048),
        iso.FREELDR: b"loader",
        iso.HIVE: b"regf",
        "reactos/system32/drivers/A driver with a name longer than 31.sys": b"MZ driver",
        "Profiles/All Users/Start Menu/a.lnk": b"link",
        "readme.txt": b"not wanted",
    }


def test_a_live_cd_is_unpacked(files: dict[str, bytes], tmp_path: Path) -> None:
    cd = live_cd(tmp_path / "live.iso", files)
    media = iso.unpack(cd, tmp_path / "tree", Deadline.after(60))
    assert (media.size, media.version) == (cd.stat().st_size, "unknown")
    tree = tmp_path / "tree"
    found = {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert found == {name: content for name, content in files.items() if name != "readme.txt"}


@pytest.mark.parametrize("lost", [iso.KERNEL, iso.TRANSPORT, iso.HIVE, iso.BOOT_SECTOR, iso.FREELDR])
def test_another_cd_is_refused(files: dict[str, bytes], tmp_path: Path, lost: str) -> None:
    del files[lost]
    cd = live_cd(tmp_path / "live.iso", files)
    with pytest.raises(ConfigurationError, match=rf"live\.iso holds no {lost}: it is no live CD"):
        iso.unpack(cd, tmp_path / "tree", Deadline.after(60))


def test_a_boot_cd_is_told_from_a_live_cd(files: dict[str, bytes], tmp_path: Path) -> None:
    del files[iso.KERNEL]
    cd = live_cd(tmp_path / "bootcd.iso", {**files, iso.CABINET: b"MSCF"})
    with pytest.raises(ConfigurationError, match=r"bootcd\.iso is a boot CD") as raised:
        iso.unpack(cd, tmp_path / "tree", Deadline.after(60))
    assert "livecd.iso" in raised.value.remedy


def test_a_build_with_its_own_debugger_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    files[iso.KERNEL] = kernel(tmp_path, prompt="kdb:> ")
    with pytest.raises(ConfigurationError, match="not with WinDbg's protocol") as raised:
        iso.unpack(live_cd(tmp_path / "live.iso", files), tmp_path / "tree", Deadline.after(60))
    assert "msvc-win-dbg" in raised.value.remedy


def test_a_32_bit_build_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    content = bytearray(files[iso.KERNEL])
    header = struct.unpack_from("<I", content, 0x3C)[0]
    struct.pack_into("<H", content, header + 4, 0x14C)
    files[iso.KERNEL] = bytes(content)
    with pytest.raises(ConfigurationError, match="is not of an x64 build"):
        iso.unpack(live_cd(tmp_path / "live.iso", files), tmp_path / "tree", Deadline.after(60))


def test_a_kernel_that_is_none_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    files[iso.KERNEL] = b"MZ" + bytes(100)
    with pytest.raises(ConfigurationError, match="a kernel that is no executable"):
        iso.unpack(live_cd(tmp_path / "live.iso", files), tmp_path / "tree", Deadline.after(60))


@pytest.mark.parametrize("name", ["..", "../../x", "a:b", "a\\b", "a\x01b", ". "])
def test_a_crafted_name_leaves_nothing_outside(files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    place = "AAAAAAAA"[: len(name)].ljust(len(name), "A")
    cd = live_cd(tmp_path / "live.iso", {**files, f"reactos/{place}.": b"crafted"})
    content = cd.read_bytes()
    assert content.count(f"{place}.".encode()) >= 1
    cd.write_bytes(content.replace(f"{place}.".encode(), f"{name}.".encode()))
    try:
        iso.unpack(cd, tmp_path / "in" / "tree", Deadline.after(60))
    except ConfigurationError as error:
        assert "a file named" in error.message or "cannot be read" in error.message
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"crafted"]
    assert all(path.is_relative_to(tmp_path / "in" / "tree" / "reactos") for path in outside)


def test_a_truncated_cd_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    cd = live_cd(tmp_path / "live.iso", files)
    cd.write_bytes(cd.read_bytes()[:-4096])
    with pytest.raises(ConfigurationError, match="is truncated"):
        iso.unpack(cd, tmp_path / "tree", Deadline.after(60))


def test_a_file_that_is_no_cd_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "live.iso"
    file.write_bytes(b"no CD" * 10000)
    with pytest.raises(ConfigurationError, match="is not an ISO image"):
        iso.unpack(file, tmp_path / "tree", Deadline.after(60))
