"""An image is built from a live CD: a small one, whose system exports what an NT 5.2 does."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.guests.reactos.image import disk, iso, python
from harness.guests.reactos.image.build import build, change_registry
from harness.guests.reactos.image.imports import exports_of, imports_of
from harness.guests.reactos.image.recipe import read_parts
from harness.guests.reactos.spec.profile import ReactosProfile
from harness.host.private import private_folder
from harness.journal import Journal
from harness.project.config import home
from tests.fakes.windows_disk import system_hive
from tests.unit.guests.reactos.image.test_iso import kernel, live_cd
from tests.unit.guests.reactos.image.test_support import modules as modules_of_nt52

modules = modules_of_nt52
PROFILE = ReactosProfile.model_validate(
    {
        "name": "reactos-x64",
        "guest": "reactos",
        "hardware": {"memory_mib": 1024},
        "timeouts": dict.fromkeys(("boot", "restore", "answer", "stop"), 60),
    }
)
LACKS = {"ws2_32.dll": {"inet_ntop", "inet_pton"}}
NEEDS_MTOOLS = pytest.mark.skipif(not shutil.which("mformat"), reason="mtools is not installed")


@pytest.fixture(scope="module")
def archive() -> Path:
    """The pinned interpreter as an image build downloads it."""
    found = sorted((home() / "downloads").glob("windows-python-*.zip"))
    if not found:
        pytest.skip("no Windows CPython in WINVM_HOME/downloads: winvm image build downloads it")
    return found[-1]


def module(folder: Path, name: str, exports: frozenset[str]) -> None:
    """A library that exports these names; each is handed on to a module that nobody looks for."""
    lines = [f"LIBRARY {name}", "EXPORTS", *(f"{one} = elsewhere.{one}" for one in sorted(exports))]
    (folder / f"{name}.def").write_text("\n".join([*lines, ""]))
    empty = ["clang-19", "--target=x86_64-w64-windows-gnu", "-x", "c", "-c", "/dev/null", "-o", "empty.o"]
    subprocess.run(empty, check=True, cwd=folder)  # without an object the linker makes an import library
    link = ["lld-link-19", "empty.o", "/dll", "/noentry", "/machine:x64", "/nodefaultlib", f"/def:{name}.def"]
    subprocess.run([*link, f"/out:{name}"], check=True, cwd=folder)
    for made in ("empty.o", f"{name}.def", f"{Path(name).stem}.lib"):
        (folder / made).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def system(
    archive: Path, modules: dict[str, frozenset[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A system32: NT 5.2's own modules, and of the others what CPython imports but for `LACKS`."""
    folder, files = tmp_path_factory.mktemp("system32"), tmp_path_factory.mktemp("python")
    parts = read_parts()
    python.unpack(archive, parts, files)
    own = {path.name.lower() for path in files.rglob("*")}
    wanted: dict[str, set[str]] = {}
    for path in files.rglob("*"):
        if path.suffix in (".exe", ".dll", ".pyd"):
            for one in imports_of(path):
                wanted.setdefault(one.module, set()).add(one.name)
    for name, exports in modules.items():
        module(folder, name, frozenset(one for one in exports if one.replace("_", "").isalnum()))
    for name, names in wanted.items():
        replaced = any(library.replaces(name) for library in parts.libraries)
        if name not in own and name not in modules and not replaced:
            module(folder, name, frozenset(names) - LACKS.get(name, set()) - {""})
    return folder


def test_the_interpreter_is_made_fit(archive: Path, system: Path, tmp_path: Path) -> None:
    target = tmp_path / "Python"
    left_out = python.install(archive, read_parts(), system, target, tmp_path / "work")
    assert left_out == ["_overlapped.pyd", "_socket.pyd"]
    assert not (target / "DLLs" / "_socket.pyd").exists()
    assert (target / "libffi-8.dll").is_file()
    assert not (target / "DLLs" / "libffi-8.dll").exists()
    imported = {one.module for one in imports_of(target / "python311.dll")}
    assert {"winvmk32.dll", "winvmcrt.dll"} <= imported
    assert not [name for name in imported if name.startswith("api-ms-")]
    assert "CancelIoEx" in exports_of(target / "winvmk32.dll")
    compile((target / "Lib" / "sitecustomize.py").read_text(), "sitecustomize.py", "exec")


def test_what_the_agent_needs_is_never_left_out(archive: Path, system: Path, tmp_path: Path) -> None:
    poor = tmp_path / "system32"
    shutil.copytree(system, poor)
    (poor / "advapi32.dll").unlink()
    with pytest.raises(ImageError, match=r"python311\.dll of Windows Python import.*advapi32\.dll!"):
        python.install(archive, read_parts(), poor, tmp_path / "Python", tmp_path / "work")


@NEEDS_MTOOLS
def test_a_live_cd_becomes_an_image(archive: Path, system: Path, tmp_path: Path) -> None:
    own_home = private_folder(tmp_path / "home")
    shutil.copytree(archive.parent, own_home / "downloads")
    hive = tmp_path / "system"
    system_hive(hive)
    files = {f"reactos/system32/{path.name}": path.read_bytes() for path in system.iterdir()}
    files |= {iso.KERNEL: kernel(tmp_path), iso.TRANSPORT: b"MZ", iso.BOOT_SECTOR: bytes(2048)}
    files |= {iso.FREELDR: b"loader", iso.HIVE: hive.read_bytes()}
    cd = live_cd(tmp_path / "live.iso", files)
    image = build(PROFILE, cd, own_home, Journal())
    manifest = json.loads(image.manifest.read_text())
    assert manifest["versions"] == {"reactos": "unknown", "python": archive.name.split("-")[2]}
    assert manifest["iso"]["bytes"] == cd.stat().st_size
    assert manifest["left_out"] == ["_overlapped.pyd", "_socket.pyd"]
    raw = tmp_path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(image.disk), str(raw)], check=True)
    listed = subprocess.run(
        ["mdir", "-b", "-/", "-i", f"{raw}@@{disk.START * disk.SECTOR}", "::/"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    wanted = ("Python/python.exe", "winvm/seriald.pyz", "winvm/start.cmd", "winvm/standby.py", "freeldr.ini")
    assert {f"::/{name}" for name in (*wanted, iso.FREELDR, iso.KERNEL)} <= set(listed)
    assert build(PROFILE, cd, own_home, Journal()) == image
    assert not list(image.folder.parent.glob(".reactos-*"))


def test_the_registry_starts_winvm_and_the_serial_ports(tmp_path: Path) -> None:
    hive = tmp_path / "system"
    system_hive(hive)
    change_registry(hive)

    def exported(key: str) -> str:
        done = subprocess.run(
            ["hivexregedit", "--export", str(hive), key], capture_output=True, text=True, check=True
        )
        return done.stdout

    command = "cmd.exe /c C:\\winvm\\start.cmd -mini\0".encode("utf-16-le").hex(",")
    assert f'"CmdLine"=hex(1):{command}' in exported("Setup")
    assert '"Start"=dword:00000001' in exported("ControlSet001\\Services\\Serial")


def test_a_hive_that_is_none_is_refused(tmp_path: Path) -> None:
    hive = tmp_path / "system"
    hive.write_bytes(b"no hive" * 1000)
    with pytest.raises(ImageError, match="registry cannot be changed"):
        change_registry(hive)
