"""The doctor on a host that is whole and on hosts where one thing is broken."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.doctor import HEADERS, Check, Host, able, checks
from harness.errors import HostError
from harness.host import llvm
from harness.host.confined import Confinement

VERSIONS = {"osslsigncode": "osslsigncode 2.9, using:", "mkfs.ext4": "mke2fs 1.47.0 (5-Feb-2023)"}


def run(argv: Sequence[str], seconds: float) -> tuple[int | None, str]:
    return 0, VERSIONS.get(Path(argv[0]).name, f"{argv[0]} version 19.1.7")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Everything is there and works."""
    for name in HEADERS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return Host(
        home=tmp_path / "home",
        run=run,
        which=lambda name: f"/usr/bin/{name}",
        kvm=tmp_path / "no-kvm",
        mingw=tmp_path,
        python=(3, 11, 2),
        user=0,
        free=lambda folder: 2**40,
        open_libvirt=lambda home: {"libvirt": "11.3.0", "qemu": "10.0.2"},
        confinement=lambda: Confinement.BUBBLEWRAP,
    )


def broken(host: Host) -> list[Check]:
    return [check for check in checks(host) if not check.works]


def test_a_whole_host_is_healthy(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINVM_ACCEL", raising=False)
    found = list(checks(host))
    assert [check.need for check in found if not check.works] == []
    assert len({check.need for check in found}) == len(found)
    assert all(check.remedy == "" for check in found)


@pytest.mark.parametrize(
    ("name", "need"),
    [("clang-19", "C compiler"), ("osslsigncode", "Authenticode"), ("mmdebstrap", "image builder")],
)
def test_a_missing_tool_names_its_package(host: Host, name: str, need: str) -> None:
    absent = set(llvm.names(name))
    without = dataclasses.replace(host, which=lambda tool: None if tool in absent else f"/usr/bin/{tool}")
    (check,) = broken(without)
    assert check.need == need
    assert check.found == ""
    assert name in check.remedy


def test_what_a_host_can_do_is_told_apart() -> None:
    assert able((), 0) == {"run scenarios": (), "build the wine image": ()}
    assert able(("image builder",), 1000) == {
        "run scenarios": (),
        "build the wine image": ("image builder", "root"),
    }
    assert able(("QEMU",), 0) == {"run scenarios": ("QEMU",), "build the wine image": ("QEMU",)}


def test_a_newer_compiler_will_do(host: Host) -> None:
    newer = dataclasses.replace(host, which=lambda tool: None if tool == "clang-19" else f"/usr/bin/{tool}")
    (found,) = [check for check in checks(newer) if check.need == "C compiler"]
    assert (found.found, found.works) == ("/usr/bin/clang-20", True)


def test_a_tool_that_does_not_run_is_broken(host: Host) -> None:
    def crash(argv: Sequence[str], seconds: float) -> tuple[int | None, str]:
        return (139, "") if "lld-link" in argv[0] else run(argv, seconds)

    (check,) = broken(dataclasses.replace(host, run=crash))
    assert (check.need, check.found) == ("linker", "/usr/bin/lld-link-19")
    assert "139" in check.remedy


def test_an_old_qemu_is_broken_twice_over(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINVM_ACCEL", raising=False)

    def old(argv: Sequence[str], seconds: float) -> tuple[int | None, str]:
        return (0, "QEMU emulator version 7.2.22") if "qemu-system" in argv[0] else run(argv, seconds)

    found = broken(dataclasses.replace(host, run=old))
    assert [check.need for check in found] == ["QEMU", "accelerator"]
    assert all("backports" in check.remedy for check in found)


def test_libvirt_that_does_not_open_tells_why(host: Host) -> None:
    def refuse(home: Path) -> dict[str, str]:
        raise HostError("libvirt cannot open it: no driver.", remedy="Install the driver.")

    (check,) = broken(dataclasses.replace(host, open_libvirt=refuse))
    assert check.remedy == "libvirt cannot open it: no driver. Install the driver."


def test_missing_python_bindings_are_a_finding_and_no_traceback(host: Host) -> None:
    def absent(home: Path) -> dict[str, str]:
        raise ModuleNotFoundError("No module named 'libvirt'")

    (check,) = broken(dataclasses.replace(host, open_libvirt=absent))
    assert "No module named 'libvirt'" in check.remedy


def test_an_old_libvirt_is_refused(host: Host) -> None:
    old = dataclasses.replace(host, open_libvirt=lambda home: {"libvirt": "9.0.0", "qemu": "7.2.0"})
    (check,) = broken(old)
    assert (check.version, "11.2" in check.remedy) == ("9.0.0", True)


def test_the_confinement_of_parsers_is_shown_with_what_it_lacks(host: Host) -> None:
    def shown(kind: Confinement, user: int) -> Check:
        changed = dataclasses.replace(host, confinement=lambda: kind, user=user)
        return next(check for check in checks(changed) if check.need == "confined parsers")

    assert (shown(Confinement.BUBBLEWRAP, 0).found, shown(Confinement.BUBBLEWRAP, 0).note) == (
        "bubblewrap, as nobody",
        "",
    )
    weak = shown(Confinement.LIMITS, 1000)
    assert (weak.works, weak.found) == (True, "limits only, as uid 1000")
    assert "bubblewrap" in weak.note


def test_missing_headers_are_listed(host: Host) -> None:
    (host.mingw / "include/ddk/wdm.h").unlink()
    (check,) = broken(host)
    assert "include/ddk/wdm.h" in check.remedy


def test_too_little_space(host: Host) -> None:
    found = broken(dataclasses.replace(host, free=lambda folder: 2**20))
    assert [check.need for check in found] == ["disk space", "temporary files"]
    assert "WINVM_HOME" in found[0].remedy


def test_a_user_without_root_reads_what_needs_it(host: Host) -> None:
    ordinary = dataclasses.replace(host, user=1000)
    assert broken(ordinary) == []
    (check,) = (check for check in checks(ordinary) if check.need == "user")
    assert (check.found, check.note) == (
        "uid 1000", "Building an image takes root, once: sudo make image."
    )  # fmt: skip


def test_an_old_python(host: Host) -> None:
    (check,) = broken(dataclasses.replace(host, python=(3, 9, 2)))
    assert (check.need, check.version) == ("Python", "3.9.2")


def test_the_command_prints_every_check_of_this_host(host: Host) -> None:
    with tempfile.TemporaryDirectory(prefix="wvm-") as home:
        done = subprocess.run(
            [sys.executable, "-m", "harness", "doctor", "--json"],
            env={**os.environ, "WINVM_HOME": home},
            capture_output=True,
            text=True,
            check=False,
        )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [check["need"] for check in found] == [check.need for check in checks(host)]
    assert done.returncode == (0 if all(check["works"] for check in found) else 3), done.stdout + done.stderr
