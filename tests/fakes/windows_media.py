"""Makes small installation ISOs as Microsoft lays them out: UDF, with a README alone on the ISO 9660 side.

genisoimage and wimlib-imagex write them, so that nothing of the code under test makes its own input.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

ENTERPRISE_11 = {
    "ARCH": "9",
    "EDITIONID": "EnterpriseEval",
    "INSTALLATIONTYPE": "Client",
    "VERSION/BUILD": "26100",
    "VERSION/SPBUILD": "1742",
    "LANGUAGES/LANGUAGE": "en-US",
    "LANGUAGES/DEFAULT": "en-US",
}
"""What install.wim of a Windows 11 24H2 Enterprise evaluation says of its one image."""


def server(build: int, edition: str = "ServerStandardEval", kind: str = "Server") -> dict[str, str]:
    """An image of an evaluation Server ISO."""
    return {
        **ENTERPRISE_11,
        "VERSION/BUILD": str(build),
        "EDITIONID": edition,
        "INSTALLATIONTYPE": kind,
    }


def wim(file: Path, *images: Mapping[str, str], names: tuple[str, ...] = (), solid: bool = False) -> Path:
    """A WIM (`solid`: as an ESD is) whose images hold one file each, with these properties below WINDOWS."""
    content = file.with_name("content")
    (content / "Windows").mkdir(parents=True, exist_ok=True)
    (content / "Windows" / "notepad.exe").write_bytes(b"MZ")
    for number, properties in enumerate(images):
        name = names[number] if names else f"Windows image {number + 1}"
        verb = ["append"] if number else ["capture", *(["--solid"] if solid else [])]
        command = ["wimlib-imagex", verb[0], str(content), str(file), name, *verb[1:]]
        _run([*command, *(f"--image-property=WINDOWS/{key}={value}" for key, value in properties.items())])
    return file


def iso(target: Path, *, install: Path | None, name: str = "install.wim", boot: bytes = b"") -> Path:
    """An ISO with `install` as sources/<name>; `boot` is an El Torito image that BIOS loads whole."""
    tree = target.with_name(f"{target.stem}-tree")
    (tree / "sources").mkdir(parents=True)
    (tree / "README.TXT").write_text("This disc contains a UDF file system.\n", encoding="ascii")
    (tree / "sources" / "setup.exe").write_bytes(b"MZ")
    if install:
        (tree / "sources" / name).hardlink_to(install)
    options = ["-udf", "-iso-level", "3", "-V", "CCCOMA_X64FRE_EN-US_DV9", "-hide", "sources"]
    if boot:
        (tree / "boot").mkdir()
        (tree / "boot" / "etfsboot.com").write_bytes(boot)
        sectors = str(-(-len(boot) // 512))
        options += ["-b", "boot/etfsboot.com", "-no-emul-boot", "-boot-load-size", sectors]
        options += ["-c", "boot/boot.cat"]
    _run(["genisoimage", "-quiet", *options, "-o", str(target), str(tree)])
    return target


def windows_iso(folder: Path, *images: Mapping[str, str], boot: bytes = b"") -> Path:
    """An ISO with an install.wim of these images."""
    folder.mkdir(parents=True, exist_ok=True)
    return iso(folder / "windows.iso", install=wim(folder / "install.wim", *images), boot=boot)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
